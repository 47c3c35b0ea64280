"""Muon makes orthogonal steps, the schedule has the stated corners, each parameter has its optimizer."""

import math

import pytest
import torch
from torch import nn

from model.tiny import TINY_SPARK, tiny_model
from polymnia.train.optim import Muon, OptimConfig, lr_scale, orthogonalise, split_parameters


@pytest.mark.parametrize("shape", [(3, 24, 48), (2, 48, 24), (1, 32, 64)])
def test_orthogonalise_pulls_all_singular_values_near_one(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator) * 50
    values = torch.linalg.svdvals(orthogonalise(matrices).float())
    assert values.min() > 0.5
    assert values.max() < 1.35


def test_a_batch_is_orthogonalised_as_its_matrices_are() -> None:
    matrices = torch.randn(4, 16, 32, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([orthogonalise(one[None]) for one in matrices])
    assert torch.allclose(orthogonalise(matrices).float(), alone.float(), atol=0.02)


def test_the_step_of_a_tall_matrix_is_scaled() -> None:
    parameter = nn.Parameter(torch.zeros(64, 16))
    parameter.grad = torch.randn(64, 16, generator=torch.Generator().manual_seed(2))
    Muon([parameter], lr=0.1).step()
    size = torch.linalg.svdvals(parameter.detach()).median().item()
    assert size == pytest.approx(0.1 * math.sqrt(64 / 16), rel=0.35)


def test_a_stack_of_experts_steps_as_its_matrices_do() -> None:
    stack = nn.Parameter(torch.zeros(3, 8, 16))
    stack.grad = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(3))
    alone = [nn.Parameter(torch.zeros(8, 16)) for _ in range(3)]
    for one, gradient in zip(alone, stack.grad, strict=True):
        one.grad = gradient.clone()
    Muon([stack], lr=0.1).step()
    Muon(alone, lr=0.1).step()
    assert torch.allclose(stack, torch.stack(list(alone)), atol=0.002)


def test_experts_go_to_muon_and_routers_to_adamw() -> None:
    model = tiny_model(TINY_SPARK)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    muon = [names[id(parameter)] for parameter in split_parameters(model).muon]
    adamw = [names[id(parameter)] for parameter in split_parameters(model).adamw]
    assert sum("experts." in name and "proj" in name for name in muon) == 6
    assert sum(name.endswith("mlp.gate.weight") for name in adamw) == 3
    assert sum(name.endswith("residual_gate.gate") for name in adamw) == 8
    assert not any("audio_tower" in name for name in muon + adamw)  # its weights are kept as they are


def test_the_rate_rises_stays_and_falls() -> None:
    config = OptimConfig(warmup_steps=10, decay_fraction=0.4, final_scale=0.02)
    assert lr_scale(config, 4, 0.0) == pytest.approx(0.5)
    assert lr_scale(config, 100, 0.6) == pytest.approx(1.0)
    assert lr_scale(config, 100, 0.8) == pytest.approx(0.51)
    assert lr_scale(config, 100, 1.0) == pytest.approx(0.02)


def test_tables_heads_gains_and_biases_go_to_adamw() -> None:
    model = tiny_model()
    split = split_parameters(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    muon = {names[id(parameter)] for parameter in split.muon}
    adamw = {names[id(parameter)] for parameter in split.adamw}
    assert muon | adamw == set(names.values())
    assert not muon & adamw
    for part in ("q_proj.weight", "down_proj.weight", "mlp.fc1.weight", "vision_projection.weight"):
        assert any(name.endswith(part) for name in muon)
        assert not any(name.endswith(part) for name in adamw)
    for part in ("embed_tokens", "lm_head", "patch_embedding", "position_embedding_table", "bias", "norm"):
        assert not any(part in name for name in muon)
