"""Keys and values of sequences read before, found again by the longest common beginning.

Entries are whole sequences, compared key by key (token ids; image tokens by their picture's digest), dropped
least recently used first when they outgrow a budget in bytes. A sequence that begins another one is not kept
beside it. Linear in the number of entries: right for hundreds, not for tens of thousands.
"""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polymnia.model.cache import KVCache


class _Entry(NamedTuple):
    tokens: NDArray[np.int64]
    keys: Tensor
    values: Tensor
    """(layers, kv_heads, tokens, head_dim)"""

    @property
    def size(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class PrefixCache:
    def __init__(self, budget: int) -> None:
        """`budget`: bytes of keys and values; 0 keeps nothing."""
        self.budget = budget
        self.size = 0
        self._entries: OrderedDict[int, _Entry] = OrderedDict()  # least recently used first
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    def restore(self, tokens: NDArray[np.int64], cache: KVCache, row: int) -> int:
        """Fills `row` with the longest known beginning of `tokens` and returns its length."""
        number, length = self._longest(tokens)
        if length:
            entry = self._entries[number]
            self._entries.move_to_end(number)
            cache.keys[:, row, :, :length] = entry.keys[:, :, :length]
            cache.values[:, row, :, :length] = entry.values[:, :, :length]
        cache.lengths[row] = length
        return length

    def store(self, tokens: NDArray[np.int64], cache: KVCache, row: int) -> None:
        """Keeps what `row` holds, the keys and values of exactly `tokens`."""
        length = len(tokens)
        number, common = self._longest(tokens)
        if common == length:
            self._entries.move_to_end(number)
            return
        for other in [
            other for other, entry in self._entries.items() if _common(entry.tokens, tokens) == len(entry.tokens)
        ]:
            self._drop(other)
        keys, values = cache.keys[:, row, :, :length], cache.values[:, row, :, :length]
        if keys.nbytes + values.nbytes > self.budget:
            return
        entry = _Entry(tokens, keys.clone(), values.clone())
        self._entries[self._next] = entry
        self._next += 1
        self.size += entry.size
        while self.size > self.budget:
            self._drop(next(iter(self._entries)))

    def check_integrity(self) -> None:
        """Raises AssertionError if the books do not agree; for tests and idle moments."""
        entries = list(self._entries.values())
        assert self.size == sum(entry.size for entry in entries) <= self.budget
        for entry in entries:
            assert entry.keys.shape == entry.values.shape
            assert entry.keys.shape[2] == len(entry.tokens) > 0
            for other in entries:
                assert other is entry or _common(entry.tokens, other.tokens) < len(entry.tokens), "one begins another"

    def _longest(self, tokens: NDArray[np.int64]) -> tuple[int, int]:
        """Number and length of the best match; length 0 for none."""
        best = (-1, 0)
        for number, entry in self._entries.items():
            # Only an entry that also agrees at the length to beat can beat it.
            length = best[1]
            if len(entry.tokens) > length < len(tokens) and entry.tokens[length] == tokens[length]:
                common = _common(entry.tokens, tokens)
                best = (number, common) if common > length else best
        return best

    def _drop(self, number: int) -> None:
        self.size -= self._entries.pop(number).size


def _common(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Length of the common beginning."""
    length = min(len(first), len(second))
    differing = np.flatnonzero(first[:length] != second[:length])
    return int(differing[0]) if len(differing) else length
