"""Fifty random shapes of both architectures against transformers 5.23: logits, cached decoding, packing, gradients.

Each seed draws a network (heads, windows, layers without RoPE, depth of the tower from 0, experts) and two or
three documents with pictures of ragged sizes; the reference reads each document alone.
"""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from model.oracle import Sequence, apart, reference, run_reference, with_pictures
from model.tiny import AUDIO_TOKEN, IMAGE_TOKEN, VIDEO_TOKEN, VOCABULARY, text_tokens, tiny_model
from polymnia.model.cache import KVCache
from polymnia.model.config import AudioConfig, MuseConfig, SparkTextConfig, TextConfig, VisionConfig
from polymnia.model.muse import Muse

torch.set_num_threads(1)
LOGITS = 1e-4
"""Of the largest logit."""
GRADIENTS = 1e-3
"""Of a tensor's largest gradient."""


def random_config(draw: random.Random, spark: bool) -> MuseConfig:
    vision = random_vision(draw)
    text = random_text(draw, spark)
    return MuseConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE_TOKEN,
        video_token_id=VIDEO_TOKEN,
        out_hidden_size=vision.hidden_size * vision.merge_size**2,
        projector_hidden_size=draw.randint(12, 24),
        audio_config=AudioConfig((4, 2), (3, 5), (1, 0), out_hidden_size=text.hidden_size) if spark else None,
        audio_token_id=AUDIO_TOKEN,
    )


def random_text(draw: random.Random, spark: bool) -> TextConfig:
    layers, heads = draw.randint(1, 6), draw.choice((1, 2, 3, 4, 6))
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * draw.randint(24 // heads, 36 // heads),
        "intermediate_size": draw.randint(20, 50),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": draw.choice([n for n in range(1, heads + 1) if heads % n == 0]),
        "head_dim": 2 * draw.randint(4, 8),
        "sliding_window": draw.randint(2, 14),
        "qk_scale_factor": draw.uniform(0.5, 3),
        "output_multiplier": draw.uniform(0.3, 1.2),
        "final_logit_softcapping": draw.uniform(8, 30),
        "rms_norm_eps": 10 ** draw.uniform(-6, -3),
        "rope_theta": 10 ** draw.uniform(2, 6),
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "layer_types": tuple(draw.choice(("full_attention", "sliding_attention")) for _ in range(layers)),
        "layer_rope": tuple(draw.random() < 0.7 for _ in range(layers)),
    }
    if not spark:
        return TextConfig(**shape)
    experts = draw.randint(1, 9)
    return SparkTextConfig(
        **shape,
        moe_hidden_size=draw.choice((16, 24, 27, 32)),
        moe_intermediate_size=draw.choice((16, 21, 24, 32)),
        num_local_experts=experts,
        num_experts_per_tok=draw.randint(1, experts),
        routed_scaling_factor=draw.uniform(0.5, 2.5),
        residual_gate_temperature=draw.uniform(0.1, 1),
        mlp_layer_types=tuple(draw.choice(("sparse", "sparse", "dense")) for _ in range(layers)),
    )


def random_vision(draw: random.Random) -> VisionConfig:
    depth, heads = draw.randint(0, 4), draw.randint(1, 3)
    side = draw.randint(2, 6)
    return VisionConfig(
        patch_size=draw.randint(2, 4),
        pos_emb_height=side,
        pos_emb_width=side,
        num_attention_heads=heads,
        num_hidden_layers=depth,
        hidden_size=4 * heads * draw.randint(2, 4),
        intermediate_size=draw.randint(16, 32),
        patch_temporal=draw.randint(1, 2),
        merge_size=draw.choice((1, 2, 2, 3)),
        layer_types=tuple(draw.choice(("full_attention", "window_attention")) for _ in range(depth)),
    )


def random_document(draw: random.Random, config: MuseConfig) -> Sequence:
    merge = config.vision_config.merge_size

    def grid() -> tuple[int, int, int]:
        return draw.choice((1, 1, 1, 2, 3)), merge * draw.randint(1, 12 // merge), merge * draw.randint(1, 6 // merge)

    grids = [grid() for _ in range(draw.choice((0, 1, 1, 2)))]
    return with_pictures(config, grids, seed=draw.randint(0, 10**6), text=draw.randint(1, 20))


def read_alone(model: Muse, document: Sequence) -> Tensor:
    logits: Tensor = model(document.ids, document.pixels, document.grids)
    return logits


def read_packed(model: Muse, documents: list[Sequence]) -> Tensor:
    """All documents in one row, none seeing another."""
    lengths = [document.ids.shape[1] for document in documents]
    pixels = [document.pixels for document in documents if document.pixels is not None]
    grids = [document.grids for document in documents if document.grids is not None]
    logits: Tensor = model(
        torch.cat([document.ids for document in documents], 1),
        torch.cat(pixels) if pixels else None,
        torch.cat(grids) if grids else None,
        document_ids=torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[None],
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
    )
    return logits


def read_step_by_step(model: Muse, documents: list[Sequence], steps: int) -> list[Tensor]:
    """As the engine does: a prefill each, then all rows together a token at a time. The logits of each, (T, vocab)."""
    longest = max(document.ids.shape[1] for document in documents)
    cache = KVCache(model.config.text_config, len(documents), longest + 1)
    logits = []
    for index, document in enumerate(documents):
        row = cache.rows(index, index + 1)
        features = None
        if document.pixels is not None and document.grids is not None:
            features = model.encode_images(document.pixels, document.grids)
        logits.append(model(document.ids[:, :-steps], image_features=features, kv_cache=row)[0])
        cache.lengths[index] = row.lengths[0]
    for step in range(-steps, 0):
        new = torch.cat([document.ids[:, step : (step + 1) or None] for document in documents])
        logits = [torch.cat((old, now)) for old, now in zip(logits, model(new, kv_cache=cache), strict=True)]
    return logits


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("spark", [False, True], ids=["glimmer", "spark"])
def test_a_random_network_is_the_reference_s(spark: bool, seed: int) -> None:
    draw = random.Random(f"{spark} {seed}")
    model = tiny_model(random_config(draw, spark), seed, spread=1.0)
    theirs = reference(model)
    documents = [random_document(draw, model.config) for _ in range(draw.randint(2, 3))]
    steps = min(3, min(document.ids.shape[1] for document in documents) - 1)
    expected = [run_reference(theirs, document) for document in documents]

    with torch.no_grad():
        for document, logits in zip(documents, expected, strict=True):
            assert apart(read_alone(model, document), logits) < LOGITS
        if steps:
            for cached, logits in zip(read_step_by_step(model, documents, steps), expected, strict=True):
                assert apart(cached, logits[0]) < LOGITS
        batch = text_tokens(3, 19, seed=seed)
        assert apart(model(batch), theirs(input_ids=batch).logits) < LOGITS

    packed, alone = read_packed(model, documents), torch.cat(expected, 1)
    assert apart(packed, alone) < LOGITS
    torch.autograd.backward((packed.square().mean(), alone.square().mean()))
    assert gradients_apart(model, theirs) < GRADIENTS


def gradients_apart(model: Muse, theirs: Any) -> float:
    """The largest of all tensors, each by its own scale (or a millionth of the largest gradient: the rest is noise)."""
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.grad is not None}
    floor = 1e-6 * max(float(gradient.abs().max()) for gradient in expected.values())
    worst = 0.0
    for name, parameter in model.named_parameters():
        if name in expected:
            ours = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            difference = float((ours - expected[name]).abs().max())
            worst = max(worst, difference / max(floor, float(expected[name].abs().max())))
    return worst
