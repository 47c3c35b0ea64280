"""One name for a set of weights: SHA-256 over the tensors sorted by name.

For each tensor a line of JSON, `[name, dtype, shape]` (dtype as safetensors spells it: "BF16", "F32"), then
its bytes, little-endian and row-major. So neither sharding nor the order in a file changes the digest, and
it is computed from the files alone, without torch.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from polymnia.errors import InputError

_BLOCK = 1 << 22
_LONGEST_HEADER = 100_000_000
"""Bytes; safetensors' own limit."""


class StoredTensor(NamedTuple):
    name: str
    dtype: str
    shape: list[int]
    file: Path
    start: int
    """Offset of the data in the file, bytes"""
    size: int
    """Bytes"""


def folder_digest(folder: Path) -> str:
    """Hex digest of all safetensors files that the checkpoint in `folder` consists of."""
    total = hashlib.sha256()
    for tensor in sorted(stored_tensors(folder)):
        total.update(tensor_header(tensor.name, tensor.dtype, tensor.shape))
        with tensor.file.open("rb") as stream:
            stream.seek(tensor.start)
            left = tensor.size
            while left:
                block = stream.read(min(left, _BLOCK))
                if not block:
                    raise InputError(f"{tensor.file} is cut short in tensor {tensor.name}; copy the file again.")
                total.update(block)
                left -= len(block)
    return total.hexdigest()


def tensor_header(name: str, dtype: str, shape: Iterable[int]) -> bytes:
    return (json.dumps([name, dtype, list(shape)]) + "\n").encode()


def weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards that `model.safetensors.index.json` names."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    single = folder / "model.safetensors"
    if not single.exists():
        raise InputError(f"{folder} holds no model.safetensors; name a checkpoint folder.")
    return [single]


def stored_tensors(folder: Path) -> list[StoredTensor]:
    found = []
    for file in weight_files(folder):
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            try:
                header = json.loads(stream.read(min(size, _LONGEST_HEADER)))
            except ValueError:
                raise InputError(f"{file} is no safetensors file; copy or export it again.") from None
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            found.append(StoredTensor(name, entry["dtype"], entry["shape"], file, 8 + size + start, stop - start))
    return found
