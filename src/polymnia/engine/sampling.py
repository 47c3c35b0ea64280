"""From logits to tokens, for a batch of requests that each have their own temperature, nucleus and seed.

A request draws one number of its own generator a token and looks it up in the cumulative distribution over
the vocabulary in fixed order (inverse transform sampling), so that its tokens depend on its seed and
logits alone, not on its neighbours in the batch. No penalties, no top-k, no grammar.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from polymnia.errors import InputError

_DRAW_BITS = 32
"""Draws are multiples of 2^-32, so that u * total stays below total in float64."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    temperature: float = 1.0
    """0 = greedy."""
    top_p: float = 1.0
    """Nucleus (1904.09751): the fewest most probable tokens that together have this probability."""
    max_tokens: int | None = None
    """None, or more than fits = to the end of the context."""
    seed: int | None = None
    """None = another one each time."""
    stop_ids: Collection[int] = ()
    """Any of these ends the sequence; it is reported as the last token."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise InputError(f"temperature is {self.temperature}; give a number from 0 to 100.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; give a number above 0, at most 1.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}; give at least 1.")
        object.__setattr__(self, "stop_ids", frozenset(self.stop_ids))


class TokenStep(NamedTuple):
    token_id: int
    logprob: float
    """Natural logarithm of the token's probability at temperature 1 and without a nucleus: the model's own."""


class Sampler:
    """One request's random numbers."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self._random = random.Random(params.seed)

    def draw(self) -> float:
        """Uniform in [0, 1). Greedy requests draw too, and ignore it."""
        return self._random.getrandbits(_DRAW_BITS) * 2.0**-_DRAW_BITS


def sample(logits: Tensor, samplers: Sequence[Sampler]) -> list[TokenStep]:
    """One token for each row of `logits` (rows, vocab)."""
    logits = logits.float()
    temperatures = [sampler.params.temperature for sampler in samplers]
    if not any(temperatures):
        tokens = logits.argmax(-1)
    else:
        draws = torch.tensor([sampler.draw() for sampler in samplers], dtype=torch.float64)
        tokens = _drawn(logits, temperatures, [sampler.params.top_p for sampler in samplers], draws)
        if not all(temperatures):
            greedy = torch.tensor([temperature == 0 for temperature in temperatures])
            tokens = torch.where(greedy, logits.argmax(-1), tokens)
    logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    return [TokenStep(token, logprob) for token, logprob in zip(tokens.tolist(), logprobs.tolist(), strict=True)]


def _drawn(logits: Tensor, temperatures: list[float], top_p: list[float], draws: Tensor) -> Tensor:
    if any(temperature not in (0.0, 1.0) for temperature in temperatures):
        # From 0 down, so that a small temperature cannot overflow upwards.
        logits = (logits - logits.amax(-1, keepdim=True)) / torch.tensor(
            [temperature or 1.0 for temperature in temperatures]
        )[:, None]
    probabilities = logits.softmax(-1)
    if narrowed := [row for row, share in enumerate(top_p) if share < 1]:
        # Rows without a nucleus stay out of this, so that they come out the same beside rows with one.
        shares = torch.tensor([top_p[row] for row in narrowed])
        probabilities[narrowed] = nucleus(probabilities[narrowed], shares)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    targets = draws[:, None] * cumulative[:, -1:]
    # The first token whose cumulative mass exceeds the draw: never one of probability zero.
    return torch.searchsorted(cumulative, targets, right=True)[:, 0]


def nucleus(probabilities: Tensor, shares: Tensor) -> Tensor:
    """(rows, vocab), (rows,) -> the same with what lies outside the nucleus at zero; equals of the last stay in."""
    ordered = probabilities.sort(-1, descending=True).values
    before = ordered.cumsum(-1) - ordered
    kept = (before < shares[:, None]).sum(-1, keepdim=True).clamp(min=1)  # a share may round to 0 in fp32
    return probabilities.masked_fill(probabilities < ordered.gather(1, kept - 1), 0.0)
