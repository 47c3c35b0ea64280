"""A slow, plain reference for the engine, and what its tests share."""

from collections.abc import Sequence

import numpy as np
import torch

from model.tiny import IMAGE_TOKEN, TINY, text_tokens
from polymnia.data.images import ProcessedImage
from polymnia.engine import Engine, SamplingParams, TokenStep
from polymnia.model.muse import Muse


def picture(height: int = 4, width: int = 6, seed: int = 0) -> ProcessedImage:
    patches = np.random.default_rng(seed).standard_normal((height * width, TINY.vision_config.patch_dim))
    return ProcessedImage(patches.astype(np.float32), (1, height, width), height * width // 4)


def prompt(*parts: int | ProcessedImage, seed: int = 0) -> tuple[list[int], list[ProcessedImage]]:
    """`prompt(5, picture(), 3)`: five tokens of text, a picture, three tokens."""
    ids: list[int] = []
    for number, part in enumerate(parts):
        if isinstance(part, int):
            ids += text_tokens(part, seed=100 * seed + number).tolist()
        else:
            ids += [IMAGE_TOKEN] * part.num_tokens
    return ids, [part for part in parts if isinstance(part, ProcessedImage)]


@torch.no_grad()
def reference_greedy(model: Muse, ids: Sequence[int], images: Sequence[ProcessedImage], count: int) -> list[TokenStep]:
    """One forward over everything for each token, no cache."""
    sequence, steps = list(ids), []
    pixels = torch.cat([torch.from_numpy(image.patches) for image in images]) if images else None
    grids = torch.tensor([image.grid for image in images]) if images else None
    for _ in range(count):
        logits = model(torch.tensor([sequence]), pixels, grids)[0, -1]
        logits[list(model.config.placeholder_ids)] = float("-inf")  # not for the engine to make
        scores = logits.log_softmax(-1)
        token = int(scores.argmax())
        steps.append(TokenStep(token, float(scores[token])))
        sequence.append(token)
    return steps


async def collect(
    engine: Engine, ids: Sequence[int], images: Sequence[ProcessedImage] = (), sampling: SamplingParams | None = None
) -> list[TokenStep]:
    return [step async for step in engine.generate(ids, images, sampling)]


def tokens(steps: Sequence[TokenStep]) -> list[int]:
    return [step.token_id for step in steps]
