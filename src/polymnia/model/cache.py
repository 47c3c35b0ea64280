"""Keys and values of tokens already read, for a batch of rows of different lengths.

Storage is one tensor a layer and kind, (rows, capacity, kv_heads, head_dim): untouched pages cost no
memory, a row is a contiguous run of tokens, and a shorter or narrower view costs nothing. Which request
owns which row is the engine's affair (`engine.slots`).
"""

import torch
from torch import Tensor

from polymnia.model.config import TextConfig


class KVCache:
    def __init__(self, config: TextConfig, rows: int, capacity: int, dtype: torch.dtype = torch.float32) -> None:
        """`capacity`: tokens a row can hold."""
        shape = (config.num_hidden_layers, rows, capacity, config.num_key_value_heads, config.head_dim)
        self._set(torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype), [0] * rows)

    def _set(self, keys: Tensor, values: Tensor, lengths: list[int]) -> None:
        self.keys, self.values = keys, values  # (layers, rows, capacity, kv_heads, head_dim)
        self.lengths = lengths
        """Tokens held, a row; the model moves them on after each forward."""

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    def rows(self, start: int, stop: int) -> "KVCache":
        """The rows [start, stop) as a cache of their own that writes to the same storage (lengths are copied)."""
        view = KVCache.__new__(KVCache)
        view._set(self.keys[:, start:stop], self.values[:, start:stop], self.lengths[start:stop])
        return view

    def write(
        self, layer: int, positions: Tensor | int, keys: Tensor, values: Tensor, total: int
    ) -> tuple[Tensor, Tensor]:
        """Stores new keys and values (rows, new, kv_heads, head_dim) and returns views of all, (rows, total, ...).

        `positions`: the first new token's index where all rows agree, else each token's, (rows, new).
        """
        all_keys, all_values = self.keys[layer], self.values[layer]
        if isinstance(positions, int):
            all_keys[:, positions : positions + keys.shape[1]] = keys
            all_values[:, positions : positions + keys.shape[1]] = values
        else:
            index = (torch.arange(len(self.lengths))[:, None], positions)
            all_keys[index] = keys.to(all_keys.dtype)
            all_values[index] = values.to(all_values.dtype)
        return all_keys[:, :total], all_values[:, :total]

    def advance(self, new: int) -> None:
        self.lengths[:] = [length + new for length in self.lengths]
