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


def inverse_frequencies(dim: int, theta: float) -> Tensor:
    """(dim / 2,): the angle by which pair i turns from one position to the next (RoFormer, 2104.09864)."""
    return 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, split-half layout: dimension i is paired with i + head_dim / 2.

    x: (..., seq, heads, head_dim); cos, sin: broadcastable to (..., seq, 1, head_dim / 2).
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def split(x: Tensor, sizes: int | Sequence[int], dim: int) -> list[Tensor]:
    """`torch.split`, typed: views of `x` along `dim`."""
    return list(torch.split(x, sizes, dim))  # type: ignore[arg-type]


class FusedLinear:
    """Several linear layers of one input as a single matrix product.

    The layers keep their own parameters (checkpoint names, Muon's matrices); training joins them in
    each forward, which costs a copy of the weights, small beside the activations. `freeze` keeps the joined
    copy for decoding, where the weights are the larger side; it must be called again if weights change.
    """

    def __init__(self, *linears: nn.Linear) -> None:
        self.linears = linears
        self.frozen: tuple[Tensor, Tensor | None] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self.frozen or self._joined()
        return F.linear(x, weight, bias)

    def freeze(self) -> None:
        weight, bias = self._joined()
        self.frozen = weight.detach(), None if bias is None else bias.detach()

    def _joined(self) -> tuple[Tensor, Tensor | None]:
        weight = torch.cat(tuple(linear.weight for linear in self.linears))
        biases = [linear.bias for linear in self.linears if linear.bias is not None]
        return weight, torch.cat(biases) if biases else None
