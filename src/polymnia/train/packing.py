"""Examples packed into rows of fixed length: batches of one shape, without attention across documents.

Best fit from a buffer: a row opens with the oldest waiting example, so that none starves, and takes
the longest one that still fits until none does. Packing is a pure function of the stream, and its
state is a few integers (what waits is made again from its index), so a run resumes exactly.
Does *not* cover making examples (`tasks`, the recipe) or moving batches between processes (`train.stream`).
"""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORE = -1
"""An auxiliary label that is not trained; also the document id of padding."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One document: tokens, which of them are trained, and its pictures in order of appearance."""

    input_ids: NDArray[np.integer]
    """(tokens,)"""
    loss_mask: NDArray[np.bool_]
    """(tokens,): True = this token is predicted from those before it. The first token's is never used."""
    patches: Sequence[NDArray[np.floating]] = ()
    """One (patches, 1176) array a picture, as `ImageProcessor.process` gives it."""
    grids: Sequence[tuple[int, int, int]] = ()
    """(frames, patch rows, patch columns) of each picture."""
    labels: NDArray[np.integer] | None = None
    """(image tokens,) or (image tokens, kinds) over all pictures: the class of what is centred there, -1 = none."""
    family: str = ""
    """Under which name its token accuracy is reported."""

    def __post_init__(self) -> None:
        if len(self.input_ids) != len(self.loss_mask) or len(self.patches) != len(self.grids):
            raise ValueError(
                f"{len(self.input_ids)} tokens with {len(self.loss_mask)} loss flags, "
                f"{len(self.patches)} pictures with {len(self.grids)} grids: each pair must agree"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`rows` x `length` tokens and what belongs to them; tensors only but for the family names."""

    input_ids: Tensor
    """(rows, length) int64"""
    document_ids: Tensor
    """(rows, length) int64, counted from 0 in each row; padding is -1"""
    position_ids: Tensor
    """(rows, length) int64, from 0 in each document"""
    predict: Tensor
    """(trained,) int64: flat positions whose hidden state predicts a trained token"""
    targets: Tensor
    """(trained,) int64: those tokens"""
    family: Tensor
    """(trained,) int64: index into `families`"""
    pixel_values: Tensor
    """(patches, 1176) bf16, pictures in order of appearance over the rows"""
    image_grid_thw: Tensor
    """(pictures, 3) int64"""
    labels: Tensor
    """(image tokens, kinds) int64, -1 = ignored"""
    families: tuple[str, ...]

    def to(self, device: torch.device) -> "Batch":
        """Copied to `device` (asynchronously from pinned memory on CUDA)."""
        if device.type == "cpu":
            return self
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "families"}
        moved: dict[str, Any] = {n: t.pin_memory().to(device, non_blocking=True) for n, t in tensors.items()}
        return replace(self, **moved)

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.document_ids >= 0).sum())


class Shape(NamedTuple):
    """The size of a batch and what fills it."""

    rows: int
    length: int
    pad_id: int = 0
    merge: int = 4
    """Patches per image token."""
    kinds: int = 1
    """Columns of auxiliary labels."""


@dataclass(slots=True)
class PackState:
    """Where a stream stands: enough to go on exactly there."""

    next_index: int
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """(stream index, number within it) of the examples made but not yet packed, oldest first."""
    too_long: int = 0
    """Examples dropped so far because they exceed a row."""


Maker = Callable[[int], Example | Sequence[Example]]
"""The stream: index to example(s), a pure function."""


class Packer:
    """Turns indices `start, start + stride, ...` of a stream into batches, one after another."""

    def __init__(self, make: Maker, shape: Shape, state: PackState, *, stride: int = 1, buffer: int = 256) -> None:
        self.make, self.shape, self.stride, self.buffer = make, shape, stride, buffer
        self.next_index, self.too_long = state.next_index, state.too_long
        self._waiting: dict[tuple[int, int], Example] = {}  # insertion order = age
        self._by_length: list[tuple[int, int, int]] = []  # (tokens, -index, -number), so that ties take the oldest
        made: dict[int, list[Example]] = {}
        for index, number in state.waiting:
            if index not in made:
                made[index] = self._make(index)
            self._add((index, number), made[index][number])

    @property
    def state(self) -> PackState:
        return PackState(self.next_index, list(self._waiting), self.too_long)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next_batch()

    def next_batch(self) -> Batch:
        return collate([self._row() for _ in range(self.shape.rows)], self.shape)

    def _row(self) -> list[Example]:
        while len(self._waiting) < self.buffer:
            for number, example in enumerate(self._make(self.next_index)):
                if len(example.input_ids) > self.shape.length:
                    self.too_long += 1
                else:
                    self._add((self.next_index, number), example)
            self.next_index += self.stride
        row = [self._take(next(iter(self._waiting)))]
        left = self.shape.length - len(row[0].input_ids)
        while (place := bisect_right(self._by_length, (left, 1, 1)) - 1) >= 0:
            tokens, index, number = self._by_length[place]
            row.append(self._take((-index, -number)))
            left -= tokens
        return row

    def _make(self, index: int) -> list[Example]:
        made = self.make(index)
        return [made] if isinstance(made, Example) else list(made)

    def _add(self, key: tuple[int, int], example: Example) -> None:
        self._waiting[key] = example
        insort(self._by_length, (len(example.input_ids), -key[0], -key[1]))

    def _take(self, key: tuple[int, int]) -> Example:
        example = self._waiting.pop(key)
        entry = (len(example.input_ids), -key[0], -key[1])
        del self._by_length[bisect_right(self._by_length, entry) - 1]
        return example


def collate(rows: Sequence[Sequence[Example]], shape: Shape) -> Batch:
    """Rows of examples, each at most `shape.length` tokens together, as one batch."""
    size = (len(rows), shape.length)
    input_ids = np.full(size, shape.pad_id, np.int64)
    document_ids = np.full(size, IGNORE, np.int64)
    position_ids = np.zeros(size, np.int64)
    predict, targets, family = [], [], []
    names: dict[str, int] = {}
    for number, row in enumerate(rows):
        start = 0
        for document, example in enumerate(row):
            end = start + len(example.input_ids)
            input_ids[number, start:end] = example.input_ids
            document_ids[number, start:end] = document
            position_ids[number, start:end] = np.arange(end - start)
            trained = np.flatnonzero(example.loss_mask[1:]) + 1  # the first token has nothing before it
            predict.append(number * shape.length + start + trained - 1)
            targets.append(example.input_ids[trained])
            family.append(np.full(len(trained), names.setdefault(example.family, len(names))))
            start = end
    pixel_values, image_grid_thw, labels = _pictures([example for row in rows for example in row], shape)
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        document_ids=torch.from_numpy(document_ids),
        position_ids=torch.from_numpy(position_ids),
        predict=_joined(predict),
        targets=_joined(targets),
        family=_joined(family),
        pixel_values=pixel_values,
        image_grid_thw=image_grid_thw,
        labels=labels,
        families=tuple(names),
    )


def _joined(parts: Sequence[NDArray[np.integer]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _pictures(documents: Sequence[Example], shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (patches, 1176), grids (pictures, 3) and labels (image tokens, kinds) of all documents."""
    patches = [torch.from_numpy(np.ascontiguousarray(one)) for example in documents for one in example.patches]
    grids = [grid for example in documents for grid in example.grids]
    labels = []
    for example in documents:
        tokens = sum(t * h * w for t, h, w in example.grids) // shape.merge
        if example.labels is None:
            labels.append(np.full((tokens, shape.kinds), IGNORE))
        else:
            labels.append(np.asarray(example.labels).reshape(tokens, shape.kinds))
    pixels = torch.empty(sum(len(one) for one in patches), patches[0].shape[1] if patches else 0, dtype=torch.bfloat16)
    start = 0
    for one in patches:
        pixels[start : start + len(one)] = one
        start += len(one)
    return (
        pixels,
        torch.tensor(grids, dtype=torch.int64).reshape(-1, 3),
        torch.from_numpy(np.concatenate(labels).astype(np.int64)),
    )
