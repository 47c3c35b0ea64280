"""The two multipliers of a Muse config as functions of its width, as both releases have them.

Logits: hidden states leave the final norm with size 1 an entry, so head rows of one fixed spread give logits that
grow with sqrt(width); `output_multiplier` = 1 / sqrt(width / 256) takes that back, and 256 is the width at which
nothing is done. Spark's routers share it. Attention: Q and K are normalised, so Q K / sqrt(head_dim) is
sqrt(head_dim) times their cosine; `qk_scale_factor` = sharpness / sqrt(head_dim) leaves sharpness times the cosine,
whatever head_dim is. Released networks have a sharpness of 43.78, which is for loading them: a small network
trained from scratch does not learn well with it (docs/log.md), start with `SCRATCH_SHARPNESS`.
Imports without torch.
"""

from typing import NamedTuple

BASE_WIDTH = 256
RELEASED_SHARPNESS = 43.78405189
"""3.87 x sqrt(128) in Glimmer, 5.473 x sqrt(64) in Spark: the largest score that a key can get."""
SCRATCH_SHARPNESS = 8.3
"""1.2 x sqrt(48), nano's."""


class Multipliers(NamedTuple):
    """Values for the fields of `TextConfig` of these names."""

    output_multiplier: float
    qk_scale_factor: float


def width_multipliers(hidden_size: int, head_dim: int, *, sharpness: float = SCRATCH_SHARPNESS) -> Multipliers:
    """For a decoder of this width (numbers a token) and heads of this size (numbers a head)."""
    return Multipliers((hidden_size / BASE_WIDTH) ** -0.5, sharpness / head_dim**0.5)
