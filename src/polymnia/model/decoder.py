"""The Muse text decoder: sandwich norms, grouped attention with weightless QK norm and an output gate, SwiGLU.

One attention path serves training (packed documents), prefill and cached decoding; what differs is the
`Context` made once a forward. Letters in shapes: B rows, T new tokens, L visible tokens, H query heads,
K key-value heads, D head_dim. Facts of the layout (each has a test): Q and K are RMS-normalised without
weights and Q is scaled by `qk_scale_factor`; full layers have no RoPE; block norms are 1 + weight, the
final norm is plain. Spark differs in this: heads are normalised before the output gate, the norms after a
block are weightless (attention) or scale first (feed-forward), gates join block and residual, and the
feed-forward is experts (`model.experts`). Does not cover dropout, biases or RoPE scaling (`model.config`
refuses them).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from polymnia.model.attention import DOCUMENT_BLOCK, EVERYTHING, Sight, attend, plan_documents
from polymnia.model.cache import KVCache
from polymnia.model.config import SLIDING, SPARSE, SparkTextConfig, TextConfig
from polymnia.model.experts import MixtureOfExperts
from polymnia.model.layers import (
    CenteredRMSNorm,
    FusedLinear,
    InputScaledRMSNorm,
    Linear,
    PlainRMSNorm,
    RMSNorm,
    inverse_frequencies,
    split,
)
from polymnia.model.pointwise import gated, rms_norm, rotate
from polymnia.model.products import product_dtype


class Context(NamedTuple):
    """What attention needs to know of a forward's tokens, the same for all layers."""

    cos: Tensor
    sin: Tensor
    """(B or 1, T, 1, D / 2)"""
    full: Sight
    """What full layers see."""
    sliding: Sight
    cache: KVCache | None
    write_at: Tensor | int
    """Where the new tokens go in the cache: one start for all rows, or flat indices."""
    total: int
    """L"""


class TextAttention(nn.Module):
    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        self.eps = config.rms_norm_eps
        self.scale = config.qk_scale_factor * config.head_dim**-0.5
        self.sliding = config.layer_types[layer] == SLIDING
        self.rope = config.layer_rope[layer]
        self.norm_heads = isinstance(config, SparkTextConfig)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.gate_proj = nn.Linear(config.hidden_size, queries, bias=False)
        self.o_proj = Linear(queries, config.hidden_size, bias=False)
        self.fused = FusedLinear(self.q_proj, self.k_proj, self.v_proj, self.gate_proj)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        rows, new, _ = x.shape
        both, dim = self.heads + self.kv_heads, self.head_dim
        joined, value, gate = split(self.fused(x), (both * dim, self.kv_heads * dim, self.heads * dim), dim=-1)
        value = value.view(rows, new, self.kv_heads, dim)
        # Q and K go through norm and rotation together; Q's extra factor is part of the score's scale.
        joined = rms_norm(joined.view(rows, new, both, dim), self.eps)  # (B, T, H + K, D)
        if self.rope:
            joined = rotate(joined, context.cos, context.sin)
        query, key = split(joined, (self.heads, self.kv_heads), dim=2)
        if context.cache is not None:
            key, value = context.cache.write(self.layer, context.write_at, key, value, context.total)
        mixed = attend(query, key, value, context.sliding if self.sliding else context.full, scale=self.scale)
        if self.norm_heads:
            mixed = rms_norm(mixed, self.eps)  # (B, T, H, D)
        out: Tensor = self.o_proj(mixed.reshape(rows, new, self.heads * dim) * torch.sigmoid(gate))
        return out


class TextMLP(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.fused = FusedLinear(self.gate_proj, self.up_proj)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(gated(self.fused(x)))
        return out


class ResidualSum(nn.Module):
    """Glimmer's way to join a block's output and what went around it."""

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        return residual + x


class ResidualGate(nn.Module):
    """Spark's way: a learned share `new` of the block and `old` of the residual, per dimension, in fp32.

    new = sigmoid(gate / temperature) and old² = (1 - new)(1 + new) = 1 - new², so independent parts of size 1
    join to size 1.
    """

    LEAST = 1e-3
    """Of old²."""

    def __init__(self, config: SparkTextConfig) -> None:
        super().__init__()
        self.temperature = config.residual_gate_temperature
        self.gate = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        gate = self.gate.float() / self.temperature
        new = torch.sigmoid(gate)
        old = (torch.sigmoid(-gate) * (1 + new)).clamp(min=self.LEAST).sqrt()
        return (old * residual + new * x).to(residual.dtype)


class TextLayer(nn.Module):
    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        width, post_eps = config.hidden_size, config.post_norm_eps
        self.self_attn = TextAttention(config, layer)
        self.input_layernorm = CenteredRMSNorm(width, config.rms_norm_eps)
        self.pre_feedforward_layernorm = CenteredRMSNorm(width, config.rms_norm_eps)
        if isinstance(config, SparkTextConfig):
            sparse = config.mlp_layer_types[layer] == SPARSE
            self.mlp: nn.Module = MixtureOfExperts(config) if sparse else TextMLP(config)
            self.post_attention_layernorm: nn.Module = PlainRMSNorm(post_eps)
            self.post_feedforward_layernorm: nn.Module = InputScaledRMSNorm(width, post_eps)
            self.post_attention_residual_gate: nn.Module = ResidualGate(config)
            self.post_feedforward_residual_gate: nn.Module = ResidualGate(config)
        else:
            self.mlp = TextMLP(config)
            self.post_attention_layernorm = CenteredRMSNorm(width, post_eps)
            self.post_feedforward_layernorm = CenteredRMSNorm(width, post_eps)
            self.post_attention_residual_gate = ResidualSum()
            self.post_feedforward_residual_gate = ResidualSum()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        new = self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), context))
        x = self.post_attention_residual_gate(x, new)
        new = self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        out: Tensor = self.post_feedforward_residual_gate(x, new)
        return out


class TextModel(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TextLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self._rope_table: tuple[Tensor, Tensor] | None = None

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, width), each row RMS-normalised without weights."""
        return rms_norm(self.embed_tokens(input_ids), self.config.rms_norm_eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        for layer in self.layers:
            x = layer(x, context)
        hidden: Tensor = self.norm(x)
        return hidden

    def context(
        self, x: Tensor, position_ids: Tensor | None, document_ids: Tensor | None, cache: KVCache | None
    ) -> Context:
        """x: (B, T, width), for its shape, dtype and device only."""
        new = x.shape[1]
        lengths = cache.lengths if cache is not None else [0]
        start = lengths[0]
        even = all(length == start for length in lengths)
        total = cache.visible(new) if cache is not None else new
        at = torch.arange(start, start + new, device=x.device)[None]  # (B or 1, T)
        write_at: Tensor | int = start
        if not even and cache is not None:
            at = at + torch.tensor([length - start for length in lengths], device=x.device)[:, None]
            write_at = cache.places(at)
        cos, sin = self._rotations(at if position_ids is None else position_ids, max(lengths) + new)
        # Plain causality needs no mask, nor does a single new token that sees all.
        plain = document_ids is None and even and (total == new or (new == 1 and total == start + 1))
        full, sliding = self._sights(at, total, document_ids, plain, product_dtype(x))
        return Context(cos, sin, full, sliding, cache, write_at, total)

    def _sights(
        self, at: Tensor, total: int, document_ids: Tensor | None, plain: bool, dtype: torch.dtype
    ) -> tuple[Sight, Sight]:
        """What full and what sliding layers see."""
        new, window = at.shape[1], self.config.sliding_window
        windowed = total > window
        if plain and total == new:
            return Sight(window=total), Sight(window=min(window, total))
        if document_ids is not None and document_ids.device.type == "cpu" and total % DOCUMENT_BLOCK == 0:
            full = plan_documents(document_ids, total, dtype)
            return full, plan_documents(document_ids, window, dtype) if windowed else full
        if plain and not windowed:
            return EVERYTHING, EVERYTHING
        distance = at[:, None, :, None] - torch.arange(total, device=at.device)  # (B or 1, 1, T, L)
        visible = distance >= 0
        if document_ids is not None:
            visible = visible & (document_ids[:, None, :, None] == document_ids[:, None, None, :])
        full = EVERYTHING if plain else Sight(_additive(visible, dtype))
        return full, Sight(_additive(visible & (distance < window), dtype)) if windowed else full

    def _rotations(self, positions: Tensor, total: int) -> tuple[Tensor, Tensor]:
        """cos and sin at `positions` (B, T), as (B, T, 1, D / 2) in fp32, out of a table that grows with need."""
        table = self._rope_table
        if table is None or len(table[0]) < total or table[0].device != positions.device:
            frequencies = inverse_frequencies(self.config.head_dim, self.config.rope_theta).to(positions.device)
            angles = torch.arange(2 * max(total, 256), device=positions.device).float()[:, None] * frequencies
            self._rope_table = table = angles.cos(), angles.sin()
        cos, sin = table
        return cos[positions][:, :, None], sin[positions][:, :, None]


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros((), dtype=dtype, device=visible.device).masked_fill(~visible, float("-inf"))
