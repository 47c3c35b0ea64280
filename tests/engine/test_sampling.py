"""Sampling against hand-computed distributions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polymnia.engine.sampling import Sampler, SamplingParams, nucleus, sample

torch.set_num_threads(1)
LOGITS = torch.tensor([0.5, 0.3, 0.2]).log()


def frequencies(params: SamplingParams, count: int = 4000) -> list[float]:
    sampler = Sampler(params)
    steps = [sample(LOGITS[None], [sampler])[0] for _ in range(count)]
    return [sum(step.token_id == token for step in steps) / count for token in range(3)]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (SamplingParams(seed=1), (0.5, 0.3, 0.2)),
        (SamplingParams(seed=1, temperature=0.5), (25 / 38, 9 / 38, 4 / 38)),
        (SamplingParams(seed=1, top_p=0.7), (0.625, 0.375, 0)),
        (SamplingParams(seed=1, top_p=0.5), (1, 0, 0)),
        (SamplingParams(seed=1, temperature=0), (1, 0, 0)),
    ],
)
def test_frequencies(params: SamplingParams, expected: tuple[float, ...]) -> None:
    assert frequencies(params) == pytest.approx(expected, abs=0.03)


def test_the_logprob_is_the_model_s_own_whatever_the_temperature() -> None:
    for params in (SamplingParams(temperature=0), SamplingParams(temperature=3, top_p=0.2, seed=0)):
        assert sample(LOGITS[None], [Sampler(params)])[0].logprob == pytest.approx(math.log(0.5))


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 50)
    kinds = [SamplingParams(seed=1), SamplingParams(seed=2, top_p=0.5), SamplingParams(temperature=0)]
    alone = [sample(logits[row : row + 1], [Sampler(kind)])[0] for row, kind in enumerate(kinds)]
    assert sample(logits, [Sampler(kind) for kind in kinds]) == alone


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12), st.floats(0.01, 1))
def test_the_nucleus_is_the_smallest_that_suffices(weights: list[float], share: float) -> None:
    probabilities = torch.tensor(weights) / sum(weights)
    kept = nucleus(probabilities[None], torch.tensor([share]))[0]
    assert kept.sum() >= share - 1e-5
    smallest = float(kept[kept > 0].min())
    assert (probabilities[kept == 0] < smallest).all()
    assert float(probabilities[probabilities > smallest].sum()) < share + 1e-5


@given(st.integers(0, 2**32 - 1))
def test_tokens_of_no_probability_are_never_drawn(bits: int) -> None:
    class Fixed(Sampler):
        def draw(self) -> float:
            return bits * 2.0**-32

    logits = torch.tensor([[-1e9, 0.1, -1e9, 2.0, -1e9]])
    assert sample(logits, [Fixed(SamplingParams())])[0].token_id in (1, 3)


@pytest.mark.parametrize("params", [SamplingParams(temperature=1e-39, seed=1), SamplingParams(top_p=1e-50, seed=1)])
def test_settings_too_small_for_fp32_mean_the_likeliest_token(params: SamplingParams) -> None:
    """Either once ended the engine for all: NaN probabilities gave a token beyond the vocabulary."""
    logits = torch.tensor([[0.0, 3.0, 1.0, -2.0]])
    for _ in range(20):
        assert sample(logits, [Sampler(params)])[0].token_id == 1
