"""A checkpoint folder in and out: config.json and model.safetensors under transformers' tensor names.

The tokenizer, template, processor and card files of the folder belong to others and are left alone.
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from polymnia.errors import InputError
from polymnia.model.config import load_config
from polymnia.model.digest import folder_digest, tensor_header, weight_files
from polymnia.model.muse import Muse

INDEX = "model.safetensors.index.json"
_DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}


def load_checkpoint(folder: Path | str, dtype: torch.dtype | None = None) -> Muse:
    """The network in eval mode, weights in `dtype` or as stored. InputError names what is missing or not known."""
    folder = Path(folder)
    config = load_config(folder)
    with torch.device("meta"):
        model = Muse(config)
    state = {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if differing := wanted.keys() ^ state.keys():
        raise InputError(f"{folder}: tensors do not fit config.json, first {min(differing)!r} of {len(differing)}.")
    for name, shape in wanted.items():
        if state[name].shape != shape:
            raise InputError(f"{folder}: {name} is {tuple(state[name].shape)}, config.json asks for {tuple(shape)}.")
    model.load_state_dict(state, assign=True)
    return (model.cast(dtype) if dtype else model).eval()


def save_checkpoint(model: Muse, folder: Path | str, *, max_shard_bytes: int | None = None) -> None:
    """Writes config.json and the weights, each tensor in the dtype that it has.

    One file, model.safetensors, or several of at most `max_shard_bytes` (a larger tensor has a file of its own)
    with model.safetensors.index.json. Each file is replaced in one move so that no reader sees half of it, and
    what an earlier save left beside them goes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    sections = (section for section in config.values() if isinstance(section, dict))
    for section in (config, *sections):
        section["dtype"] = str(model.lm_head.weight.dtype).removeprefix("torch.")
    shards = _shards(state, max_shard_bytes)
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    written = names if len(shards) > 1 else ["model.safetensors"]
    for name, shard in zip(written, shards, strict=True):
        save_file(shard, folder / f"{name}.new", metadata={"format": "pt"})
    _write_json(folder / "config.json.new", config)
    for name in (*written, "config.json"):
        os.replace(folder / f"{name}.new", folder / name)
    if len(shards) > 1:
        where = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(tensor.nbytes for tensor in state.values())
        _write_json(folder / f"{INDEX}.new", {"metadata": {"total_size": total}, "weight_map": where})
        os.replace(folder / f"{INDEX}.new", folder / INDEX)
    else:
        (folder / INDEX).unlink(missing_ok=True)
    for old in {*folder.glob("model-*-of-*.safetensors"), folder / "model.safetensors"}:
        if old.name not in written:
            old.unlink(missing_ok=True)


def _shards(state: dict[str, Tensor], max_bytes: int | None) -> list[dict[str, Tensor]]:
    """`state` in order, cut before each tensor that would take a shard over `max_bytes`."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in state.items():
        if max_bytes is not None and shards[-1] and size + tensor.nbytes > max_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def weights_digest(source: Muse | Path | str) -> str:
    """SHA-256 of a network's or a folder's weights (the definition is in `model.digest`)."""
    if not isinstance(source, Muse):
        return folder_digest(Path(source))
    total = hashlib.sha256()
    for name, tensor in sorted(source.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        total.update(tensor_header(name, _DTYPE_NAMES[data.dtype], data.shape))
        total.update(data.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
