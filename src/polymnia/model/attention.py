"""Attention on whatever runs it, over as few pairs of query and key as who sees whom allows.

On a GPU, and for what has no better shape, PyTorch's fused kernels. On a CPU products and a softmax are two to
four times as fast as its flash kernel (docs/log.md), so a sequence is cut into blocks of queries, and each block
is multiplied with those keys that any of its queries sees: of its own past (`_attend_past`), or in packed rows of
its documents (`plan_documents`, `_attend_planned`). Pairs within that nobody sees are masked.
Letters in shapes: B rows, T tokens, L key tokens, H query heads, K key-value heads, D head_dim.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from polymnia.model.layers import split

_PAST_BLOCK = 128
"""Least number of queries in a block of one sequence: fewer save pairs, more are faster a pair."""
_MOST_BLOCKS = 16
DOCUMENT_BLOCK = 64
"""Queries in a block of packed rows; a row's length must be a multiple of it."""
_PLAIN_PAIRS = 512 * 512
"""Most pairs a head for which plain products beat the flash kernel without blocks."""


class Sight(NamedTuple):
    """Which tokens the queries see; by default all."""

    mask: Tensor | None = None
    """Added to the scores, (B or 1, 1, T, L)."""
    window: int | None = None
    """Each token sees itself and those before it, so many in all (as many keys as queries, no mask)."""
    plan: Tensor | None = None
    """Packed rows: (B T / DOCUMENT_BLOCK, 2), see `plan_documents`."""
    plan_mask: Tensor | None = None


EVERYTHING = Sight()


def attend(query: Tensor, key: Tensor, value: Tensor, sight: Sight = EVERYTHING, *, scale: float) -> Tensor:
    """Scaled dot-product attention, (B, T, H, D), (B, L, K, D) twice -> (B, T, H, D). A key serves H / K heads."""
    if sight.plan is not None and sight.plan_mask is not None:
        out: Tensor = _attend_planned(query, key, value, sight.plan, sight.plan_mask, scale)[0]
        return out
    rows, new, heads, dim = query.shape
    kv_heads, total = key.shape[1:3][::-1]
    on_cpu, mask = query.device.type == "cpu", sight.mask
    if sight.window is not None and on_cpu and new > 1:
        return _attend_past(query, key, value, sight.window, scale)
    key, value = key.transpose(1, 2), value.transpose(1, 2)  # (B, K, L, D)
    if new == 1:
        # One query a head: the heads that share a key form the query axis, and nothing is repeated.
        grouped = query.reshape(rows, kv_heads, heads // kv_heads, dim)
        return F.scaled_dot_product_attention(grouped, key, value, mask, scale=scale).view(rows, 1, heads, dim)
    if on_cpu and query.dtype == torch.bfloat16 and new * total <= _PLAIN_PAIRS:
        return _attend_plainly(query, key, value, mask, scale)
    past = sight.window is not None
    if sight.window is not None and sight.window < new:
        past, mask = False, _band(new, new, sight.window, query)
    mixed = F.scaled_dot_product_attention(
        query.transpose(1, 2), key, value, mask, is_causal=past, scale=scale, enable_gqa=kv_heads != heads
    )
    return mixed.transpose(1, 2)


def _attend_plainly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """(B, T, H, D), (B, K, L, D) twice -> (B, T, H, D)"""
    rows, new, heads, dim = query.shape
    kv_heads, total = key.shape[1], key.shape[2]
    grouped = (query.transpose(1, 2) * scale).reshape(rows, kv_heads, -1, dim)  # heads of one key side by side
    scores = grouped @ key.transpose(-1, -2)  # (B, K, H / K * T, L)
    if mask is not None:
        scores.view(rows, kv_heads, -1, new, total).add_(mask if mask.dim() == 2 else mask[:, None])
    return (scores.softmax(-1) @ value).view(rows, heads, new, dim).transpose(1, 2)


# ---- one sequence a row


def _attend_past(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Blocks of queries, each with the keys of its past."""
    new = query.shape[1]
    size = min(new, max(_PAST_BLOCK, -(-new // _MOST_BLOCKS)))
    width = min(size + window - 1, -(-new // size) * size)
    band = _band(size, width, window, query)  # of a whole block and all keys that it may see
    key, value = key.transpose(1, 2), value.transpose(1, 2)  # (B, K, T, D)
    parts = []
    for start in range(0, new, size):
        stop, first = min(start + size, new), max(0, start - window + 1)
        last = width - size + stop - start
        mask = band[: stop - start, last - (stop - first) : last]
        keys = slice(first, stop)
        parts.append(_attend_plainly(query[:, start:stop], key[:, :, keys], value[:, :, keys], mask, scale))
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def _band(queries: int, keys: int, window: int, like: Tensor) -> Tensor:
    """(queries, keys), the last key standing at the last query: 0 where it is seen, else -inf."""
    at = torch.arange(keys - queries, keys, device=like.device)[:, None]
    distance = at - torch.arange(keys, device=like.device)
    hidden = torch.zeros((), dtype=like.dtype, device=like.device)
    return hidden.masked_fill((distance < 0) | (distance >= window), float("-inf"))


# ---- packed rows


@torch.compiler.disable  # type: ignore[untyped-decorator]
def plan_documents(document_ids: Tensor, window: int, dtype: torch.dtype) -> Sight:
    """Of packed rows (B, T), documents side by side: which blocks of keys each block of queries needs.

    `plan` has a line for each block of queries, (its number, row by row; how many blocks of keys, its own being the
    last), fewest keys first. `plan_mask` holds what is added to their scores, one after another, (pairs,).
    T is a multiple of DOCUMENT_BLOCK.
    """
    rows, tokens = document_ids.shape
    size = DOCUMENT_BLOCK
    at = torch.arange(tokens)
    begins = F.pad(document_ids[:, 1:] != document_ids[:, :-1], (1, 0))
    first = (begins * at).cummax(1).values.maximum(at - window + 1)  # (B, T): what each token sees at most
    blocks = first[:, ::size] // size  # (B, T / size)
    needed = (torch.arange(tokens // size) - blocks + 1).view(-1)
    plan = torch.stack((order := needed.argsort(stable=True), needed[order]), dim=1)
    first = (first + tokens * torch.arange(rows)[:, None]).view(-1, size)
    masks = []
    for length, number in enumerate(split(plan[:, 0], needed.bincount().tolist(), dim=0)):
        queries = number[:, None] * size + torch.arange(size)  # (n, size), counted over all rows
        keys = (number[:, None] + 1 - length) * size + torch.arange(length * size)  # (n, length * size)
        hidden = (keys[:, None] > queries[..., None]) | (keys[:, None] < first[number][..., None])
        masks.append(torch.zeros((), dtype=dtype).masked_fill(hidden, float("-inf")).view(-1))
    return Sight(plan=plan, plan_mask=torch.cat(masks))


class _Run(NamedTuple):
    """Blocks of queries that need equally many blocks of keys; n of them."""

    numbers: Tensor
    """(n,)"""
    places: Tensor
    """(n K,): lines of `_Blocks.keys` at which their keys begin"""
    length: int
    """c blocks of keys"""
    pairs: slice
    """Of queries and keys, in the order of the plan"""


class _Blocks:
    """Tensors of packed rows cut as the plan has it; S: DOCUMENT_BLOCK."""

    def __init__(self, shape: torch.Size, kv_heads: int) -> None:
        """`shape`: of the queries, (B, T, H, D)."""
        self.rows, self.tokens, self.heads, self.dim = shape
        self.kv_heads, self.number = kv_heads, self.tokens // DOCUMENT_BLOCK

    def runs(self, plan: Tensor) -> Iterator[_Run]:
        start, heads = 0, torch.arange(self.kv_heads)
        sizes: list[int] = plan[:, 1].bincount().tolist()
        for length, numbers in enumerate(split(plan[:, 0], sizes, dim=0)):
            if not len(numbers):
                continue
            row, block = numbers // self.number, numbers % self.number
            places = (row[:, None] * self.kv_heads + heads) * self.number + (block - length + 1)[:, None]
            stop = start + len(numbers) * length * DOCUMENT_BLOCK**2
            yield _Run(numbers, places.view(-1), length, slice(start, stop))
            start = stop

    def queries(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, T, H, D) -> (B T / S, K, H / K S, D), times `factor`"""
        cut = x.view(self.rows, self.number, DOCUMENT_BLOCK, self.kv_heads, -1, self.dim)
        ordered = cut.permute(0, 1, 3, 4, 2, 5)
        out = torch.empty(ordered.shape, dtype=x.dtype)
        torch.mul(ordered, factor, out=out)
        return out.view(self.rows * self.number, self.kv_heads, -1, self.dim)

    def tokens_of(self, x: Tensor) -> Tensor:
        """The way back."""
        cut = x.view(self.rows, self.number, self.kv_heads, -1, DOCUMENT_BLOCK, self.dim)
        return cut.permute(0, 1, 4, 2, 3, 5).reshape(self.rows, self.tokens, self.heads, self.dim)

    def keys(self, x: Tensor) -> Tensor:
        """(B, T, K, D) -> (B K T / S, S D)"""
        return x.transpose(1, 2).reshape(-1, DOCUMENT_BLOCK * self.dim)

    def stretches(self, keys: Tensor, run: _Run) -> Tensor:
        """-> (n K, count S, D)"""
        lines, length = keys.shape
        overlapping = keys.as_strided((lines - run.length + 1, run.length * length), (length, 1))
        return overlapping.index_select(0, run.places).view(len(run.places), -1, self.dim)

    def add(self, keys: Tensor, stretches: Tensor, run: _Run) -> None:
        """`stretches` (n K, count S, D) to `keys`, in place. Each line comes once at the same place of a stretch."""
        for offset, part in enumerate(stretches.view(len(run.places), run.length, -1).unbind(1)):
            lines = run.places + offset
            keys.index_copy_(0, lines, keys.index_select(0, lines) + part)


@torch.library.custom_op("polymnia::attend_planned", mutates_args=())
def _attend_planned(
    query: Tensor, key: Tensor, value: Tensor, plan: Tensor, plan_mask: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """(B, T, H, D), (B, T, K, D) twice -> (B, T, H, D), and each key's share of the answers, (pairs, H) in all."""
    blocks = _Blocks(query.shape, key.shape[2])
    queries, keys, values = blocks.queries(query, scale), blocks.keys(key), blocks.keys(value)
    out, shares = torch.empty_like(queries), query.new_empty(len(plan_mask), blocks.heads)
    for run in blocks.runs(plan):
        asking = queries.index_select(0, run.numbers).flatten(0, 1)  # (n K, H / K S, D)
        own = shares[run.pairs].view(*asking.shape[:2], -1)  # (n K, H / K S, c S)
        torch.bmm(asking, blocks.stretches(keys, run).transpose(1, 2), out=own)
        mask = plan_mask[run.pairs].view(len(run.numbers), 1, DOCUMENT_BLOCK, -1)
        own.view(len(run.numbers), blocks.heads, DOCUMENT_BLOCK, -1).add_(mask)
        torch.softmax(own, -1, out=own)
        answer = torch.bmm(own, blocks.stretches(values, run))
        out.index_copy_(0, run.numbers, answer.view(-1, *out.shape[1:]))
    return blocks.tokens_of(out), shares


@_attend_planned.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, plan: Tensor, plan_mask: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    return query.new_empty(query.shape), query.new_empty(plan_mask.shape[0], query.shape[2])


@torch.library.custom_op("polymnia::attend_planned_backward", mutates_args=())
def _attend_planned_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, plan: Tensor, shares: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    blocks = _Blocks(query.shape, key.shape[2])
    gradients, queries = blocks.queries(gradient), blocks.queries(query, scale)
    keys, values = blocks.keys(key), blocks.keys(value)
    by_queries, by_keys, by_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
    for run in blocks.runs(plan):
        asking = queries.index_select(0, run.numbers).flatten(0, 1)  # (n K, H / K S, D)
        above = gradients.index_select(0, run.numbers).flatten(0, 1)
        own = shares[run.pairs].view(*asking.shape[:2], -1)  # (n K, H / K S, c S)
        by_shares = torch.bmm(above, blocks.stretches(values, run).transpose(1, 2))
        by_scores = torch._softmax_backward_data(by_shares, own, -1, own.dtype)
        answer = torch.bmm(by_scores, blocks.stretches(keys, run))
        by_queries.index_copy_(0, run.numbers, answer.view(-1, *queries.shape[1:]))
        blocks.add(by_values, own.transpose(1, 2) @ above, run)
        blocks.add(by_keys, by_scores.transpose(1, 2) @ asking, run)
    shape = (blocks.rows, blocks.kv_heads, blocks.tokens, blocks.dim)
    return (
        blocks.tokens_of(by_queries).mul_(scale),
        by_keys.view(shape).transpose(1, 2).contiguous(),
        by_values.view(shape).transpose(1, 2).contiguous(),
    )


@_attend_planned_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, plan: Tensor, shares: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, plan, _, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, plan, output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
    query, key, value, plan, shares = ctx.saved_tensors
    by_query, by_key, by_value = _attend_planned_backward(gradient, query, key, value, plan, shares, ctx.scale)
    return by_query, by_key, by_value, None, None, None


_attend_planned.register_autograd(_backward, setup_context=_keep)
