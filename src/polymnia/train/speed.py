"""What makes a step fast without changing what it computes: memory kept by the allocator, compiled parts.

Measured once on two Zen 5 cores with a network of the size of nano: keeping freed memory doubles the
rate of eager bf16 (glibc otherwise returns each activation to the system and faults it in again).
"""

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch._dynamo
import torch._functorch.config
import torch.fx.experimental._config
from torch import Tensor, nn

from polymnia.model.decoder import Context
from polymnia.train.config import TrainConfig
from polymnia.train.cross_entropy import Pointwise, score_rows

ACTIVATION_BUDGET = 0.9
"""Share of the compiler's own choice of activations."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # malloc.h


def keep_memory() -> None:
    """Tells glibc never to give memory back to the system; without glibc nothing happens."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_TOP_PAD, 256 * 2**20)


def compile_parts(model: nn.Module, config: TrainConfig) -> Pointwise:
    """Compiles the parts with steady shapes in place; returns the pointwise part of the loss to use.

    The decoder sees one shape (rows, length). The tower's number of pictures and the number of
    trained tokens change from batch to batch and are compiled as symbols.
    """
    if not config.compile:
        return score_rows
    # Equal sizes by chance (32 pictures, half a head) must not be taken for one symbol.
    torch.fx.experimental._config.use_duck_shape = False
    torch._dynamo.config.recompile_limit = 32
    # What is quick to compute again is not kept for the backward pass: a fifth less memory, time within 2 %.
    torch._functorch.config.activation_memory_budget = ACTIVATION_BUDGET
    parts: Any = model
    decoder = parts.model.language_model
    decoder.forward = _with_any_documents(torch.compile(decoder.forward, dynamic=False))
    for layer in parts.model.vision_tower.layers:
        layer.compile(dynamic=True)
    return torch.compile(score_rows, dynamic=True)


def _with_any_documents(forward: Callable[[Tensor, Context], Tensor]) -> Callable[[Tensor, Context], Tensor]:
    """Of the decoder's shapes only the number of visible pairs changes from batch to batch."""

    def marked(x: Tensor, context: Context) -> Tensor:
        for sight in (context.full, context.sliding):
            if sight.plan_mask is not None:
                torch._dynamo.mark_dynamic(sight.plan_mask, 0)
        return forward(x, context)

    return marked
