"""What eager training computes by hand against PyTorch's own derivatives of the plain definitions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polymnia.model import pointwise
from polymnia.model.pointwise import gated, rms_norm, rotate

torch.set_num_threads(1)
DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)], ids=["fp32", "bf16"]
)


def both_ways(
    function: Callable[..., Tensor], inputs: list[Tensor], monkeypatch: pytest.MonkeyPatch, tolerance: float
) -> None:
    results = []
    for plainly in (False, True):
        if plainly:
            monkeypatch.setattr(pointwise, "_plainly", lambda x: True)
        out = function(*inputs)
        upstream = torch.linspace(-1, 2, out.numel()).view(out.shape).to(out.dtype)
        results.append((out, *torch.autograd.grad(out, inputs, upstream)))
    assert results[0][0].grad_fn is not results[1][0].grad_fn
    for ours, plain in zip(*results, strict=True):
        assert ours.dtype == plain.dtype
        error = (ours - plain).abs().max() / plain.abs().max()
        assert error <= tolerance


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()


@DTYPES
def test_rms_norm(dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x, gain = random(2, 5, 3, 16, dtype=dtype), random(16, dtype=torch.float32, seed=1)
    both_ways(lambda x, gain: rms_norm(x, 1e-5, gain), [x, gain], monkeypatch, tolerance)


@DTYPES
def test_rms_norm_of_a_view_without_gain(dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    both_ways(lambda x: rms_norm(x[..., 4:20], 0.5), [random(2, 5, 30, dtype=dtype)], monkeypatch, tolerance)


@DTYPES
def test_rotate(dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    angles = torch.linspace(0, 9, 7 * 4).view(1, 7, 1, 4)
    x = random(2, 7, 3, 8, dtype=dtype)
    both_ways(lambda x: rotate(x, angles.cos(), angles.sin()), [x], monkeypatch, tolerance)


@DTYPES
def test_gated(dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    both_ways(gated, [random(2, 5, 24, dtype=dtype)], monkeypatch, tolerance)


def test_a_quarter_turn_by_hand() -> None:
    """Dimension i is paired with i + 2."""
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]).requires_grad_()
    cos, sin = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert rotate(x, cos, sin).tolist() == [[[-3.0, 2.0, 1.0, 4.0]]]
