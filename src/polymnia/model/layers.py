"""What the decoder and the tower share as modules: RMS norms, and linear layers that can be fused and packed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymnia.model.pointwise import rms_norm
from polymnia.model.products import linear


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
        return linear(x, self.weight, self.bias) if self.packed is None else self.packed(x)

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
        return linear(x, *self._joined()) if self.packed is None else self.packed(x)

    def freeze(self) -> None:
        self.packed = PackedLinear(*self._joined())

    def _joined(self) -> tuple[Tensor, Tensor | None]:
        weights: list[Tensor] = [linear.weight for linear in self.linears]
        biases: list[Tensor] = [linear.bias for linear in self.linears if linear.bias is not None]
        return torch.cat(weights), torch.cat(biases) if biases else None
