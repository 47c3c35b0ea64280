"""Packing must not change the loss, and ignored labels must not count."""

import math

import pytest
import torch

from model.tiny import tiny_model
from polymnia.train.loss import AuxHead, aux_loss, losses
from polymnia.train.packing import Shape, collate
from train.examples import make_example


@torch.no_grad()
def test_packed_rows_give_the_loss_of_separate_documents() -> None:
    model = tiny_model()
    examples = [make_example(index) for index in range(6)]
    shape = Shape(2, 80, kinds=2)
    packed = losses(model, collate([examples[:3], examples[3:]], shape), None)
    total, count = 0.0, 0
    for example in examples:
        alone = collate([[example]], Shape(1, len(example.input_ids), kinds=2))
        if len(alone.targets):
            total += float(losses(model, alone, None).text) * len(alone.targets)
            count += len(alone.targets)
    assert len(packed.correct) == count
    assert float(packed.text) == pytest.approx(total / count, abs=1e-4)


@torch.no_grad()
def test_auxiliary_loss_by_hand() -> None:
    scores = torch.zeros(3, 4)
    labels = torch.tensor([[1], [-1], [2]])
    loss, correct = aux_loss((scores,), labels)
    assert float(loss) == pytest.approx(math.log(4))
    assert len(correct) == 2


@torch.no_grad()
def test_without_labels_the_auxiliary_loss_is_zero() -> None:
    loss, correct = aux_loss(AuxHead(8, (3, 2))(torch.randn(5, 8)), torch.full((5, 2), -1))
    assert float(loss) == 0
    assert len(correct) == 0
