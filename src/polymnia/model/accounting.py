"""What a network costs, from its config alone: parameters by part, FLOPs, bytes of keys and values.

FLOPs are those of matrix products, two a multiply-add, as `torch.utils.flop_counter` counts them (the tests
compare): norms, softmax, rotations and lookups are left out, and attention counts for all pairs of query and key of a
sequence, seen or not. So causality halves nothing, nor do windows and packed documents, whose pairs `model.attention`
mostly skips. Of a mixture of experts only those that a token goes to are counted. Backward is twice forward, but for
pixels, which need no gradient. Does not cover time or activations (`benchmarks/model.py` measures those).
Imports without torch.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from polymnia.model.config import (
    SLIDING,
    SPARSE,
    WINDOW,
    AudioConfig,
    MuseConfig,
    SparkTextConfig,
    TextConfig,
    VisionConfig,
)

Grid = tuple[int, int, int]
"""(frames, patch rows, patch columns) of a picture, as in `image_grid_thw`."""


@dataclass(frozen=True)
class Parameters:
    """Numbers in the weights, by part; the fields add up to the whole."""

    embedding: int
    attention: int
    """The decoder's, gate included."""
    mlp: int
    """The decoder's: dense layers, routers and what all tokens share around the experts."""
    experts: int
    norms: int
    """The decoder's, with residual gates and the final norm."""
    head: int
    tower: int
    adapter: int
    """Between tower and decoder, projection included."""
    audio: int
    """Held, not run."""

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


def parameters(config: MuseConfig) -> Parameters:
    text = config.text_config
    spark = text if isinstance(text, SparkTextConfig) else None
    return Parameters(
        embedding=text.vocab_size * text.hidden_size,
        attention=text.num_hidden_layers * _attention_matrices(text),
        mlp=sum(_shared_matrices(text, layer) for layer in range(text.num_hidden_layers)),
        experts=_sparse_layers(text) * spark.num_local_experts * _expert_matrices(spark) if spark else 0,
        norms=_decoder_vectors(text),
        head=_head_matrix(text),
        tower=_tower_parameters(config.vision_config),
        adapter=_adapter_matrices(config),
        audio=_audio_parameters(config.audio_config) if config.audio_config else 0,
    )


def active_parameters(config: MuseConfig) -> int:
    """What one token of text meets: the decoder with the experts that it goes to, and the head."""
    text, parts = config.text_config, parameters(config)
    experts = 0
    if isinstance(text, SparkTextConfig):
        experts = _sparse_layers(text) * text.num_experts_per_tok * _expert_matrices(text)
    return parts.attention + parts.mlp + experts + parts.norms + parts.head


def prefill_flops(config: MuseConfig, tokens: int, *, logits: int = 1) -> int:
    """Forward of one sequence without pictures; `logits`: positions at which the vocabulary is computed."""
    text = config.text_config
    return tokens * _token_flops(text) + _score_flops(text, tokens * tokens) + logits * _head_flops(text)


def decode_flops(config: MuseConfig, context: int) -> int:
    """Forward of one token that sees `context` tokens, itself included, logits included."""
    text = config.text_config
    return _token_flops(text) + _score_flops(text, context) + _head_flops(text)


def image_flops(config: MuseConfig, grid: Grid) -> int:
    """Forward of one picture through tower, adapter and projection."""
    return _pixel_flops(config, grid) + _tower_flops(config, grid)


def training_flops(config: MuseConfig, *, rows: int, row_tokens: int, trained: int, grids: Iterable[Grid] = ()) -> int:
    """Forward and backward of one batch; `trained`: positions at which the vocabulary is computed.

    `grids`: the batch's pictures, whose tokens are among the rows'. An optimizer's products are not counted.
    """
    decoder = rows * prefill_flops(config, row_tokens, logits=0) + trained * _head_flops(config.text_config)
    pictures = sum(2 * _pixel_flops(config, grid) + 3 * _tower_flops(config, grid) for grid in grids)
    return 3 * decoder + pictures


def cache_bytes(config: MuseConfig, tokens: int, *, number_bytes: int = 2) -> int:
    """Keys and values of one sequence. A sliding layer needs its window only (`model.cache` keeps all it was given)."""
    text = config.text_config
    held = (min(tokens, text.sliding_window) if kind == SLIDING else tokens for kind in text.layer_types)
    return 2 * text.num_key_value_heads * text.head_dim * number_bytes * sum(held)


# ---- the decoder


def _attention_matrices(text: TextConfig) -> int:
    """Of one layer: Q, gate and output of all heads, K and V of the key-value heads."""
    return text.hidden_size * text.head_dim * (3 * text.num_attention_heads + 2 * text.num_key_value_heads)


def _shared_matrices(text: TextConfig, layer: int) -> int:
    """Of one layer's feed-forward, without experts: SwiGLU, or router and the products into and out of the experts."""
    if isinstance(text, SparkTextConfig) and text.mlp_layer_types[layer] == SPARSE:
        return text.hidden_size * (text.num_local_experts + 2 * text.moe_hidden_size)
    return 3 * text.hidden_size * text.intermediate_size


def _expert_matrices(text: SparkTextConfig) -> int:
    """Of one expert."""
    return 3 * text.moe_hidden_size * text.moe_intermediate_size


def _sparse_layers(text: TextConfig) -> int:
    return text.mlp_layer_types.count(SPARSE) if isinstance(text, SparkTextConfig) else 0


def _decoder_vectors(text: TextConfig) -> int:
    """Gains of four norms a layer (Spark: of three, and two residual gates; two more norms around experts)."""
    layers = text.num_hidden_layers
    if isinstance(text, SparkTextConfig):
        return (5 * layers + 1) * text.hidden_size + 2 * _sparse_layers(text) * text.moe_hidden_size
    return (4 * layers + 1) * text.hidden_size


def _head_matrix(text: TextConfig) -> int:
    return text.hidden_size * text.vocab_size


def _token_flops(text: TextConfig) -> int:
    """All layers' matrices that one token meets."""
    matrices = text.num_hidden_layers * _attention_matrices(text)
    matrices += sum(_shared_matrices(text, layer) for layer in range(text.num_hidden_layers))
    if isinstance(text, SparkTextConfig):
        matrices += _sparse_layers(text) * text.num_experts_per_tok * _expert_matrices(text)
    return 2 * matrices


def _head_flops(text: TextConfig) -> int:
    return 2 * _head_matrix(text)


def _score_flops(text: TextConfig, pairs: int) -> int:
    """Scores and weighted values of `pairs` of query and key, all layers."""
    return 4 * text.num_hidden_layers * text.num_attention_heads * text.head_dim * pairs


# ---- the towers


def _tower_parameters(vision: VisionConfig) -> int:
    width, inner = vision.hidden_size, vision.intermediate_size
    biases_and_norms = 4 * width + inner + width + 4 * width
    embedding = (vision.patch_dim + vision.pos_emb_height * vision.pos_emb_width) * width
    return embedding + 4 * width + vision.num_hidden_layers * (_tower_matrices(vision) + biases_and_norms)


def _tower_matrices(vision: VisionConfig) -> int:
    """Of one layer: Q, K, V and output, two of the MLP."""
    return 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size


def _adapter_matrices(config: MuseConfig) -> int:
    inner = config.projector_hidden_size
    return (config.out_hidden_size + inner + config.text_config.hidden_size) * inner


def _pixel_flops(config: MuseConfig, grid: Grid) -> int:
    frames, height, width = grid
    return 2 * frames * height * width * config.vision_config.patch_dim * config.vision_config.hidden_size


def _tower_flops(config: MuseConfig, grid: Grid) -> int:
    """All but the embedding of the pixels; frames are computed one by one."""
    frames, height, width = grid
    vision, patches = config.vision_config, height * width
    side = vision.pos_emb_height
    windows = [h * w for h in _cuts(height, side) for w in _cuts(width, side)]
    windowed = sum(size * size for size in windows)
    pairs = sum(windowed if kind == WINDOW else patches * patches for kind in vision.layer_types)
    layers = 2 * patches * vision.num_hidden_layers * _tower_matrices(vision) + 4 * vision.hidden_size * pairs
    return frames * (layers + 2 * patches // vision.merge_size**2 * _adapter_matrices(config))


def _cuts(length: int, side: int) -> list[int]:
    """A length cut into windows of `side` from the start."""
    return [min(side, length - start) for start in range(0, length, side)]


def _audio_parameters(audio: AudioConfig) -> int:
    """Linear layers with biases, gains, depthwise convolutions (`model.audio`)."""
    total, before = 0, 1
    for width, patch, depth in zip(audio.hidden_sizes, audio.patch_sizes, audio.depths, strict=True):
        inner = int(width * audio.mlp_ratio)
        block = width * (audio.conv_kernel_size + 1) + width + 2 * width * inner + inner + width
        total += before * patch * width + 2 * width + depth * block
        before = width
    return total + before + before * audio.out_hidden_size + 2 * audio.out_hidden_size
