"""Weights to train from: fan-in scaled truncated normals, a smooth position grid, a quiet output head.

The residual stream needs no depth scaling in the decoder: post-norms with gain 1 set the size of what each
block adds. Embedding rows are normalised when read, so their scale sets only how fast AdamW turns them.
"""

import math

import torch
from torch import Tensor, nn

from polymnia.model.muse import Muse

HEAD_STD = 0.005
"""Logits start near zero: their spread is HEAD_STD * sqrt(width) * output_multiplier."""
POSITION_RMS = 0.3
"""Of the position grid, beside patch contents of about 0.5 to 1."""


@torch.no_grad()
def init_weights(model: Muse, seed: int) -> None:
    """Sets every parameter in place; the same seed gives the same weights."""
    generator = torch.Generator().manual_seed(seed)
    tower = model.model.vision_tower
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            std = HEAD_STD if module is model.lm_head else module.in_features**-0.5
            if name.startswith("model.vision_tower") and name.endswith(("attn.proj", "mlp.fc2")):
                std /= math.sqrt(2 * len(tower.layers))  # the tower has no post-norms
            _fill(module.weight, std, generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
    text = model.model.language_model
    _fill(text.embed_tokens.weight, model.config.text_config.initializer_range, generator)
    text.norm.weight.fill_(1.0)
    for name, parameter in text.named_parameters():
        if "layernorm" in name:
            parameter.zero_()
    side = tower.config.pos_emb_height
    tower.patch_embedder.position_embedding_table.weight.copy_(position_grid(side, tower.config.hidden_size))


def position_grid(side: int, width: int) -> Tensor:
    """(side², width): sines and cosines of x and of y, so that any resampled size reads like its neighbours.

    Wavelengths run from twice the picture's side down to about four cells of the grid.
    """
    count = width // 4
    frequencies = math.pi * torch.logspace(0, math.log2(max(side / 2, 2)), count, base=2.0)
    angles = (torch.arange(side).float()[:, None] + 0.5) / side * frequencies  # (side, count)
    axis = torch.cat((angles.sin(), angles.cos()), dim=1)  # (side, width / 2)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat((rows, columns), dim=-1).reshape(side * side, -1) * (POSITION_RMS * math.sqrt(2))


def _fill(weight: Tensor, std: float, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std, generator=generator)
