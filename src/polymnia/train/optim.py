"""Optimizers: Muon for hidden matrices, AdamW for everything else, and the learning-rate schedule.

Muon (Keller Jordan, 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum of a
matrix by the nearest orthogonal matrix, found with five Newton-Schulz steps. Matrices of one shape
go through one batched product; a stack of experts is as many matrices. Does *not* cover sharded
parameters: each process steps whole matrices.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's quintic: maximal slope at zero, singular values end in about [0.7, 1.2]."""

ADAMW_NAMES = ("embed_tokens", "lm_head", "patch_embed", "position_embedding", "class_embed", "mlp.gate.")
"""Substrings of the names of matrices whose rows or columns are looked up or read out (routers too), not hidden."""


@dataclass(frozen=True)
class OptimConfig:
    muon_lr: float = 0.02
    """Peak step of a matrix, in units of its spectral norm."""
    muon_momentum: float = 0.95
    muon_weight_decay: float = 0.0
    adamw_lr: float = 1e-3
    adamw_betas: tuple[float, float] = (0.9, 0.95)
    adamw_weight_decay: float = 0.0
    clip: float = 1.0
    """Largest global norm of the gradient."""
    warmup_steps: int = 50
    decay_fraction: float = 0.4
    """Last part of the run, in which the rate falls linearly."""
    final_scale: float = 0.02
    """The rate at the end, as a share of the peak."""


def lr_scale(config: OptimConfig, step: int, progress: float) -> float:
    """Multiplier of the peak rate at `step` (0-based) when `progress` (0 to 1) of the run is done."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    left = max(0.0, 1.0 - progress) / max(config.decay_fraction, 1e-9)
    return warm * (config.final_scale + (1.0 - config.final_scale) * min(1.0, left))


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz on a stack (count, rows, columns): all singular values pulled to about 1.

    Runs in bf16 (four to five times fp32's rate on CPUs with AVX512-BF16 and on GPUs; measured here).
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT.contiguous()
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True).bfloat16() + 1e-7)
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        # Sums in place beside plain products: torch's bf16 baddbmm is several times slower on a CPU.
        poly = torch.bmm(gram, gram).mul_(c).add_(gram, alpha=b)
        x = torch.bmm(poly, x).add_(x, alpha=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; the step is scaled by sqrt(max(1, rows / columns))."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                self._step_shape(parameters, shape, group)

    def _step_shape(self, parameters: list[nn.Parameter], shape: torch.Size, group: dict[str, Any]) -> None:
        grads = [p.grad for p in parameters if p.grad is not None]
        buffers = [self._buffer(p) for p in parameters]
        weights: list[Tensor] = list(parameters)
        torch._foreach_lerp_(buffers, grads, 1.0 - group["momentum"])
        # Nesterov: the gradient blended once more with the fresh average.
        updates = torch.stack(torch._foreach_lerp(grads, buffers, group["momentum"]))
        scale = group["lr"] * math.sqrt(max(1.0, shape[-2] / shape[-1]))
        directions = orthogonalise(updates.view(-1, *shape[-2:])).view_as(updates).to(parameters[0].dtype)
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, list(directions.unbind()), alpha=-scale)

    def _buffer(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum"]
        return buffer


class Split(NamedTuple):
    """The trainable parameters of a module by optimizer."""

    muon: list[nn.Parameter]
    adamw: list[nn.Parameter]


def split_parameters(model: nn.Module) -> Split:
    """Hidden matrices and stacks of them to Muon; embeddings, heads, position tables, biases and gains to AdamW."""
    muon: list[nn.Parameter] = []
    adamw: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        matrices = parameter.ndim in (2, 3) and min(parameter.shape[-2:]) > 1
        hidden = matrices and not any(part in name for part in ADAMW_NAMES)
        (muon if hidden else adamw).append(parameter)
    return Split(muon, adamw)


class Optimizers:
    """Both optimizers as one: clip, set the rate, step, zero; the state is one dict."""

    def __init__(self, model: nn.Module, config: OptimConfig, extra: Iterable[nn.Parameter] = ()) -> None:
        """`extra`: parameters outside the model (an auxiliary head), stepped by AdamW."""
        self.config = config
        split = split_parameters(model)
        adamw = [*split.adamw, *extra]
        self.parameters = [*split.muon, *adamw]
        self.muon = Muon(split.muon, config.muon_lr, config.muon_momentum, config.muon_weight_decay)
        self.adamw = torch.optim.AdamW(
            adamw, lr=config.adamw_lr, betas=config.adamw_betas, weight_decay=config.adamw_weight_decay, fused=True
        )

    def step(self, step: int, progress: float) -> float:
        """Steps all parameters and clears their gradients; returns the rate's multiplier."""
        scale = lr_scale(self.config, step, progress)
        nn.utils.clip_grad_norm_(self.parameters, self.config.clip, foreach=True)
        for optimizer, peak in ((self.muon, self.config.muon_lr), (self.adamw, self.config.adamw_lr)):
            for group in optimizer.param_groups:
                group["lr"] = peak * scale
            optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None
        return scale

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
