"""Weights to train from: fan-in scaled truncated normals, a smooth position grid, a quiet output head.

Every activation starts at the same size whatever the width (`model.scaling` has the multipliers that belong to
it). The residual stream needs no depth scaling in the decoder: post-norms with gain 1 set the size of what each
block adds. Spark's gates keep the stream at size 1; they start so that each of 2 x layers blocks brings 1 / sqrt(2 x
layers) and what was embedded keeps a third of the stream (docs/log.md). Embedding rows are normalised when read, so
their scale sets only how fast AdamW turns them.
"""

import math

import torch
from torch import Tensor, nn

from polymnia.model.decoder import ResidualGate
from polymnia.model.experts import Experts, Router
from polymnia.model.layers import CenteredRMSNorm, InputScaledRMSNorm, RMSNorm
from polymnia.model.muse import Muse

HEAD_STD = 0.005
"""Logits start near zero: their spread is HEAD_STD * sqrt(width) * output_multiplier."""
POSITION_RMS = 0.3
"""Of the position grid, beside patch contents of about 0.5 to 1."""


ROUTER_STD = 0.02
"""Scores start near a half, so that the bias can balance them: their logits' spread is as the head's."""


@torch.no_grad()
def init_weights(model: Muse, seed: int) -> None:
    """Sets every parameter in place, but for the audio tower's; the same seed gives the same weights."""
    generator = torch.Generator().manual_seed(seed)
    text, tower = model.model.language_model, model.model.vision_tower
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
        elif isinstance(module, RMSNorm):
            module.weight.fill_(1.0)
        elif isinstance(module, CenteredRMSNorm | InputScaledRMSNorm):
            module.weight.zero_()
        elif isinstance(module, ResidualGate):
            module.gate.fill_(module.temperature * _logit((2 * len(text.layers)) ** -0.5))
        elif isinstance(module, Router):
            _fill(module.weight, ROUTER_STD, generator)
            module.e_score_correction_bias.zero_()
        elif isinstance(module, Experts):
            for weight in (module.gate_up_proj, module.down_proj):
                _fill(weight, weight.shape[-1] ** -0.5, generator)
    _fill(text.embed_tokens.weight, text.config.initializer_range, generator)
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


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
