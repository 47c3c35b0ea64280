"""What a GGUF file takes from the files beside the weights: vocabulary, chat template, pixel statistics.

llama.cpp knows pre-tokenizers by name, not by pattern; one that it does not know is refused, because
prompts would be cut up otherwise than in training. Reads JSON alone and encodes nothing.
"""

from pathlib import Path
from typing import Any, NamedTuple

from polymnia.errors import InputError
from polymnia.model.files import read_object

PRE_TOKENIZERS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "qwen2",
}
"""The split in tokenizer.json -> llama.cpp's name for it."""

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""llama.cpp's kinds of tokens: made by merges, special, cut out before the split, none."""


class Vocabulary(NamedTuple):
    pre: str
    tokens: list[str]
    """One for each row of the embedding"""
    types: list[int]
    merges: list[str]
    bos: int
    eos: int
    """The end of a turn"""
    pad: int
    chat_template: str


class Processor(NamedTuple):
    mean: list[float]
    std: list[float]


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """From tokenizer.json, tokenizer_config.json and chat_template.jinja; `size` rows of the embedding.

    Raises InputError when one is missing or llama.cpp has no such tokenizer.
    """
    path, template = folder / "tokenizer.json", folder / "chat_template.jinja"
    tokenizer, settings = _read_json(path), _read_json(folder / "tokenizer_config.json")
    if not template.is_file():
        raise InputError(f"{template} does not exist: a GGUF file carries the chat template")
    try:
        tokens, types, added = _tokens(tokenizer, size)
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
        bos, eos, pad = (added[settings[role]] for role in ("bos_token", "eos_token", "pad_token"))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} and tokenizer_config.json do not fit together or the {size} rows of the embedding"
            f" ({type(error).__name__}: {error}); copy or save them again"
        ) from None
    text = template.read_text(encoding="utf-8")
    return Vocabulary(_pre_tokenizer(tokenizer, path), tokens, types, merges, bos, eos, pad, text)


def read_processor(folder: Path) -> Processor:
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            fields = _read_json(folder / name)
            fields = fields.get("image_processor", fields)
            if {"image_mean", "image_std"} <= fields.keys():
                return Processor(fields["image_mean"], fields["image_std"])
    raise InputError(f"{folder} has no processor_config.json with image_mean: a projector file carries it")


def _tokens(tokenizer: dict[str, Any], size: int) -> tuple[list[str], list[int], dict[str, int]]:
    """Token and kind for each row, and the added tokens' ids. Rows without a token are `UNUSED`."""
    tokens, types = [f"[unused {row}]" for row in range(size)], [UNUSED] * size
    for token, row in tokenizer["model"]["vocab"].items():
        tokens[row], types[row] = token, NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], CONTROL if added["special"] else USER_DEFINED
    return tokens, types, {added["content"]: added["id"] for added in tokenizer["added_tokens"]}


def _pre_tokenizer(tokenizer: dict[str, Any], path: Path) -> str:
    """The engine's name for byte-level BPE that splits by one pattern and normalises nothing."""
    match tokenizer:
        case {
            "normalizer": None,
            "pre_tokenizer": {
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
                ],
            },
            "model": {"type": "BPE"},
        } if pattern in PRE_TOKENIZERS:
            return PRE_TOKENIZERS[pattern]
    raise InputError(
        f"{path} cuts text in a way that this export has no name for in llama.cpp; known:"
        f" {', '.join(PRE_TOKENIZERS.values())}. llama.cpp's own converter knows others"
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} does not exist: a GGUF file carries what it says")
    return read_object(path)
