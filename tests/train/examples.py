"""A stream of small made-up examples that fits the tiny model: text, or a picture and text."""

import numpy as np

from model.tiny import FIRST_TEXT_TOKEN, IMAGE_TOKEN, VOCABULARY
from polymnia.train.packing import Example

PATCH_DIM = 2 * 3 * 14 * 14
GRIDS = ((1, 2, 2), (1, 4, 2), (1, 4, 4))


def make_example(index: int, longest: int = 20) -> Example:
    """Example `index`: a pure function, at most `longest` + 4 tokens."""
    rng = np.random.default_rng(index)
    grids = [GRIDS[rng.integers(len(GRIDS))]] if index % 3 else []
    image_tokens = sum(rows * columns // 4 for _, rows, columns in grids)
    text = rng.integers(FIRST_TEXT_TOKEN, VOCABULARY, rng.integers(2, longest + 1))
    ids = np.concatenate([np.full(image_tokens, IMAGE_TOKEN), text])
    mask = np.zeros(len(ids), bool)
    mask[image_tokens + len(text) // 2 :] = True
    return Example(
        ids,
        mask,
        [rng.standard_normal((rows * columns, PATCH_DIM)).astype(np.float32) for _, rows, columns in grids],
        grids,
        np.stack([rng.integers(-1, 3, image_tokens), rng.integers(-1, 2, image_tokens)], axis=1),
        "picture" if grids else "text",
    )
