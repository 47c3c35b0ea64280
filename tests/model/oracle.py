"""transformers' implementation beside ours: the same weights, inputs with pictures, and how far the two are apart."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import (
    MuseGlimmerConfig,
    MuseGlimmerForConditionalGeneration,
    MuseSparkConfig,
    MuseSparkForConditionalGeneration,
)

from model.tiny import IMAGE_TOKEN, text_tokens
from polymnia.model.cache import KVCache
from polymnia.model.config import MuseConfig
from polymnia.model.muse import Muse


class Sequence(NamedTuple):
    ids: Tensor
    """(1, T)"""
    pixels: Tensor | None
    """(patches, patch_dim)"""
    grids: Tensor | None
    """(images, 3)"""


def reference(model: Muse) -> Any:
    """transformers' network with the weights of ours."""
    spark = model.config.is_spark
    config: Any = (MuseSparkConfig if spark else MuseGlimmerConfig).from_dict(model.config.to_dict())
    made: Any = (MuseSparkForConditionalGeneration if spark else MuseGlimmerForConditionalGeneration)(config)
    made.load_state_dict(model.state_dict())
    made.set_experts_implementation("eager")  # the definition; the default kernel takes certain widths only
    return made.eval()


def load_reference(folder: Path, config: MuseConfig) -> Any:
    """transformers' network out of a folder, which must hold exactly what it wants."""
    kind: Any = MuseSparkForConditionalGeneration if config.is_spark else MuseGlimmerForConditionalGeneration
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model


def run_reference(model: Any, sequence: Sequence) -> Tensor:
    logits: Tensor = model(input_ids=sequence.ids, pixel_values=sequence.pixels, image_grid_thw=sequence.grids).logits
    return logits


def with_pictures(config: MuseConfig, grids: list[tuple[int, int, int]], seed: int = 1, text: int = 9) -> Sequence:
    """`text` tokens, then for each grid (frames, height, width) a run of placeholders and three more tokens."""
    merge = config.vision_config.merge_size**2
    parts = [text_tokens(1, text, seed=seed)]
    for index, (frames, height, width) in enumerate(grids):
        parts += [
            torch.full((1, frames * height * width // merge), IMAGE_TOKEN),
            text_tokens(1, 3, seed=seed + index + 1),
        ]
    if not grids:
        return Sequence(parts[0], None, None)
    patches = sum(frames * height * width for frames, height, width in grids)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(patches, config.vision_config.patch_dim, generator=generator) * 2 - 1
    return Sequence(torch.cat(parts, 1), pixels, torch.tensor(grids))


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the reference's largest value."""
    scale = float(theirs.detach().abs().max())
    assert scale > 1e-9, "nothing to compare"
    return float((ours.detach() - theirs.detach()).abs().max()) / scale


@torch.no_grad()
def greedy(model: Muse, sequence: Sequence, count: int) -> list[int]:
    """`count` tokens, each the likeliest; a prefill, then one token at a time."""
    cache = KVCache(model.config.text_config, rows=1, capacity=sequence.ids.shape[1] + count)
    logits = model(sequence.ids, sequence.pixels, sequence.grids, kv_cache=cache)
    tokens = [int(logits[0, -1].argmax())]
    while len(tokens) < count:
        tokens.append(int(model(torch.tensor([[tokens[-1]]]), kv_cache=cache)[0, -1].argmax()))
    return tokens


@torch.no_grad()
def reference_greedy(model: Any, sequence: Sequence, count: int) -> list[int]:
    """The same by transformers' `generate`."""
    pictures = {} if sequence.pixels is None else {"pixel_values": sequence.pixels, "image_grid_thw": sequence.grids}
    ids = model.generate(
        input_ids=sequence.ids,
        attention_mask=torch.ones_like(sequence.ids),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=-1,
        pad_token_id=0,
        **pictures,
    )
    found: list[int] = ids[0, sequence.ids.shape[1] :].tolist()
    return found
