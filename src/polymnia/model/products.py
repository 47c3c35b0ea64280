"""Matrix products with weights: `linear` is `F.linear`, on the faster of the kernels that PyTorch comes with.

In fp32 on a CPU PyTorch multiplies with MKL, which takes its slow paths on processors that are not Intel's
(torch 2.13, one Zen 5 core: 110 of 256 GFLOP/s); oneDNN, in the same package, takes AVX-512 wherever it is (250
forward, 200 backward) and gives the same sums up to their order. It has no gradient of its own, so it gets one here.
bf16 goes to oneDNN anyway. Does not cover batched products (`attention`).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_FEWEST_ROWS = 16
"""For fewer rows both kernels wait for the weights."""
_HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x: (..., in); weight: (out, in); bias: (out,) -> (..., out). Autocast applies."""
    rows = x.reshape(-1, x.shape[-1])
    if not _suits_onednn(rows, weight):
        return F.linear(x, weight, bias)
    out: Tensor = _product(rows, weight)
    return (out if bias is None else out + bias).view(*x.shape[:-1], len(weight))


def gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Of `linear`'s output (N, out) back to x (N, in) and weight (out, in), all of one dtype; for no graph."""
    if _suits_onednn(x, weight):
        return _product(gradient, weight.t()), _by_weight(gradient, x)
    return gradient @ weight, gradient.t() @ x


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    """x: (rows, in)"""
    fp32 = product_dtype(x) == weight.dtype == torch.float32
    return _HAS_ONEDNN and x.device.type == "cpu" and fp32 and len(x) >= _FEWEST_ROWS


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which products with `x` are computed: autocast's where it is on. Masks must share it."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


# Letters: N rows, I inputs, O outputs. Custom operators, so that the compiler takes each as a whole.


@torch.library.custom_op("polymnia::product", mutates_args=())
def _product(x: Tensor, weight: Tensor) -> Tensor:
    """(N, I), (O, I) -> (N, O)"""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return out


@_product.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(len(x), len(weight))


@torch.library.custom_op("polymnia::product_by_weight", mutates_args=())
def _by_weight(gradient: Tensor, x: Tensor) -> Tensor:
    """(N, O), (N, I) -> the weight's gradient (O, I)"""
    shape = x.new_empty(gradient.shape[1], x.shape[1])  # that is all it takes of the weight
    out, _ = torch.ops.aten.mkldnn_linear_backward_weights(gradient.to_mkldnn(), x.to_mkldnn(), shape, False)
    by_weight: Tensor = out
    return by_weight


@_by_weight.register_fake
def _(gradient: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(gradient.shape[1], x.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    gradient = gradient.contiguous()
    by_x = _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None
    return by_x, _by_weight(gradient, x) if ctx.needs_input_grad[1] else None


_product.register_autograd(_backward, setup_context=_keep)
