"""`linear` against `F.linear`: values and gradients, whichever kernel takes it."""

import pytest
import torch
from torch.nn import functional as F

from polymnia.model.products import gradients, linear

torch.set_num_threads(1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(3, 20, 24), (40, 24), (2, 24), (24,), (2, 3, 4, 24)])
def test_values_and_gradients(shape: tuple[int, ...], bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(size, generator=generator).requires_grad_() for size in (shape, (36, 24), (36,))]
    inputs = inputs if bias else inputs[:2]
    ours, plain = linear(*inputs), F.linear(*inputs)
    torch.testing.assert_close(ours, plain)
    upstream = torch.randn(plain.shape, generator=generator)
    found, wanted = torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(plain, inputs, upstream)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_rows_that_are_not_side_by_side() -> None:
    x, weight = torch.randn(30, 50).requires_grad_(), torch.randn(60, 20).requires_grad_()
    ours = linear(x[:, 5:25], weight[::2])
    plain = F.linear(x[:, 5:25], weight[::2])
    torch.testing.assert_close(ours, plain)
    found = torch.autograd.grad(ours.sum(), (x, weight))
    torch.testing.assert_close(found, torch.autograd.grad(plain.sum(), (x, weight)), rtol=1e-5, atol=1e-5)


def test_autocast_applies() -> None:
    x, weight = torch.randn(32, 16), torch.randn(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
    assert linear(x.double(), weight.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_without_a_graph(dtype: torch.dtype) -> None:
    x, weight, above = (torch.randn(size).to(dtype) for size in ((32, 16), (8, 16), (32, 8)))
    by_x, by_weight = gradients(above, x, weight)
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(by_x.double(), above.double() @ weight.double(), rtol=0, atol=tolerance)
    torch.testing.assert_close(by_weight.double(), above.double().t() @ x.double(), rtol=0, atol=tolerance)
