"""A checkpoint's weight files, looked at before they are read: which they are, and which tensors they hold where.

Everything that can be wrong with them raises an InputError of one line that names file, tensor and remedy. Only
safetensors (https://github.com/huggingface/safetensors, "Format"); a pickle could run code and is refused.
Values are not read here (`checkpoint` looks for NaN and Inf). Imports without torch.
"""

import json
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from polymnia.errors import InputError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number, by safetensors' names of the dtypes that a network here can have."""

_LARGEST_HEADER = 100_000_000
"""Bytes, as safetensors itself has it."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_COPY = "copy it again from where it came"


class StoredTensor(NamedTuple):
    name: str
    dtype: str
    shape: list[int]
    file: Path
    start: int
    """Offset of the data in the file, bytes"""
    size: int
    """Bytes"""


def weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards that `model.safetensors.index.json` names."""
    if (folder / INDEX).is_file():
        return [folder / name for name in sorted(set(_weight_map(folder).values()))]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    check_folder(folder)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise InputError(
            f"{folder / pickles[0]} is a pickle, which could run code; only safetensors is read: "
            "load it in transformers and write it with save_pretrained"
        )
    raise InputError(f"{folder} holds no {SINGLE} and no {INDEX}: name a checkpoint folder, or copy it whole")


def stored_tensors(folder: Path) -> list[StoredTensor]:
    """All tensors of a checkpoint, file by file; checked against the files' sizes and the index."""
    found: dict[str, StoredTensor] = {}
    for file in weight_files(folder):
        for tensor in _tensors(file):
            if twin := found.get(tensor.name):
                _refuse(file, f"holds tensor {tensor.name}, and so does {twin.file.name}", "export the model again")
            found[tensor.name] = tensor
    if (folder / INDEX).is_file():
        for name, file_name in _weight_map(folder).items():
            if name not in found or found[name].file.name != file_name:
                _refuse(folder / INDEX, f"names tensor {name} in {file_name}, which does not hold it", _COPY)
    return list(found.values())


def check_folder(folder: Path) -> None:
    """Raises InputError unless it is a folder."""
    if not folder.exists():
        raise InputError(f"{folder} does not exist: name a checkpoint folder")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: name the checkpoint folder that it lies in")


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor name -> file name, out of the index."""
    path = folder / INDEX
    where = read_object(path).get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(name, str) for name in where.values()):
        _refuse(path, "holds no weight_map of tensors to files", _COPY)
    for tensor, name in where.items():
        if Path(name).name != name or not name.endswith(".safetensors"):
            _refuse(path, f"names file {name!r} for tensor {tensor}, no safetensors file beside it", "export it again")
        if not (folder / name).is_file():
            _refuse(path, f"names file {name} for tensor {tensor}, which is missing", "copy that file, too")
    return where


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): export the model again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object: export the model again")
    return values


def _tensors(file: Path) -> list[StoredTensor]:
    """What a file's header says, checked against its length."""
    length, size, header = _header(file)
    header.pop("__metadata__", None)
    tensors = [_tensor(file, name, entry, 8 + size) for name, entry in header.items()]
    for tensor in tensors:
        if tensor.start + tensor.size > length:
            _refuse(file, f"is cut short in tensor {tensor.name} ({length:,} bytes)", _COPY)
    return tensors


def _header(file: Path) -> tuple[int, int, dict[str, Any]]:
    """The file's length, the header's, both in bytes, and the header."""
    try:
        length = file.stat().st_size
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if length < 8 or size > _LARGEST_HEADER:
                _refuse(file, "is no safetensors file", _COPY)
            if 8 + size > length:
                _refuse(file, f"is cut short in its header ({length:,} bytes)", _COPY)
            header = json.loads(stream.read(size))
    except OSError as error:
        _refuse(file, f"cannot be read ({error.strerror})", "check its permissions")
    except (ValueError, RecursionError):
        _refuse(file, "has a header that is not JSON", _COPY)
    if not isinstance(header, dict):
        _refuse(file, "has a header that is no JSON object", _COPY)
    return length, size, header


def _tensor(file: Path, name: str, entry: Any, data: int) -> StoredTensor:
    """`data`: where the header ends."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if (
            all(type(side) is int and side >= 0 for side in shape) and 0 <= start <= stop
        ):
            pass
        case _:
            _refuse(file, f"describes tensor {name} in a way that safetensors does not", _COPY)
    if dtype not in DTYPES:
        _refuse(file, f"holds tensor {name} as {dtype}, not as one of {', '.join(DTYPES)}", "take unquantised weights")
    if stop - start != DTYPES[dtype] * prod(shape):
        _refuse(file, f"gives tensor {name} {stop - start} bytes, its shape {shape} in {dtype} needs others", _COPY)
    return StoredTensor(name, dtype, shape, file, data + start, stop - start)


def _refuse(file: Path, problem: str, remedy: str) -> NoReturn:
    raise InputError(f"{file} {problem}: {remedy}")
