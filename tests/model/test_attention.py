"""Each way to compute attention against products over all pairs, gradients included."""

import pytest
import torch
from torch import Tensor

from polymnia.model.attention import DOCUMENT_BLOCK, Sight, attend, plan_documents

torch.set_num_threads(1)
SCALE = 0.5
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 0.03}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


def heads(rows: int, tokens: int, count: int, dtype: torch.dtype, seed: int) -> Tensor:
    numbers = torch.randn(rows, tokens, count, 8, generator=torch.Generator().manual_seed(seed))
    return numbers.to(dtype).requires_grad_()


def reference(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    """All pairs, in fp64; visible: (rows or 1, tokens, key tokens)."""
    query, key, value = (part.double().transpose(1, 2) for part in (query, key, value))
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = (query @ key.transpose(-1, -2) * SCALE).masked_fill(~visible[:, None], float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2)


def check(sight: Sight, visible: Tensor, *, rows: int, tokens: int, kv_heads: int, dtype: torch.dtype) -> None:
    inputs = [heads(rows, tokens, count, dtype, seed) for seed, count in enumerate((4, kv_heads, kv_heads))]
    upstream = torch.randn(rows, tokens, 4, 8, generator=torch.Generator().manual_seed(9))
    out = attend(inputs[0], inputs[1], inputs[2], sight, scale=SCALE)
    exact = reference(inputs[0], inputs[1], inputs[2], visible)
    assert out.dtype == dtype
    found = torch.autograd.grad((out.float() * upstream).sum(), inputs)
    wanted = torch.autograd.grad((exact * upstream).sum(), inputs)
    for ours, theirs in zip((out, *found), (exact, *wanted), strict=True):
        error = (ours.double() - theirs.double()).abs().max() / theirs.abs().max().clamp(min=0.1)
        assert error < TOLERANCE[dtype]


@DTYPES
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tokens", [2, 20, 128, 200, 300])
@pytest.mark.parametrize("window", [1, 7, 130, 1000])
def test_the_past_within_a_window(window: int, tokens: int, kv_heads: int, dtype: torch.dtype) -> None:
    at = torch.arange(tokens)
    distance = at[:, None] - at
    visible = ((distance >= 0) & (distance < window))[None]
    check(Sight(window=min(window, tokens)), visible, rows=2, tokens=tokens, kv_heads=kv_heads, dtype=dtype)


def test_a_long_past_in_larger_blocks() -> None:
    at = torch.arange(2500)
    visible = (at[:, None] >= at)[None]
    check(Sight(window=2500), visible, rows=1, tokens=2500, kv_heads=2, dtype=torch.float32)


@DTYPES
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [5, 70, 1000])
def test_packed_rows(window: int, kv_heads: int, dtype: torch.dtype) -> None:
    """Documents shorter and longer than a block, on its edges and across them; a padded row; one document alone."""
    tokens = 4 * DOCUMENT_BLOCK
    lengths = [[1, 63, 64, 100, 28], [10, 200, 46], [256], [130, 2, 60, 64]]
    ids = torch.tensor([[number for number, length in enumerate(row) for _ in range(length)] for row in lengths])
    ids[3, 192:] = -1
    at = torch.arange(tokens)
    distance = at[:, None] - at
    visible = (distance >= 0) & (distance < window) & (ids[:, :, None] == ids[:, None])
    sight = plan_documents(ids, window, dtype)
    assert sight.plan_mask is not None
    assert len(sight.plan_mask) < 0.8 * ids.numel() * tokens
    check(sight, visible, rows=4, tokens=tokens, kv_heads=kv_heads, dtype=dtype)


@DTYPES
def test_a_mask(dtype: torch.dtype) -> None:
    visible = torch.rand(3, 10, 10, generator=torch.Generator().manual_seed(5)) < 0.7
    visible |= torch.eye(10, dtype=torch.bool)
    mask = torch.zeros(3, 1, 10, 10, dtype=dtype).masked_fill(~visible[:, None], float("-inf"))
    check(Sight(mask=mask), visible, rows=3, tokens=10, kv_heads=2, dtype=dtype)


@DTYPES
def test_everything(dtype: torch.dtype) -> None:
    check(Sight(), torch.ones(1, 10, 10, dtype=torch.bool), rows=3, tokens=10, kv_heads=2, dtype=dtype)
