"""A checkpoint folder in and out: config.json and the weights under transformers' tensor names.

What is wrong with a folder is said in one line (`InputError`: file, tensor, remedy) before or instead of a
traceback. The tokenizer, template, processor and card files of the folder belong to others and are left alone.
"""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from polymnia.errors import InputError
from polymnia.model.audio import AudioTower
from polymnia.model.config import MuseConfig, load_config
from polymnia.model.digest import folder_digest, tensor_header
from polymnia.model.files import INDEX, SINGLE, StoredTensor, stored_tensors
from polymnia.model.muse import Muse

_AUDIO = "model.audio_tower."
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
"""What weights can be converted to."""
_DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
_TWO_MODELS = "weights and config.json are of two models, copy both from one"


def load_checkpoint(folder: Path | str, dtype: torch.dtype | None = None) -> Muse:
    """The network in eval mode, weights as stored or in `dtype` (but for what `Muse.cast` leaves in fp32).

    A Spark folder without any tensor of an audio tower gets the silent one. Raises InputError for everything
    else that is missing, left over, broken, not finite or not known.
    """
    folder = Path(folder)
    config = load_config(folder)
    stored = {tensor.name: tensor for tensor in stored_tensors(folder)}
    if silent := config.is_spark and not any(name.startswith(_AUDIO) for name in stored):
        config = replace(config, audio_config=None)
    model = _empty(config, folder, len(stored))
    wanted = {name: tensor for name, tensor in model.state_dict().items() if not (silent and name.startswith(_AUDIO))}
    _check_fit(folder, wanted, stored)
    state = _read(stored)
    if silent and config.audio_config is not None:
        tower = AudioTower(config.audio_config).to(state["lm_head.weight"].dtype)
        state |= {_AUDIO + name: tensor for name, tensor in tower.state_dict().items()}
    model.load_state_dict(state, assign=True)
    return (model.cast(dtype) if dtype else model).eval()


def _empty(config: MuseConfig, folder: Path, tensors: int) -> Muse:
    """The network without memory for its weights; sizes that no weights could have are refused first."""
    path = folder / "config.json"
    if (layers := config.text_config.num_hidden_layers + config.vision_config.num_hidden_layers) > tensors:
        raise InputError(f"{path} asks for {layers} layers, and the weights are {tensors} tensors: {_TWO_MODELS}")
    try:
        with torch.device("meta"):
            return Muse(config)
    except RuntimeError as error:  # a number of elements over 2**63
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} asks for impossible sizes ({reason}): export the model again") from None


def _check_fit(folder: Path, wanted: dict[str, Tensor], stored: dict[str, StoredTensor]) -> None:
    """Raises InputError for tensors that are missing, left over or of another shape."""
    if missing := wanted.keys() - stored.keys():
        raise InputError(
            f"{folder / 'config.json'} asks for tensor {min(missing)}, which no file of weights holds "
            f"({len(missing)} missing in all): {_TWO_MODELS}"
        )
    if extra := stored.keys() - wanted.keys():
        name = min(extra)
        raise InputError(
            f"{stored[name].file} holds tensor {name}, which config.json does not ask for "
            f"({len(extra)} too many in all): {_TWO_MODELS}"
        )
    for name, tensor in wanted.items():
        if list(tensor.shape) != stored[name].shape:
            raise InputError(
                f"{stored[name].file}: tensor {name} is {tuple(stored[name].shape)}, config.json asks for "
                f"{tuple(tensor.shape)}: {_TWO_MODELS}"
            )


def _read(stored: dict[str, StoredTensor]) -> dict[str, Tensor]:
    """The values, file by file. Raises InputError for NaN and Inf."""
    state: dict[str, Tensor] = {}
    for file in sorted({tensor.file for tensor in stored.values()}):
        try:
            state |= load_file(file)
        except SafetensorError as error:  # holes or overlaps between tensors
            raise InputError(f"{file} is not whole ({error}): copy it again from where it came") from None
    for name, tensor in state.items():
        if not _is_finite(tensor):
            raise InputError(
                f"{stored[name].file}: tensor {name} holds NaN or Inf: take an earlier checkpoint of the run, "
                "or copy the file again"
            )
    return state


def _is_finite(tensor: Tensor) -> bool:
    # A sum shows NaN and Inf at a tenth of `isfinite`'s cost (nano: 1 ms beside 8 to read the pages); one that only
    # overflowed does not.
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())


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
    written = names if len(shards) > 1 else [SINGLE]
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
    for old in {*folder.glob("model-*-of-*.safetensors"), folder / SINGLE}:
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
