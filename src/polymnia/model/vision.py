"""The Muse vision tower: patches, a learned position grid, axial RoPE, window attention, 2x2 pixel shuffle.

Pictures of one grid size are computed together as a dense (images, patches, width) batch; the tables that
depend on the size alone (interpolation, rotations, window order) are made once a size and kept.
Layout facts, each with a test: the first quarter of a head turns with x, the second with y (from 1, as the
family counts; attention sees differences only); the position grid is resampled like `grid_sample` with
align_corners=False and zeros outside; windows are `pos_emb_height` patches square, cut from the top left; the
shuffle puts the four patches of a token innermost. A picture of several frames is treated frame by frame.
Spark reads the position grid as if height and width were exchanged, without turning the patches' order
(`exchanged`): patch number n stands at row n // height, column n % height.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymnia.model.attention import attend
from polymnia.model.config import WINDOW, MuseConfig, VisionConfig
from polymnia.model.layers import FusedLinear, Linear, inverse_frequencies, split
from polymnia.model.pointwise import rotate

_CACHED_GRIDS = 256


class GridTables(NamedTuple):
    """What depends on a grid of (height, width) patches alone; N = height * width."""

    taps: Tensor
    """(N, 4): rows of the position table to mix"""
    weights: Tensor
    """(N, 4), fp32"""
    cos: Tensor
    sin: Tensor
    """(N, 1, head_dim / 2), in the order in which the layers see the patches"""
    order: Tensor | None
    """(N,): patches window by window; None where one window holds all"""
    restore: Tensor | None
    windows: tuple[int, ...]
    """Patches a window"""


class VisionAttention(nn.Module):
    def __init__(self, config: VisionConfig, windowed: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads, self.head_dim, self.windowed = config.num_attention_heads, config.head_dim, windowed
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.proj = Linear(width, width)
        self.fused = FusedLinear(self.q_proj, self.k_proj, self.v_proj)

    def forward(self, x: Tensor, tables: GridTables) -> Tensor:
        images, patches, width = x.shape
        joined = self.fused(x).view(images, patches, 3 * self.heads, self.head_dim)
        turned, value = split(joined, (2 * self.heads, self.heads), dim=2)
        turned = rotate(turned, tables.cos, tables.sin)
        query, key = turned.chunk(2, dim=2)  # (images, patches, heads, head_dim)
        scale = self.head_dim**-0.5
        if self.windowed and len(tables.windows) > 1:
            parts = zip(*(split(part, tables.windows, dim=1) for part in (query, key, value)), strict=True)
            mixed = torch.cat([attend(*part, scale=scale) for part in parts], dim=1)
        else:
            mixed = attend(query, key, value, scale=scale)
        projected: Tensor = self.proj(mixed.reshape(images, patches, width))
        return projected


class VisionMLP(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, inner)
        self.fc2 = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class VisionLayer(nn.Module):
    def __init__(self, config: VisionConfig, windowed: bool) -> None:
        super().__init__()
        # The family fixes these two at 1e-5 whatever layer_norm_eps says.
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=1e-5)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=1e-5)
        self.attn = VisionAttention(config, windowed)
        self.mlp = VisionMLP(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, tables: GridTables) -> Tensor:
        x = x + self.attn(self.norm1(x), tables)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbedder(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = Linear(config.patch_dim, config.hidden_size, bias=False)
        self.position_embedding_table = nn.Embedding(config.pos_emb_height * config.pos_emb_width, config.hidden_size)

    def forward(self, pixels: Tensor, tables: GridTables) -> Tensor:
        """(images, N, patch_dim) -> (images, N, width)"""
        content: Tensor = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype))
        places = (self.position_embedding_table(tables.taps) * tables.weights[..., None]).sum(1)  # (N, width)
        out: Tensor = content + places.to(content.dtype)
        return out


class VisionTower(nn.Module):
    def __init__(self, config: VisionConfig, *, exchanged: bool = False) -> None:
        super().__init__()
        self.config, self.exchanged = config, exchanged
        self.patch_embedder = PatchEmbedder(config)
        self.ln_pre = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(VisionLayer(config, kind == WINDOW) for kind in config.layer_types)
        self.ln_post = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self._tables: dict[tuple[int, int, torch.device], GridTables] = {}

    def forward(self, pixel_values: Tensor, frames: list[tuple[int, int]]) -> Tensor:
        """Packed patches (patches, patch_dim) of `frames`, each (height, width) -> (image_tokens, width * merge²)."""
        sizes = [height * width for height, width in frames]
        if sum(sizes) != len(pixel_values):
            raise ValueError(f"{len(pixel_values)} patches were given, the grids {frames} hold {sum(sizes)}")
        if len(set(frames)) == 1:
            return self.encode_grid(pixel_values.view(len(frames), sizes[0], -1), frames[0]).flatten(0, 1)
        parts = split(pixel_values, sizes, dim=0)
        outputs: list[Tensor] = [pixel_values] * len(frames)
        for grid in dict.fromkeys(frames):
            members = [index for index, other in enumerate(frames) if other == grid]
            encoded = self.encode_grid(torch.stack([parts[index] for index in members]), grid)
            for index, one in zip(members, encoded.unbind(), strict=True):
                outputs[index] = one
        return torch.cat(outputs)

    def encode_grid(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Images of one grid, (images, N, patch_dim) -> (images, N / merge², width * merge²)."""
        tables = self.tables(grid, pixels.device)
        x = self.ln_pre(self.patch_embedder(pixels, tables))
        if tables.order is not None:
            x = x[:, tables.order]
        for layer in self.layers:
            x = layer(x, tables)
        if tables.restore is not None:
            x = x[:, tables.restore]
        return self._shuffle(self.ln_post(x), grid)

    def _shuffle(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        (height, width), merge = grid, self.config.merge_size
        x = x.view(len(x), height // merge, merge, width // merge, merge, -1)
        return x.permute(0, 1, 3, 5, 2, 4).reshape(len(x), height * width // merge**2, -1)

    def tables(self, grid: tuple[int, int], device: torch.device) -> GridTables:
        key = (*grid, device)
        if key not in self._tables:
            if grid[0] % self.config.merge_size or grid[1] % self.config.merge_size:
                raise ValueError(f"a grid of {grid} patches cannot be merged {self.config.merge_size}x")
            while len(self._tables) >= _CACHED_GRIDS:
                self._tables.pop(next(iter(self._tables)))
            self._tables[key] = grid_tables(self.config, grid, device, self.exchanged)
        return self._tables[key]


class VisionAdapter(nn.Module):
    """Two layers between the tower and the projection into the decoder's width; no biases."""

    def __init__(self, config: MuseConfig) -> None:
        super().__init__()
        self.fc1 = Linear(config.out_hidden_size, config.projector_hidden_size, bias=False)
        self.fc2 = Linear(config.projector_hidden_size, config.projector_hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.fc2(F.gelu(self.fc1(x))))


def grid_tables(
    config: VisionConfig, grid: tuple[int, int], device: torch.device, exchanged: bool = False
) -> GridTables:
    height, width = grid
    side = config.pos_emb_height
    taps, weights = _position_taps((width, height) if exchanged else grid, side)
    rows, columns = _places(grid)

    window = (rows // side) * -(-width // side) + columns // side
    windows = tuple(torch.bincount(window).tolist())
    order = torch.argsort(window, stable=True) if len(windows) > 1 else None

    frequencies = inverse_frequencies(config.head_dim // 2, config.rope_theta)  # (head_dim / 4,)
    angles = torch.cat([(axis + 1).float()[:, None] * frequencies for axis in (columns, rows)], dim=1)
    angles = angles if order is None else angles[order]
    cos, sin = angles.cos()[:, None].to(device), angles.sin()[:, None].to(device)
    restore = None if order is None else torch.argsort(order).to(device)
    order = None if order is None else order.to(device)
    return GridTables(taps.to(device), weights.to(device), cos, sin, order, restore, windows)


def _places(grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column of each patch, (N,) each."""
    height, width = grid
    return torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)


def _position_taps(grid: tuple[int, int], side: int) -> tuple[Tensor, Tensor]:
    rows, columns = _places(grid)
    row_taps, row_weights = _axis_taps(grid[0], side)
    column_taps, column_weights = _axis_taps(grid[1], side)
    taps = (row_taps[rows][:, :, None] * side + column_taps[columns][:, None]).flatten(1)
    weights = (row_weights[rows][:, :, None] * column_weights[columns][:, None]).flatten(1)
    return taps, weights  # (N, 4) each


def _axis_taps(size: int, side: int) -> tuple[Tensor, Tensor]:
    """Bilinear resampling of `side` table entries at `size` cell centres: indices and weights, (size, 2) each.

    Outside the table counts as zero, so the weights at the border may add up to less than 1.
    """
    centres = (torch.arange(size).float() + 0.5) * side / size - 0.5
    lower = centres.floor()
    raw = lower.long()[:, None] + torch.arange(2)  # (size, 2)
    weights = 1 - (centres[:, None] - raw).abs()
    return raw.clamp(0, side - 1), weights * ((raw >= 0) & (raw < side))
