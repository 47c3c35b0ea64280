"""`polymnia model`: what a checkpoint is and what it costs, read from its files alone (no torch needed)."""

import json as json_format
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymnia.cli.options import Debug, Json, checkpoint_folder
from polymnia.cli.output import print_json, print_text
from polymnia.errors import InputError

if TYPE_CHECKING:
    from polymnia.model.files import StoredTensor

app = typer.Typer(help="Checkpoints: what they are and what they cost.", rich_markup_mode=None)

_CARD_KEYS = ("recipe", "steps", "tokens", "flops", "minutes", "limits", "weights_digest")


@app.callback()
def model() -> None:
    """Checkpoints: what they are and what they cost."""  # with one command alone typer would drop its name


@app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="FOLDER", help="A checkpoint folder, or nano.")],
    context: Annotated[
        int | None, typer.Option(help="Tokens for which FLOPs and bytes are given. [default: the longest context]")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Show a checkpoint's architecture, parameters by part, FLOPs a token, bytes, and digest."""
    found = describe(checkpoint_folder(name), context)
    if json:
        print_json(found)
    else:
        for label, value in lines(found):
            print_text(f"{label:<20}{value}".rstrip())
    return 0


def describe(folder: Path, context: int | None) -> dict[str, Any]:
    """Everything that `info` prints; FLOPs are of one token, but for `prefill` and `image`, bytes of one sequence."""
    from polymnia.model import accounting
    from polymnia.model.config import load_config
    from polymnia.model.digest import folder_digest
    from polymnia.model.files import stored_tensors, weight_files

    config = load_config(folder)
    text, vision = config.text_config, config.vision_config
    context = text.max_position_embeddings if context is None else context
    if not 1 <= context <= text.max_position_embeddings:
        raise InputError(f"--context {context}: {folder} reads 1 to {text.max_position_embeddings:,} tokens")
    parts, side, digest = accounting.parameters(config), vision.pos_emb_height, folder_digest(folder)
    dtypes = _dtypes(folder, stored_tensors(folder), parts.total - parts.audio)
    training = accounting.training_flops(config, rows=1, row_tokens=context, trained=context)
    return {
        "folder": str(folder),
        "architecture": config.to_dict()["model_type"],
        "layers": text.num_hidden_layers,
        "width": text.hidden_size,
        "tower_layers": vision.num_hidden_layers,
        "tower_width": vision.hidden_size,
        "vocabulary": text.vocab_size,
        "context_tokens": text.max_position_embeddings,
        "parameters": {"total": parts.total, **asdict(parts), "active": accounting.active_parameters(config)},
        "at_tokens": context,
        "flops": {
            "training": training // context,
            "decode": accounting.decode_flops(config, context),
            "prefill": accounting.prefill_flops(config, context),
            "image": accounting.image_flops(config, (1, side, side)),
        },
        "image_patches": side * side,
        "cache_bytes": {
            "token": accounting.cache_bytes(config, 1),
            "sequence": accounting.cache_bytes(config, context),
        },
        "file_bytes": sum(file.stat().st_size for file in weight_files(folder)),
        "dtype": "+".join(dtypes),
        "weights_digest": digest,
        "card": _card(folder, digest),
    }


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The same as labels and values for a person."""
    parts, flops, cache, card = found["parameters"], found["flops"], found["cache_bytes"], found["card"]
    at = found["at_tokens"]
    decoder = f"decoder {found['layers']} x {found['width']}, tower {found['tower_layers']} x {found['tower_width']}"
    shown = [
        ("architecture", f"{found['architecture']}: {decoder}, vocabulary {found['vocabulary']:,}"),
        ("context", f"{found['context_tokens']:,} tokens"),
        ("parameters", f"{parts['total']:,}"),
        *((f"  {part}", f"{count:,}") for part, count in parts.items() if count and part not in ("total", "active")),
        ("active", f"{parts['active']:,} for a token of text"),
        ("FLOPs", ""),
        ("  training", f"{_short(flops['training'])} a token in rows of {at:,}, forward and backward"),
        ("  decode", f"{_short(flops['decode'])} a token with {at:,} in context"),
        ("  prefill", f"{_short(flops['prefill'])} for {at:,} tokens"),
        ("  picture", f"{_short(flops['image'])} for {found['image_patches']:,} patches"),
        (
            "keys and values",
            f"{cache['token']:,} bytes a token, {_short(cache['sequence'])}B for {at:,} (bf16, windows kept)",
        ),
        ("weights", f"{_short(found['file_bytes'])}B, {found['dtype']}"),
        ("digest", found["weights_digest"]),
    ]
    return shown + [(key, value if isinstance(value, str) else _short(value)) for key, value in card.items()]


def _dtypes(folder: Path, tensors: "list[StoredTensor]", expected: int) -> list[str]:
    """The dtypes of the stored weights; InputError where their number is not what the config asks for.

    Not counted: a Spark folder's audio tower, which may be missing, and its routers' biases, no parameters.
    """
    skipped = ("audio_tower", "e_score_correction_bias")
    numbers = sum(prod(tensor.shape) for tensor in tensors if not any(part in tensor.name for part in skipped))
    if numbers != expected:
        raise InputError(f"{folder}: the weights hold {numbers:,} numbers, config.json asks for {expected:,}.")
    return sorted({tensor.dtype for tensor in tensors})


def _card(folder: Path, digest: str) -> dict[str, Any]:
    """Where the weights come from, as card.json says; empty without one."""
    path = folder / "card.json"
    if not path.is_file():
        return {}
    try:
        card = json_format.loads(path.read_text(encoding="utf-8"))
        shown = {key: card[key] for key in _CARD_KEYS if key in card}
    except (ValueError, TypeError):
        raise InputError(f"{path} is no JSON object: remove it, or export the model again") from None
    if shown.pop("weights_digest", digest) != digest:
        raise InputError(f"{path} is of other weights than those beside it: remove it, or export the model again")
    return shown


def _short(number: float) -> str:
    """Three digits and a unit: 1234567 -> 1.23 M."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} P"
