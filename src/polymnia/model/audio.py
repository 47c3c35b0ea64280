"""Muse Spark's audio tower: its weights, under transformers' names and in their shapes, and nothing that runs them.

A Spark folder is complete only with an audio tower. Kept here, a checkpoint's tensors go through loading and
saving untouched and count in the weights digest. A network that never had any gets the silent tower
(`config.silent_audio`): one channel of zeros, so that whoever runs it hears a zero vector.
"""

import torch
from torch import Tensor, nn

from polymnia.model.config import AudioConfig


class AudioTower(nn.Module):
    """A pyramid of stages, each a patch embedding and blocks of depthwise convolution and MLP."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        narrow = (1, *config.hidden_sizes)
        self.layers = nn.ModuleList(
            _held(
                patch_embedder=_held(proj=_linear(before * patch, width), norm=_gain(width)),
                conv_blocks=nn.ModuleList(_block(width, config) for _ in range(depth)),
            )
            for before, width, patch, depth in zip(
                narrow[:-1], config.hidden_sizes, config.patch_sizes, config.depths, strict=True
            )
        )
        self.norm = _gain(config.hidden_sizes[-1])
        self.proj = _linear(config.hidden_sizes[-1], config.out_hidden_size)
        self.post_proj_norm = _gain(config.out_hidden_size)

    def forward(self, *_: object) -> Tensor:
        raise NotImplementedError("the audio tower is held, not run")


def _block(width: int, config: AudioConfig) -> nn.Module:
    inner = int(width * config.mlp_ratio)
    return _held(
        conv=_held(weight=torch.zeros(width, 1, config.conv_kernel_size), bias=torch.zeros(width)),
        norm=_gain(width),
        mlp=_held(fc1=_linear(width, inner), fc2=_linear(inner, width)),
    )


def _linear(inputs: int, outputs: int) -> nn.Module:
    return _held(weight=torch.zeros(outputs, inputs), bias=torch.zeros(outputs))


def _gain(width: int) -> nn.Module:
    return _held(weight=torch.ones(width))


def _held(**parts: nn.Module | Tensor) -> nn.Module:
    """A module of these parts; tensors become parameters that no optimizer is to touch."""
    module = nn.Module()
    for name, part in parts.items():
        setattr(module, name, nn.Parameter(part, requires_grad=False) if isinstance(part, Tensor) else part)
    return module
