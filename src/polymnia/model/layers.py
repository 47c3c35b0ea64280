"""What the decoder and the tower share: RMS norm, rotary embedding, projections fused at run time.

Norms and rotations are computed in fp32 and returned in the caller's dtype (as the published family
does); matrix products stay in the weights' dtype, or autocast's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rms_norm(x: Tensor, eps: float, gain: Tensor | None = None) -> Tensor:
    """x / rms(x) over the last dimension, in fp32, times `gain` (width,). Returns x's dtype."""
    return F.rms_norm(x.float(), x.shape[-1:], gain, eps).to(x.dtype)


_PLAIN_PRODUCTS = 512 * 512
"""Largest score matrix (tokens x key tokens) for `_attend_plainly`."""


class RMSNorm(nn.Module):
    """The final norm: its gain is stored as it is, around one."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.eps, self.weight.float())


class CenteredRMSNorm(nn.Module):
    """The blocks' norms: the gain is 1 + weight, so stored around zero."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.eps, self.weight.float() + 1.0)


class InputScaledRMSNorm(nn.Module):
    """Spark's norm after experts and blocks: the gain, 1 + weight, comes before the division by the size.

    The scaled input is rounded to the caller's dtype in between, as the published family does.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm((x.float() * (self.weight.float() + 1.0)).to(x.dtype), self.eps)


class PlainRMSNorm(nn.Module):
    """Without a gain."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.eps)


def inverse_frequencies(dim: int, theta: float) -> Tensor:
    """(dim / 2,): the angle by which pair i turns from one position to the next (RoFormer, 2104.09864)."""
    return 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, split-half layout: dimension i is paired with i + head_dim / 2.

    x: (..., seq, heads, head_dim); cos, sin: broadcastable to (..., seq, 1, head_dim / 2).
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, causal: bool = False, scale: float
) -> Tensor:
    """Scaled dot-product attention, (batch, tokens, heads, head_dim) in and out.

    key and value may have fewer heads (each serves a run of query heads) and more tokens. `mask` is added to
    the scores, (batch or 1, 1, tokens, key tokens); `causal` needs equally many tokens and no mask.
    """
    rows, new, heads, dim = query.shape
    total, kv_heads = key.shape[1], key.shape[2]
    key, value = key.transpose(1, 2), value.transpose(1, 2)  # (batch, kv_heads, key tokens, head_dim)
    if new == 1 and not causal:
        # One query a head: the heads that share a key form the query axis, and nothing is repeated.
        grouped = query.reshape(rows, kv_heads, heads // kv_heads, dim)
        return F.scaled_dot_product_attention(grouped, key, value, mask, scale=scale).view(rows, 1, heads, dim)
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and new * total <= _PLAIN_PRODUCTS:
        return _attend_plainly(query, key, value, causal_mask(query) if causal else mask, scale)
    mixed = F.scaled_dot_product_attention(
        query.transpose(1, 2), key, value, mask, is_causal=causal, scale=scale, enable_gqa=kv_heads != heads
    )
    return mixed.transpose(1, 2)


def _attend_plainly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The same as products and a softmax.

    On a CPU in bf16 this is two to four times as fast, backward included, as PyTorch's flash kernel (torch 2.13,
    AVX512-BF16: 16 rows of 256 tokens, 4 heads of 48, 15 against 36 ms), until the scores outgrow the cache.
    """
    rows, new, heads, dim = query.shape
    kv_heads, total = key.shape[1], key.shape[2]
    grouped = (query.transpose(1, 2) * scale).reshape(rows, kv_heads, -1, dim)  # heads of one key side by side
    scores = grouped @ key.transpose(-1, -2)  # (batch, kv_heads, heads / kv_heads * tokens, key tokens)
    if mask is not None:
        scores.view(rows, kv_heads, -1, new, total).add_(mask[:, None])
    return (scores.softmax(-1) @ value).view(rows, heads, new, dim).transpose(1, 2)


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which products with `x` are computed: autocast's where it is on. Masks must share it."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def causal_mask(query: Tensor) -> Tensor:
    new = query.shape[1]
    hidden = torch.full((new, new), float("-inf"), dtype=query.dtype, device=query.device)
    return hidden.triu(1)[None, None]


def split(x: Tensor, sizes: int | Sequence[int], dim: int) -> list[Tensor]:
    """`torch.split`, typed: views of `x` along `dim`."""
    return list(torch.split(x, sizes, dim))  # type: ignore[arg-type]


class PackedLinear:
    """A product with fixed weights, laid out once for the kernel; for inference alone.

    On a CPU oneDNN with packed weights is about twice as fast as what `F.linear` takes (torch 2.13 with MKL on an
    AMD EPYC, fp32, 32 rows, a decoder layer 192 wide: 0.18 against 0.34 ms), and a row's result is the same to the
    bit whatever the number of rows.
    """

    _ROWS = 32
    """Rows that the layout is tuned for."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.packed: Tensor | None = None
        if self.weight.device.type == "cpu" and hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, self._ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed is None or x.dtype != self.weight.dtype:
            return F.linear(x, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out


class Linear(nn.Linear):
    """`freeze` packs the weights as they are then; it must be called again if they change."""

    packed: PackedLinear | None = None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) if self.packed is None else self.packed(x)

    def freeze(self) -> None:
        self.packed = PackedLinear(self.weight, self.bias)


class FusedLinear:
    """Several linear layers of one input as a single matrix product.

    The layers keep their own parameters (checkpoint names, Muon's matrices); training joins them in
    each forward, which costs a copy of the weights, small beside the activations. `freeze` keeps them joined
    and packed, as `Linear.freeze` does.
    """

    def __init__(self, *linears: nn.Linear) -> None:
        self.linears = linears
        self.packed: PackedLinear | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, *self._joined()) if self.packed is None else self.packed(x)

    def freeze(self) -> None:
        self.packed = PackedLinear(*self._joined())

    def _joined(self) -> tuple[Tensor, Tensor | None]:
        weights: list[Tensor] = [linear.weight for linear in self.linears]
        biases: list[Tensor] = [linear.bias for linear in self.linears if linear.bias is not None]
        return torch.cat(weights), torch.cat(biases) if biases else None
