"""The training loss: next token at trained positions, plus auxiliary labels of image tokens.

Hidden states are gathered *before* the head, so that the vocabulary is computed only where it counts.
The auxiliary head (docs/log.md: hard features come four to five times earlier) lives outside the
model and is never saved into a checkpoint folder.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymnia.train.packing import IGNORE, Batch


class AuxHead(nn.Module):
    """One linear layer on image features that names, per kind of label, what is centred in each token."""

    def __init__(self, width: int, classes: tuple[int, ...]) -> None:
        super().__init__()
        self.classes = classes
        self.linear = nn.Linear(width, sum(classes))
        nn.init.normal_(self.linear.weight, std=width**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """(image tokens, width) -> one (image tokens, classes) for each kind."""
        logits: tuple[Tensor, ...] = self.linear(features).split(self.classes, dim=-1)
        return logits


class Losses(NamedTuple):
    """Scalars on the device, but for `correct`."""

    text: Tensor
    """Mean cross-entropy of the trained tokens, nats."""
    aux: Tensor
    """Mean cross-entropy of the labelled image tokens, nats; 0 without labels."""
    correct: Tensor
    """(trained,) bool: the most likely token was the right one."""
    aux_correct: Tensor
    """(labels,) bool: over the image tokens that have one."""


def token_loss(logits_of: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy, and which tokens were right: hidden (trained, width), targets (trained,)."""
    logits = logits_of(hidden).float()
    return F.cross_entropy(logits, targets), logits.detach().argmax(-1) == targets


def losses(
    model: Any, batch: Batch, head: AuxHead | None, with_aux: bool = True, *, token_loss: Any = token_loss
) -> Losses:
    """All losses of a batch. `model`: `encode_images`, `hidden_states` and `logits` of `Muse`."""
    features = None
    if len(batch.image_grid_thw):
        features = model.encode_images(batch.pixel_values, batch.image_grid_thw)
    hidden = model.hidden_states(
        batch.input_ids,
        image_features=features,
        position_ids=batch.position_ids,
        document_ids=batch.document_ids,
    )
    trained = hidden.flatten(0, 1).index_select(0, batch.predict)
    text, correct = token_loss(model.logits, trained, batch.targets)
    aux, aux_correct = text.new_zeros(()), correct[:0]
    if head is not None and features is not None and with_aux:
        aux, aux_correct = aux_loss(head(features), batch.labels)
    return Losses(text, aux, correct, aux_correct)


def aux_loss(logits: tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over kinds of the mean cross-entropy of labelled tokens: labels (image tokens, kinds)."""
    total = logits[0].new_zeros((), dtype=torch.float32)
    right = []
    for kind, scores in enumerate(logits):
        target = labels[:, kind]
        labelled = target != IGNORE
        summed = F.cross_entropy(scores.float(), target, ignore_index=IGNORE, reduction="sum")
        total = total + summed / labelled.sum().clamp(min=1)
        right.append((scores.detach().argmax(-1) == target)[labelled])
    return total, torch.cat(right)
