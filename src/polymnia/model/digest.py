"""One name for a set of weights: SHA-256 over the tensors sorted by name.

For each tensor a line of JSON, `[name, dtype, shape]` (dtype as safetensors spells it: "BF16", "F32"), then
its bytes, little-endian and row-major. So neither sharding nor the order in a file changes the digest, and
it is computed from the files alone, without torch.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from polymnia.errors import InputError
from polymnia.model.files import stored_tensors

_BLOCK = 1 << 22


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
                    raise InputError(f"{tensor.file} is cut short in tensor {tensor.name}: copy the file again")
                total.update(block)
                left -= len(block)
    return total.hexdigest()


def tensor_header(name: str, dtype: str, shape: Iterable[int]) -> bytes:
    return (json.dumps([name, dtype, list(shape)]) + "\n").encode()
