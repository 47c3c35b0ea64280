"""Keys and values of tokens already read, for a batch of rows of different lengths.

Storage is one tensor for keys and one for values, (layers, rows, kv_heads, capacity, head_dim): a head's
tokens lie side by side, which a single query reads fastest; the first rows or tokens alone cost no copy;
and pages never written to cost no memory. Which request owns which row is the engine's affair
(`engine.slots`).
"""

import torch
from torch import Tensor

from polymnia.model.config import TextConfig


class KVCache:
    def __init__(
        self,
        config: TextConfig,
        rows: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        *,
        granularity: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        """`capacity`: tokens a row can hold.

        `granularity`: a decoding step reads the longest row's length rounded up to this many tokens. Sums over
        rounded lengths come out the same to the bit whatever else is in the batch (seen with 64 on AVX-512);
        what is read beyond a row's length is masked.
        """
        shape = (config.num_hidden_layers, rows, config.num_key_value_heads, capacity, config.head_dim)
        # Zeros, not whatever was there: a masked NaN would still spoil the product with the values.
        keys, values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        self._set(keys, values, [0] * rows, granularity)

    def _set(self, keys: Tensor, values: Tensor, lengths: list[int], granularity: int) -> None:
        self.keys, self.values = keys, values  # (layers, rows, kv_heads, capacity, head_dim)
        self.lengths = lengths
        """Tokens held, a row; the model moves them on after each forward."""
        self.granularity = granularity

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def rows(self, start: int, stop: int) -> "KVCache":
        """The rows [start, stop) as a cache of their own that writes to the same storage (lengths are copied)."""
        view = KVCache.__new__(KVCache)
        keys, values = self.keys[:, start:stop], self.values[:, start:stop]
        view._set(keys, values, self.lengths[start:stop], self.granularity)
        return view

    def visible(self, new: int) -> int:
        """Tokens that attention reads after `new` more: the longest row's, rounded up when decoding."""
        total = max(self.lengths) + new
        if total > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens a row; {total} are needed")
        return total if new > 1 else min(-(-total // self.granularity) * self.granularity, self.capacity)

    def places(self, at: Tensor) -> Tensor:
        """Flat indices of the positions `at` (rows, new) within one layer, in the order (row, kv_head, new)."""
        rows, heads = len(self.lengths), self.keys.shape[2]
        head = torch.arange(rows * heads, device=at.device).view(rows, heads, 1)
        return (head * self.capacity + at[:, None]).view(-1)

    def write(
        self, layer: int, places: Tensor | int, keys: Tensor, values: Tensor, total: int
    ) -> tuple[Tensor, Tensor]:
        """Stores new keys and values (rows, new, kv_heads, head_dim) and returns all, (rows, total, kv_heads, ...).

        `places`: the first new token's index where all rows agree, else what `places` gave.
        """
        return (
            _write(self.keys[layer], places, keys)[:, :, :total].transpose(1, 2),
            _write(self.values[layer], places, values)[:, :, :total].transpose(1, 2),
        )

    def advance(self, new: int) -> None:
        self.lengths[:] = [length + new for length in self.lengths]


def _write(stored: Tensor, places: Tensor | int, new: Tensor) -> Tensor:
    new = new.transpose(1, 2)  # (rows, kv_heads, new, head_dim)
    if isinstance(places, int):
        stored[:, :, places : places + new.shape[2]] = new
    else:
        stored.view(-1, stored.shape[-1]).index_copy_(0, places, new.reshape(-1, stored.shape[-1]).to(stored.dtype))
    return stored
