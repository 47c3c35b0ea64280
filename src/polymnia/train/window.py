"""Sums of what a few steps reported, read from the device once per report."""

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polymnia.train.config import Metrics
from polymnia.train.loss import Losses
from polymnia.train.packing import Batch


class _Step(NamedTuple):
    result: Losses
    families: tuple[str, ...]
    family: Tensor


class Window:
    """Add each step's result; `metrics` synchronises and averages."""

    def __init__(self, waited: float = 0.0) -> None:
        """`waited`: seconds that the stream had waited for data when the window opened."""
        self._began = time.monotonic()
        self._waited = waited
        self._steps: list[_Step] = []
        self._tokens = self._positions = 0

    def add(self, batch: Batch, tokens: int, result: Losses) -> None:
        """`batch` on the CPU; of it only the families are kept."""
        detached = Losses(*(part.detach() for part in result))
        self._steps.append(_Step(detached, batch.families, batch.family))
        self._tokens += tokens
        self._positions += batch.input_ids.numel()

    def metrics(self, *, waited: float, **fields: Any) -> Metrics:
        """Averages over the window; `waited` as above, at its end; `fields`: the other fields of `Metrics`."""
        spent = max(1e-9, time.monotonic() - self._began)
        results = [step.result for step in self._steps]
        return Metrics(
            loss=float(torch.stack([r.text for r in results]).mean()),
            accuracy=_share(torch.cat([r.correct for r in results])),
            aux_loss=float(torch.stack([r.aux for r in results]).mean()),
            aux_accuracy=_share(torch.cat([r.aux_correct for r in results])),
            families=self._by_family(),
            tokens_per_second=self._tokens / spent,
            fill=self._tokens / self._positions,
            waiting=(waited - self._waited) / spent,
            **fields,
        )

    def _by_family(self) -> dict[str, float]:
        """Share of trained tokens ranked first, by family; the nameless family is left out."""
        right: dict[str, float] = {}
        seen: dict[str, float] = {}
        for step in self._steps:
            number = len(step.families)
            correct = torch.bincount(step.family, step.result.correct.cpu().double(), minlength=number)
            total = torch.bincount(step.family, minlength=number)
            for name, c, t in zip(step.families, correct.tolist(), total.tolist(), strict=True):
                right[name] = right.get(name, 0.0) + c
                seen[name] = seen.get(name, 0.0) + t
        return {name: right[name] / total for name, total in seen.items() if name and total}


def _share(flags: Tensor) -> float:
    return float(flags.float().mean()) if len(flags) else 0.0
