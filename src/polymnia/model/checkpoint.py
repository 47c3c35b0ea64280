"""A checkpoint folder in and out: config.json and model.safetensors under transformers' tensor names.

The tokenizer, template, processor and card files of the folder belong to others and are left alone.
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from polymnia.errors import InputError
from polymnia.model.config import load_config
from polymnia.model.digest import folder_digest, tensor_header, weight_files
from polymnia.model.glimmer import MuseGlimmer

_DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}


def load_checkpoint(folder: Path | str, dtype: torch.dtype | None = None) -> MuseGlimmer:
    """The network in eval mode, weights in `dtype` or as stored. InputError names what is missing or not known."""
    folder = Path(folder)
    config = load_config(folder)
    with torch.device("meta"):
        model = MuseGlimmer(config)
    state = {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if differing := wanted.keys() ^ state.keys():
        raise InputError(f"{folder}: tensors do not fit config.json, first {min(differing)!r} of {len(differing)}.")
    for name, shape in wanted.items():
        if state[name].shape != shape:
            raise InputError(f"{folder}: {name} is {tuple(state[name].shape)}, config.json asks for {tuple(shape)}.")
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()} if dtype else state, assign=True)
    return model.eval()


def save_checkpoint(model: MuseGlimmer, folder: Path | str) -> None:
    """Writes config.json and model.safetensors, each replaced in one move so that no reader sees half a file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    dtype = str(next(iter(state.values())).dtype).removeprefix("torch.")
    config = model.config.to_dict()
    for section in (config, config["text_config"], config["vision_config"]):
        section["dtype"] = dtype
    weights, settings = folder / "model.safetensors.new", folder / "config.json.new"
    save_file(state, weights, metadata={"format": "pt"})
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    os.replace(weights, folder / "model.safetensors")
    os.replace(settings, folder / "config.json")


def weights_digest(source: MuseGlimmer | Path | str) -> str:
    """SHA-256 of a network's or a folder's weights (the definition is in `model.digest`)."""
    if not isinstance(source, MuseGlimmer):
        return folder_digest(Path(source))
    total = hashlib.sha256()
    for name, tensor in sorted(source.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        total.update(tensor_header(name, _DTYPE_NAMES[data.dtype], data.shape))
        total.update(data.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
