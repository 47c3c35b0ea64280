"""Packing loses and doubles nothing, keeps documents apart, and goes on exactly where it stopped."""

from dataclasses import fields

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from polymnia.train.packing import Batch, Example, Packer, PackState, Shape, collate
from train.examples import make_example


def same(one: Batch, other: Batch) -> bool:
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(Batch)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def numbered(index: int, tokens: int) -> Example:
    """A document whose tokens all carry its number."""
    return Example(np.full(tokens, index + 1), np.arange(tokens) % 2 == 1)


@given(st.lists(st.integers(1, 24), min_size=30, max_size=60), st.integers(1, 4))
def test_each_document_is_packed_once_and_whole(lengths: list[int], rows: int) -> None:
    packer = Packer(lambda i: numbered(i, lengths[i % len(lengths)]), Shape(rows, 24), PackState(0), buffer=8)
    seen: list[int] = []
    for _ in range(3):
        batch = packer.next_batch()
        for ids, documents, positions in zip(batch.input_ids, batch.document_ids, batch.position_ids, strict=True):
            filled = documents >= 0
            assert torch.equal(filled, filled.sort(descending=True).values)  # padding stands at the end
            assert not ids[~filled].any()
            for document in range(int(documents.max()) + 1):
                at = (documents == document).nonzero().flatten()
                index = int(ids[at[0]]) - 1
                assert torch.equal(ids[at], torch.full_like(at, index + 1))
                assert torch.equal(positions[at], torch.arange(lengths[index % len(lengths)]))
                seen.append(index)
    waiting = [index for index, _ in packer.state.waiting]
    assert sorted(seen + waiting) == list(range(packer.next_index))


@given(st.integers(0, 10_000))
def test_targets_are_the_trained_tokens_after_their_positions(start: int) -> None:
    examples = [make_example(start + i) for i in range(4)]
    batch = collate([examples[:2], examples[2:]], Shape(2, 64, kinds=2))
    flat, documents = batch.input_ids.flatten(), batch.document_ids.flatten()
    assert torch.equal(flat[batch.predict + 1], batch.targets)
    assert torch.equal(documents[batch.predict + 1], documents[batch.predict])
    assert len(batch.targets) == sum(int(example.loss_mask[1:].sum()) for example in examples)
    assert len(batch.labels) == int(batch.image_grid_thw.prod(1).sum()) // 4
    assert len(batch.pixel_values) == int(batch.image_grid_thw.prod(1).sum())


def test_a_first_token_is_never_a_target() -> None:
    batch = collate([[numbered(0, 1), Example(np.array([3, 4]), np.array([True, True]))]], Shape(1, 4))
    assert batch.predict.tolist() == [1]
    assert batch.targets.tolist() == [4]


def test_a_packer_goes_on_from_its_state() -> None:
    shape = Shape(2, 40, kinds=2)
    whole = Packer(make_example, shape, PackState(0), buffer=12)
    batches = [whole.next_batch() for _ in range(4)]
    first = Packer(make_example, shape, PackState(0), buffer=12)
    for _ in range(2):
        first.next_batch()
    second = Packer(make_example, shape, first.state, buffer=12)
    assert all(same(second.next_batch(), batch) for batch in batches[2:])


def test_what_exceeds_a_row_is_dropped_and_counted() -> None:
    packer = Packer(lambda i: numbered(i, 30 if i % 5 == 0 else 6), Shape(1, 24), PackState(0), buffer=10)
    packer.next_batch()
    assert packer.state.too_long == len(range(0, packer.next_index, 5))
