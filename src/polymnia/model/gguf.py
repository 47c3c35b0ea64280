"""A Muse Glimmer checkpoint as llama.cpp reads it: `NAME.gguf` (decoder, tokenizer), `mmproj-NAME.gguf` (tower).

The bytes are the `gguf` package's work (extra `gguf`); names of keys and tensors are llama.cpp's, architecture
and projector type `muse-glimmer`. What llama.cpp cannot compute as the checkpoint asks is refused. Quantised
types are not covered (llama.cpp's own `llama-quantize` makes them from these files), nor is `muse_spark`.

Facts of the layout, all seen by the tests that compare probabilities with an engine:
- Block norms are stored as 1 + weight, the final norm as it is.
- Rows of Q and K (weights, and biases in the tower) go from split-half to interleaved rotation.
- `attn_q_norm` is filled with `qk_scale_factor`, `attn_k_norm` with ones.
- The patch layer becomes a convolution; its slabs for each frame are added up, as a still picture repeats.
- The tower's features are left without their RMS norm: the engine normalises them with the embedding rows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymnia.errors import InputError
from polymnia.model.checkpoint import DTYPES, load_checkpoint
from polymnia.model.config import SLIDING, MuseConfig, TextConfig, VisionConfig, load_config
from polymnia.model.digest import folder_digest
from polymnia.model.gguf_files import Processor, Vocabulary, read_processor, read_vocabulary
from polymnia.model.muse import Muse

if TYPE_CHECKING:
    from gguf import GGUFWriter

ARCHITECTURE = "muse-glimmer"
_FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32}
"""llama.cpp's `general.file_type`."""


class Entry(NamedTuple):
    """A tensor to write and how it comes out of the checkpoint."""

    name: str
    make: Callable[["Source"], Tensor]
    """Called twice: with shapes alone (meta tensors) for the header, then for the values."""
    full: bool = False
    """Kept in fp32 whatever the file's dtype; vectors always are."""


Source = Callable[[str], Tensor]
"""A tensor of the checkpoint by its name, fp32."""


def export_gguf(folder: Path, out: Path, name: str, dtype: str) -> str:
    """Writes both files into the existing folder `out`; matrices in `dtype`, a key of DTYPES.

    Returns the checkpoint's digest, which both files hold as `polymnia.weights_digest`.
    Raises InputError when the checkpoint is no `muse_glimmer`, lacks a tokenizer, or cannot be expressed.
    """
    config = load_config(folder)
    if config.is_spark:
        raise InputError(f"{folder} is a muse_spark checkpoint, which llama.cpp packages do not know: export it as hf")
    _check_text(config.text_config)
    _check_vision(config.vision_config)
    vocabulary = read_vocabulary(folder, config.text_config.vocab_size)
    processor = read_processor(folder)
    model = load_checkpoint(folder)
    digest = folder_digest(folder)

    writer = _writer(out / f"{name}.gguf", ARCHITECTURE, name, dtype, digest)
    writer.add_type("model")
    _add_text_keys(writer, config.text_config)
    _add_vocabulary(writer, vocabulary)
    _write(writer, model, list(_text_entries(config.text_config)), dtype)

    writer = _writer(out / f"mmproj-{name}.gguf", "clip", name, dtype, digest)
    writer.add_type("mmproj")
    _add_vision_keys(writer, config, processor)
    _write(writer, model, list(_vision_entries(config.vision_config)), dtype)
    return digest


# ---------------------------------------------------------------------------- what the engine can do


def _check_text(config: TextConfig) -> None:
    if config.layer_rope != tuple(kind == SLIDING for kind in config.layer_types):
        _refuse("text_config.layer_rope_theta", "rotates Q and K in sliding layers and in no others")
    if config.post_norm_eps != 1e-8:
        _refuse("text_config.post_norm_eps", "has 1e-8 there")


def _check_vision(config: VisionConfig) -> None:
    if config.layer_types != VisionConfig(num_hidden_layers=config.num_hidden_layers).layer_types:
        _refuse("vision_config.layer_types", "has full attention in every fourth and the last layer of the tower")
    for key, value in {"layer_norm_eps": 1e-5, "rope_theta": 10_000.0, "merge_size": 2}.items():
        if getattr(config, key) != value:
            _refuse(f"vision_config.{key}", f"has {value} there")


def _refuse(key: str, known: str) -> None:
    raise InputError(f"config.json: {key} cannot be exported to GGUF, because llama.cpp {known}")


# ------------------------------------------------------------------------------------------- keys


def _writer(path: Path, architecture: str, name: str, dtype: str, digest: str) -> "GGUFWriter":
    try:
        from gguf import GGML_QUANT_VERSION, GGUFWriter
    except ImportError:
        raise InputError('writing GGUF needs the extra "gguf": pip install "polymnia[gguf]"') from None

    writer = GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_file_type(_FILE_TYPES[dtype])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_string("polymnia.weights_digest", digest)
    return writer


def _add_text_keys(writer: "GGUFWriter", config: TextConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_sliding_window(config.sliding_window)
    writer.add_sliding_window_pattern([kind == SLIDING for kind in config.layer_types])
    writer.add_logit_scale(config.output_multiplier)
    writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _add_vocabulary(writer: "GGUFWriter", vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(False)  # the template writes what is wanted
    writer.add_bos_token_id(vocabulary.bos)
    writer.add_eos_token_id(vocabulary.eos)
    writer.add_eot_token_id(vocabulary.eos)
    writer.add_pad_token_id(vocabulary.pad)
    writer.add_chat_template(vocabulary.chat_template)


def _add_vision_keys(writer: "GGUFWriter", config: MuseConfig, processor: Processor) -> None:
    vision = config.vision_config
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(ARCHITECTURE)
    writer.add_vision_projection_dim(config.text_config.hidden_size)
    # Any size is taken; the nominal one is the side of the position grid.
    writer.add_vision_image_size(vision.pos_emb_height * vision.patch_size * vision.merge_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_block_count(vision.num_hidden_layers)
    writer.add_vision_head_count(vision.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(vision.layer_norm_eps)
    writer.add_vision_spatial_merge_size(vision.merge_size)
    writer.add_vision_image_mean(processor.mean)
    writer.add_vision_image_std(processor.std)


# ---------------------------------------------------------------------------------------- tensors


def _text_entries(config: TextConfig) -> Iterator[Entry]:
    model = "model.language_model"
    yield _copied("token_embd.weight", f"{model}.embed_tokens.weight")
    yield _copied("output_norm.weight", f"{model}.norm.weight")
    yield _copied("output.weight", "lm_head.weight")
    plain = {
        "attn_v": "self_attn.v_proj",
        "attn_gate": "self_attn.gate_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    norms = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    for layer in range(config.num_hidden_layers):
        there, here = f"blk.{layer}", f"{model}.layers.{layer}"
        yield _turned(f"{there}.attn_q.weight", f"{here}.self_attn.q_proj.weight", config.num_attention_heads)
        yield _turned(f"{there}.attn_k.weight", f"{here}.self_attn.k_proj.weight", config.num_key_value_heads)
        yield _constant(f"{there}.attn_q_norm.weight", config.head_dim, config.qk_scale_factor)
        yield _constant(f"{there}.attn_k_norm.weight", config.head_dim, 1.0)
        for target, source in plain.items():
            yield _copied(f"{there}.{target}.weight", f"{here}.{source}.weight")
        for target, source in norms.items():
            yield _raised(f"{there}.{target}.weight", f"{here}.{source}.weight")


def _vision_entries(config: VisionConfig) -> Iterator[Entry]:
    tower = "model.vision_tower"
    yield _convolution("v.patch_embd.weight", f"{tower}.patch_embedder.patch_embedding.weight", config)
    grid = _copied("v.position_embd.weight", f"{tower}.patch_embedder.position_embedding_table.weight")
    yield grid._replace(full=True)
    for part in ("weight", "bias"):
        yield _copied(f"v.pre_ln.{part}", f"{tower}.ln_pre.{part}")
        yield _copied(f"v.post_ln.{part}", f"{tower}.ln_post.{part}")
    plain = {
        "ln1": "norm1",
        "ln2": "norm2",
        "attn_v": "attn.v_proj",
        "attn_out": "attn.proj",
        "ffn_up": "mlp.fc1",
        "ffn_down": "mlp.fc2",
    }
    for layer in range(config.num_hidden_layers):
        there, here = f"v.blk.{layer}", f"{tower}.layers.{layer}"
        for part in ("weight", "bias"):
            yield _turned(f"{there}.attn_q.{part}", f"{here}.attn.q_proj.{part}", config.num_attention_heads)
            yield _turned(f"{there}.attn_k.{part}", f"{here}.attn.k_proj.{part}", config.num_attention_heads)
            for target, source in plain.items():
                yield _copied(f"{there}.{target}.{part}", f"{here}.{source}.{part}")
    for place, name in enumerate(("vision_adapter.fc1", "vision_adapter.fc2", "vision_projection")):
        yield _copied(f"mm.{place}.weight", f"model.{name}.weight")


def _copied(name: str, source: str) -> Entry:
    return Entry(name, lambda get: get(source))


def _raised(name: str, source: str) -> Entry:
    return Entry(name, lambda get: get(source) + 1.0)


def _constant(name: str, size: int, value: float) -> Entry:
    return Entry(name, lambda get: torch.full((size,), value))


def _turned(name: str, source: str, heads: int) -> Entry:
    return Entry(name, lambda get: interleaved(get(source), heads))


def _convolution(name: str, source: str, config: VisionConfig) -> Entry:
    shape = (config.hidden_size, config.patch_temporal, 3, config.patch_size, config.patch_size)
    return Entry(name, lambda get: get(source).view(shape).sum(1), full=True)  # engines convolve in fp32 or fp16 alone


def interleaved(rows: Tensor, heads: int) -> Tensor:
    """(heads * dim, ...) with dimensions i and i + dim / 2 of a head rotated together -> 2i and 2i + 1."""
    halves = rows.view(heads, 2, len(rows) // (2 * heads), *rows.shape[1:])  # (heads, 2, dim / 2, ...)
    return halves.transpose(1, 2).reshape(rows.shape)


def _write(writer: "GGUFWriter", model: Muse, entries: list[Entry], dtype: str) -> None:
    """Header, then one tensor after the other, so that one at a time is converted."""
    from gguf import GGMLQuantizationType

    weights: dict[str, Tensor] = model.state_dict()
    kinds = []
    for entry in entries:
        made = entry.make(lambda name: weights[name].to("meta"))
        kind = "f32" if entry.full or made.dim() == 1 else dtype
        kinds.append(DTYPES[kind])
        size = made.numel() * DTYPES[kind].itemsize
        writer.add_tensor_info(
            entry.name, made.shape, np.dtype(np.float32), size, raw_dtype=GGMLQuantizationType[kind.upper()]
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for entry, torch_dtype in zip(entries, kinds, strict=True):
        data = entry.make(lambda name: weights[name].float()).to(torch_dtype).contiguous()
        writer.write_tensor_data(data.view(torch.uint8).numpy())
    writer.close()
