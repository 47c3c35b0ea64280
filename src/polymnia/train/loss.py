"""The training loss: next token at trained positions, plus auxiliary labels of image tokens.

Hidden states are gathered *before* the head, so that the vocabulary is computed only where it counts.
The auxiliary head (docs/log.md: hard features come four to five times earlier) lives outside the
model and is never saved into a checkpoint folder.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymnia.model.muse import Muse
from polymnia.train.cross_entropy import Capped, Pointwise, capped_cross_entropy, score_rows
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


def losses(
    model: Muse, batch: Batch, head: AuxHead | None, with_aux: bool = True, *, pointwise: Pointwise = score_rows
) -> Losses:
    """All losses of a batch. `pointwise`: see `capped_cross_entropy`."""
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
    constants = Capped(model.config.text_config.output_multiplier, model.config.text_config.final_logit_softcapping)
    text, correct = capped_cross_entropy(trained, model.lm_head.weight, batch.targets, constants, pointwise)
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
