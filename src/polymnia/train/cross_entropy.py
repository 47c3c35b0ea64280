"""Cross-entropy over a vocabulary of softly capped logits, without the logits in memory.

The gradient of the scores is made together with the loss, in place of the scores themselves and for a stretch of
rows at a time, so that nothing as large as (tokens, vocabulary) is kept in fp32 and the products are three, not four
as with recomputation. Numbers are those of `Muse.logits` and `F.cross_entropy`: scores in the product's dtype, all
else in fp32. Does not cover label smoothing, class weights or ignored targets (`train.loss` gathers first).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polymnia.model.products import gradients, linear, product_dtype

_AT_ONCE = 2**24
"""Scores whose gradients are held together, but at least and at most so many rows:"""
_FEWEST_ROWS, _MOST_ROWS = 256, 1024
_IN_CACHE = 2**18
"""Scores that are worked on in fp32 together."""


class Capped(NamedTuple):
    """The head's constants: logits = cap * tanh(scores * multiplier / cap)."""

    multiplier: float
    cap: float


class Rows(NamedTuple):
    losses: Tensor
    """(rows,) nats"""
    correct: Tensor
    """(rows,) bool: the target ranks first; a tie counts"""
    gradient: Tensor
    """(rows, vocabulary) of the losses' sum times a factor, with respect to the scores"""


Pointwise = Callable[[Tensor, Tensor, Capped, Tensor], Rows]


def score_rows(scores: Tensor, targets: Tensor, head: Capped, factor: Tensor) -> Rows:
    """(rows, vocabulary), (rows,), the head's constants, a factor of the gradient (scalar).

    With r = sigmoid(-2 scores * multiplier / cap), a logit is cap - 2 cap r and its slope 4 multiplier r (1 - r),
    which costs half of tanh.
    """
    at = targets[:, None]
    r = (scores.float() * (-2 * head.multiplier / head.cap)).sigmoid_()
    target = r.gather(1, at)  # (rows, 1)
    first = r.amin(1, keepdim=True)
    shares = (first - r).mul_(2 * head.cap).exp_()
    total = shares.sum(1, keepdim=True)
    losses = total.log() + 2 * head.cap * (target - first)
    factor = factor * (4 * head.multiplier)
    gradient = shares.mul_(factor / total).scatter_add_(1, at, -factor.expand_as(at))
    return Rows(losses[:, 0], (target == first)[:, 0], gradient.mul_(r.addcmul_(r, r, value=-1)))


def capped_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, head: Capped, pointwise: Pointwise = score_rows
) -> tuple[Tensor, Tensor]:
    """(N, width), (vocabulary, width), (N,) -> mean loss, nats, and which targets rank first, (N,).

    `pointwise`: `score_rows`, or what a compiler made of it.
    """
    apply: Any = _CappedCrossEntropy.apply
    loss, correct = apply(hidden, weight, targets, head, pointwise)
    return loss, correct


class _CappedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, head: Capped, pointwise: Pointwise
    ) -> tuple[Tensor, Tensor]:
        dtype, trains = product_dtype(hidden), any(ctx.needs_input_grad)
        states, matrix = hidden.to(dtype), weight.to(dtype)
        losses, correct = (
            hidden.new_empty(len(targets), dtype=torch.float32),
            torch.empty_like(targets, dtype=torch.bool),
        )
        by_hidden, by_weight = torch.empty_like(hidden), None
        factor = losses.new_tensor(1 / max(1, len(targets)))
        at_once = min(max(_AT_ONCE // len(weight), _FEWEST_ROWS), _MOST_ROWS)
        in_cache = max(1, _IN_CACHE // len(weight))
        for start in range(0, len(targets), at_once):
            part = slice(start, start + at_once)
            scores = linear(states[part], matrix)  # (rows, vocabulary)
            for first in range(0, len(scores), in_cache):
                some = scores[first : first + in_cache]
                rows = slice(start + first, start + first + len(some))
                losses[rows], correct[rows], some[:] = pointwise(some, targets[rows], head, factor)
            if trains:
                by_hidden[part], more = gradients(scores, states[part], matrix)
                by_weight = more.to(weight.dtype) if by_weight is None else by_weight.add_(more)
        if trains:
            ctx.save_for_backward(by_hidden, by_weight)
        ctx.mark_non_differentiable(correct)
        return losses.mean(), correct

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight = ctx.saved_tensors
        if gradient.device.type != "cpu" or gradient != 1:
            by_hidden, by_weight = by_hidden * gradient, by_weight * gradient
        return by_hidden, by_weight, None, None, None
