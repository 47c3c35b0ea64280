"""The loss without logits in memory against `Muse.logits` and `F.cross_entropy`."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.tiny import TINY, tiny_model
from polymnia.train import cross_entropy
from polymnia.train.cross_entropy import Capped, capped_cross_entropy, score_rows

torch.set_num_threads(1)
TEXT = TINY.text_config
HEAD = Capped(TEXT.output_multiplier, TEXT.final_logit_softcapping)


def both(hidden: Tensor, targets: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """(loss, correct, gradient of hidden, gradient of the head) of ours and of the plain way."""
    model = tiny_model()
    weight = model.lm_head.weight
    loss, correct = capped_cross_entropy(hidden, weight, targets, HEAD)
    found = torch.autograd.grad(3 * loss, (hidden, weight))
    logits = model.logits(hidden).float()
    plain = F.cross_entropy(logits, targets)
    wanted = torch.autograd.grad(3 * plain, (hidden, weight))
    return (loss, correct, *found), (plain, logits.argmax(-1) == targets, *wanted)


def states(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(count, TEXT.hidden_size, generator=generator).requires_grad_()
    return hidden, torch.randint(TEXT.vocab_size, (count,), generator=generator)


@pytest.mark.parametrize(("most_rows", "in_cache"), [(1024, 2**18), (20, 7 * 97), (20, 1), (1, 97)])
def test_values_and_gradients(most_rows: int, in_cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "_MOST_ROWS", most_rows)
    monkeypatch.setattr(cross_entropy, "_IN_CACHE", in_cache)
    ours, plain = both(*states(50))
    assert torch.equal(ours[1], plain[1])
    assert 0 < ours[1].sum() < 50
    for found, wanted in zip((ours[0], *ours[2:]), (plain[0], *plain[2:]), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_scores_at_the_cap() -> None:
    """Where the cap leaves no slope, and a target that is certain or hopeless."""
    hidden, targets = states(8)
    scaled = (hidden.detach() * 1000).requires_grad_()
    ours, plain = both(scaled, targets)
    torch.testing.assert_close(ours[0], plain[0])
    torch.testing.assert_close(ours[2], plain[2], rtol=1e-4, atol=1e-8)


def test_under_autocast() -> None:
    hidden, targets = states(50)
    with torch.autocast("cpu", torch.bfloat16):
        ours, plain = both(hidden, targets)
    assert ours[2].dtype == ours[3].dtype == torch.float32
    torch.testing.assert_close(ours[0], plain[0], rtol=0, atol=0.02)
    for found, wanted in zip(ours[2:], plain[2:], strict=True):
        assert (found - wanted).abs().max() < 0.03 * wanted.abs().max()


@torch.no_grad()
def test_without_gradients() -> None:
    hidden, targets = states(5)
    loss, _ = capped_cross_entropy(hidden, tiny_model().lm_head.weight, targets, HEAD)
    assert not loss.requires_grad


def test_one_row_by_hand() -> None:
    scores = torch.tensor([[0.0, math.log(3)]])
    rows = score_rows(scores, torch.tensor([1]), Capped(1.0, 1000.0), torch.tensor(2.0))
    assert float(rows.losses) == pytest.approx(math.log(4 / 3), abs=1e-3)
    assert rows.correct.tolist() == [True]
    assert rows.gradient.tolist()[0] == pytest.approx([2 * 0.25, -2 * 0.25], abs=1e-3)
