"""Which request owns which row of the key-value cache.

Running requests hold the rows 0 to n - 1 without gaps, so that a step reads a plain slice; when one leaves,
the last row moves into its place.
"""

from polymnia.engine.request import Request
from polymnia.model.cache import KVCache

_LEAST_ROWS = 4
"""Fewer rows take another matrix kernel, whose sums differ in the last bit (MKL on AVX-512)."""


class Slots:
    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self.running: list[Request] = []
        """By row."""

    @staticmethod
    def rows_for(max_batch: int) -> int:
        """Rows that the cache needs for so many requests."""
        return max(max_batch, _LEAST_ROWS)

    @property
    def step_rows(self) -> int:
        """Rows that a step computes; those beyond the running ones are idle and their results are dropped."""
        return max(len(self.running), _LEAST_ROWS)

    def take(self, request: Request) -> int:
        """The row that is now the request's, empty."""
        row = len(self.running)
        self.running.append(request)
        self.cache.lengths[row] = 0
        return row

    def free(self, row: int) -> None:
        """Gives a row back; the last running request may move into it."""
        cache, last = self.cache, len(self.running) - 1
        moved = self.running.pop()
        if row != last:
            self.running[row] = moved
            length = cache.lengths[last]
            cache.keys[:, row, :, :length] = cache.keys[:, last, :, :length]
            cache.values[:, row, :, :length] = cache.values[:, last, :, :length]
            cache.lengths[row] = length
        cache.lengths[last] = 0

    def check_integrity(self) -> None:
        """Raises AssertionError if rows and requests do not fit; for tests and idle moments."""
        assert len(set(map(id, self.running))) == len(self.running) <= len(self.cache.lengths)
        for row, length in enumerate(self.cache.lengths):
            if row < len(self.running):
                request = self.running[row]
                assert not request.done
                assert length == len(request) - 1, "a row holds all tokens but the newest"
            else:
                assert length == 0
