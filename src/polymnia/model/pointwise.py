"""RMS norm, rotary embedding and SwiGLU's product, with gradients that read memory as few times as they can.

Each has its plain definition, which a compiler fuses by itself, and, for eager mode, an `autograd.Function` with the
same numbers up to rounding: what PyTorch derives from the definitions reads and writes about twice as much, and these
operations wait for memory. Norms and rotations are computed in fp32 and returned in the caller's dtype, as the
published family does. Letters in shapes: N tokens (any leading dimensions), W width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def rms_norm(x: Tensor, eps: float, gain: Tensor | None = None) -> Tensor:
    """x / rms(x) over the last dimension, in fp32, times `gain` (W,), fp32. Returns x's dtype."""
    if _plainly(x):
        return F.rms_norm(x.float(), x.shape[-1:], gain, eps).to(x.dtype)
    out: Tensor = _RMSNorm.apply(x, gain, eps)  # type: ignore[no-untyped-call]
    return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, split-half layout: dimension i is paired with i + head_dim / 2.

    x: (..., seq, heads, head_dim); cos, sin: fp32, broadcastable to (..., seq, 1, head_dim / 2). Returns x's dtype.
    """
    if _plainly(x):
        first, second = x.float().chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
    out: Tensor = _Rotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return out


def gated(x: Tensor) -> Tensor:
    """SwiGLU between its products: (N, 2 W), gate and value side by side -> silu(gate) * value, (N, W)."""
    if _plainly(x):
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value
    out: Tensor = _Gated.apply(x)  # type: ignore[no-untyped-call]
    return out


def _plainly(x: Tensor) -> bool:
    return torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None, eps: float) -> Tensor:
        wide = x.float()
        size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)  # (N, 1)
        inverse = (size.square() / x.shape[-1] + eps).rsqrt()
        ctx.save_for_backward(x, gain, inverse)
        out: Tensor = wide * inverse
        if gain is not None:
            out.mul_(gain)
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, gain, inverse = ctx.saved_tensors
        wide, above = x.float(), above.float()
        products = wide * above
        if gain is None:
            along, by_gain = products.sum(-1, keepdim=True), None
            out = above * inverse
        else:
            flat = products.view(-1, x.shape[-1])
            along = torch.mv(flat, gain).view(inverse.shape)
            by_gain = torch.mv(flat.t(), inverse.view(-1))
            out = (above * gain).mul_(inverse)
        out.addcmul_(wide, along.mul_(inverse**3), value=-1 / x.shape[-1])
        return out.to(x.dtype), by_gain, None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(above, cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    both, signed = torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)
    return (x * both).addcmul_(x.roll(x.shape[-1] // 2, dims=-1), signed).to(x.dtype)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate).mul_(value)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate, value = x.chunk(2, dim=-1)
        out = torch.empty_like(x)
        by_gate, by_value = out.chunk(2, dim=-1)
        torch.ops.aten.silu_backward(above * value, gate, grad_input=by_gate)
        torch.mul(F.silu(gate), above, out=by_value)
        return out
