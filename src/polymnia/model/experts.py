"""Muse Spark's feed-forward: a router sends each token to a few experts, which work in a narrower width.

Experts are computed in groups: (token, expert) pairs are sorted by expert, and each expert multiplies its run
of rows once; no loop over tokens. The router balances itself without an auxiliary loss (arXiv 2408.15664): a
bias on each expert's score takes part in the choice alone, and `balance` moves it against the expert's load.
Letters in shapes: N tokens, k experts a token, E experts, D width of the experts, I their inner width.
Does not cover experts spread over several devices.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymnia.model.config import SparkTextConfig
from polymnia.model.layers import CenteredRMSNorm, InputScaledRMSNorm, Linear, PackedLinear, split
from polymnia.model.pointwise import gated
from polymnia.model.products import product_dtype

BALANCE_RATE = 1e-2
"""How far a step moves an expert's bias, beside scores of 0 to 1. The paper's 0.001 is for 100,000 steps and more."""


class Router(nn.Module):
    """Scores in fp32 whatever the network's dtype: near ties decide where a token goes."""

    def __init__(self, config: SparkTextConfig) -> None:
        super().__init__()
        self.chosen = config.num_experts_per_tok
        self.multiplier, self.scaling = config.output_multiplier, config.routed_scaling_factor
        self.weight = nn.Parameter(torch.zeros(config.num_local_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.num_local_experts))
        self.e_score_correction_bias: Tensor
        # Its own device: it is not in the checkpoint that fills a network made on "meta".
        self.register_buffer("loads", torch.zeros(config.num_local_experts, device="cpu"), persistent=False)
        self.loads: Tensor
        """Tokens that each expert got in training since the last `balance`."""
        self.packed: PackedLinear | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, width) -> experts and their weights, (N, k) each; weights add up to `routed_scaling_factor`."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            logits = F.linear(x, self.weight.float()) if self.packed is None else self.packed(x)  # (N, E)
            logits = logits * self.multiplier
            if self.packed is not None:
                # Rows apart in memory: the kernel of sigmoid, which rounds a block of numbers otherwise than what is
                # left over, then treats a row alike whatever the number of rows.
                logits = F.pad(logits, (0, 1))[:, :-1]
            scores = torch.sigmoid(logits)
        biased = scores.detach() + self.e_score_correction_bias.float()
        choice = biased.topk(self.chosen, dim=-1, sorted=False).indices
        if self.training:
            self.loads += loads(choice, len(self.loads))
        chosen = scores.gather(1, choice)
        return choice, chosen / (chosen.sum(-1, keepdim=True) + 1e-15) * self.scaling

    def freeze(self) -> None:
        self.packed = PackedLinear(self.weight.float(), None)


class Experts(nn.Module):
    """E gated MLPs as two stacks of matrices."""

    def __init__(self, config: SparkTextConfig) -> None:
        super().__init__()
        count, width, inner = config.num_local_experts, config.moe_hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.zeros(count, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.zeros(count, width, inner))
        self.post_expert_norm = InputScaledRMSNorm(width, config.post_norm_eps)
        self.packed: tuple[list[PackedLinear], list[PackedLinear]] | None = None

    def forward(self, x: Tensor, choice: Tensor, weights: Tensor) -> Tensor:
        """x: (N, D); choice, weights: (N, k) -> (N, D), each token's weighted sum over its experts."""
        (tokens, width), chosen = x.shape, choice.shape[1]
        order = choice.flatten().argsort(stable=True)  # (N k,): pairs by expert, by token within
        counts = loads(choice, len(self.gate_up_proj))
        pairs = x.index_select(0, order // chosen)  # (N k, D)
        packed = self.packed or (None, None)
        inner = gated(grouped_linear(pairs, self.gate_up_proj, counts, packed[0]))
        out = grouped_linear(inner, self.down_proj, counts, packed[1])
        out = self.post_expert_norm(out)
        back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        out = out.index_select(0, back).view(tokens, chosen, width)
        mixed: Tensor = (out * weights[..., None]).sum(1).to(x.dtype)
        return mixed

    def freeze(self) -> None:
        self.packed = (
            [PackedLinear(weight, None) for weight in self.gate_up_proj],
            [PackedLinear(weight, None) for weight in self.down_proj],
        )


class MixtureOfExperts(nn.Module):
    def __init__(self, config: SparkTextConfig) -> None:
        super().__init__()
        width, narrow = config.hidden_size, config.moe_hidden_size
        self.gate = Router(config)
        self.pre_expert_proj = Linear(width, narrow, bias=False)
        self.pre_expert_norm = CenteredRMSNorm(narrow, config.rms_norm_eps)
        self.experts = Experts(config)
        self.post_expert_proj = Linear(narrow, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (N, width)
        choice, weights = self.gate(flat)
        pooled = self.pre_expert_norm(self.pre_expert_proj(flat))  # (N, D)
        out: Tensor = self.post_expert_proj(self.experts(pooled, choice, weights))
        return out.view(x.shape)


def grouped_linear(x: Tensor, weight: Tensor, counts: Tensor, packed: list[PackedLinear] | None = None) -> Tensor:
    """x: (rows, in), the first `counts[0]` rows for expert 0 and so on; weight: (E, out, in) -> (rows, out).

    PyTorch's grouped kernel takes sides of whole 16 bytes (in eager mode and, in bf16, compiled and on a GPU); the
    loop over experts takes anything. On a CPU the kernel is 5 to 10 % faster forward and up to twice backward. In the
    loop it must be `unbind`: the gradient of `weight[e]` is as large as the stack (docs/log.md).
    """
    if packed is None and _suits_kernel(x, weight):
        dtype = product_dtype(x)
        ends = counts.cumsum(0, dtype=torch.int32)
        out: Tensor = F.grouped_mm(x.to(dtype), weight.to(dtype).transpose(1, 2), offs=ends)
        return out
    sizes: list[int] = counts.tolist()
    weights: Sequence[PackedLinear | Tensor] = packed or weight.unbind()
    parts = zip(weights, split(x, sizes, dim=0), strict=True)
    return torch.cat([_apply(one, part) for one, part in parts if len(part)])


def _apply(weight: PackedLinear | Tensor, x: Tensor) -> Tensor:
    return weight(x) if isinstance(weight, PackedLinear) else F.linear(x, weight)


def _suits_kernel(x: Tensor, weight: Tensor) -> bool:
    dtype = product_dtype(x)
    aligned = all(side * dtype.itemsize % 16 == 0 for side in weight.shape[1:])
    anywhere = x.device.type == "cpu" and not torch.compiler.is_compiling()
    return aligned and (anywhere or dtype == torch.bfloat16)


def loads(choice: Tensor, experts: int) -> Tensor:
    """How many tokens each expert got, (E,)."""
    flat = choice.flatten()  # not by bincount: the compiler would not know its result's size
    return flat.new_zeros(experts).scatter_add_(0, flat, torch.ones_like(flat))


def balanced(bias: Tensor, loads: Tensor, rate: float = BALANCE_RATE) -> Tensor:
    """The bias after one step: up by `rate` for each expert with less than the mean load, down for each with more."""
    return bias + rate * torch.sign(loads.mean() - loads)


@torch.no_grad()
def balance(model: nn.Module, rate: float = BALANCE_RATE) -> None:
    """After each training step: moves every router's bias by what it saw in training mode, and starts to count anew.

    Processes that train one network on different data must add up their `loads` first.
    """
    for module in model.modules():
        if isinstance(module, Router):
            module.e_score_correction_bias.copy_(balanced(module.e_score_correction_bias, module.loads, rate))
            module.loads.zero_()
