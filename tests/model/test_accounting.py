"""Counted from the config against counted on the network: parameters, and torch's own FLOP counter."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.tiny import TINY, TINY_SPARK, text_tokens
from polymnia.model.accounting import (
    Grid,
    active_parameters,
    cache_bytes,
    decode_flops,
    image_flops,
    parameters,
    prefill_flops,
    training_flops,
)
from polymnia.model.cache import KVCache
from polymnia.model.config import FULL, SLIDING, MuseConfig
from polymnia.model.muse import Muse

torch.set_num_threads(1)


def varied(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None) -> MuseConfig:
    return replace(
        TINY,
        text_config=replace(TINY.text_config, **(text or {})),
        vision_config=replace(TINY.vision_config, **(vision or {})),
    )


def spark(**text: Any) -> MuseConfig:
    return replace(TINY_SPARK, text_config=replace(TINY_SPARK.text_config, **text))


CONFIGS = [
    pytest.param(TINY, id="tiny"),
    pytest.param(varied({"num_key_value_heads": 4, "vocab_size": 300}), id="as many keys as queries"),
    pytest.param(varied({"num_key_value_heads": 1, "head_dim": 20}), id="one key-value head, heads wider than width"),
    pytest.param(varied({"num_hidden_layers": 6, "layer_types": (), "layer_rope": ()}), id="six layers"),
    pytest.param(varied(vision={"num_hidden_layers": 0, "layer_types": ()}), id="a tower without layers"),
    pytest.param(replace(varied(vision={"intermediate_size": 80}), projector_hidden_size=24), id="another adapter"),
    pytest.param(TINY_SPARK, id="experts"),
    pytest.param(spark(num_experts_per_tok=6, moe_intermediate_size=32, mlp_layer_types=()), id="all experts, always"),
    pytest.param(spark(num_local_experts=9, num_experts_per_tok=1, moe_hidden_size=32), id="one expert a token"),
]
PARTS = {
    "audio": ("audio_tower",),
    "embedding": ("embed_tokens",),
    "attention": ("self_attn",),
    "norms": ("language_model", "norm"),
    "experts": ("mlp.experts",),
    "mlp": (".mlp.", "language_model"),
    "head": ("lm_head",),
    "tower": ("vision_tower",),
    "adapter": ("vision_",),
}


def network(config: MuseConfig) -> Muse:
    torch.manual_seed(0)
    return Muse(config)


def grouped_product(a: Sequence[int], b: Sequence[int], *_: object, **__: object) -> int:
    """FLOPs of `_grouped_mm`, which the counter does not know: each of `a`'s rows meets one expert."""
    return 2 * a[0] * a[1] * b[-1]


def counted(run: Callable[[], object]) -> int:
    # Nor does it know the CPU's fused attention; the plain one is the same products.
    known = {
        torch.ops.aten._grouped_mm: grouped_product,
        torch.ops.polymnia.product: lambda x, weight, **_: 2 * x[0] * x[1] * weight[0],
        torch.ops.polymnia.product_by_weight: lambda above, x, **_: 2 * x[0] * x[1] * above[1],
    }
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=known) as counter:
        run()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_by_part(config: MuseConfig) -> None:
    found = dict.fromkeys(PARTS, 0)
    with torch.device("meta"):
        model = Muse(config)
    for name, parameter in model.named_parameters():
        counted_as = name.replace("residual_gate", "norm")
        part = next(part for part, words in PARTS.items() if all(word in counted_as for word in words))
        found[part] += parameter.numel()
    assert asdict(parameters(config)) == found
    assert parameters(config).total == model.num_parameters()


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("tokens", [5, 40])
def test_prefill(config: MuseConfig, tokens: int) -> None:
    model, ids = network(config), text_tokens(1, tokens)
    with torch.no_grad():
        found = counted(lambda: model.logits(model.hidden_states(ids)[:, -1]))
        assert found == pytest.approx(prefill_flops(config, tokens), rel=0.01)
        found = counted(lambda: model(ids))
    assert found == pytest.approx(prefill_flops(config, tokens, logits=tokens), rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("context", [1, 7, 40])
def test_decoding(config: MuseConfig, context: int) -> None:
    model, ids = network(config), text_tokens(1, context)
    cache = KVCache(config.text_config, rows=1, capacity=context)
    if context > 1:
        model(ids[:, :-1], kv_cache=cache)
    found = counted(lambda: model(ids[:, -1:], kv_cache=cache))
    assert found == pytest.approx(decode_flops(config, context), rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("grid", [(1, 4, 6), (1, 18, 10), (2, 8, 20)])
def test_pictures(config: MuseConfig, grid: Grid) -> None:
    model, patches = network(config), grid[0] * grid[1] * grid[2]
    pixels = torch.rand(patches, config.vision_config.patch_dim)
    found = counted(lambda: model.encode_images(pixels, torch.tensor([grid])))
    assert found == pytest.approx(image_flops(config, grid), rel=0.01)


@pytest.mark.parametrize("config", CONFIGS)
def test_training(config: MuseConfig) -> None:
    """Packed rows with pictures; the vocabulary only at some positions."""
    model, grids = network(config), [(1, 4, 6), (1, 8, 10)]
    ids = text_tokens(2, 50)
    ids[0, 3:9] = ids[1, 20:40] = config.image_token_id
    pixels = torch.rand(24 + 80, config.vision_config.patch_dim)
    documents = (torch.arange(50) // 30).expand(2, -1)

    def step() -> None:
        features = model.encode_images(pixels, torch.tensor(grids))
        hidden = model.hidden_states(ids, image_features=features, document_ids=documents)
        model.logits(hidden.flatten(0, 1)[:17]).sum().backward()  # type: ignore[no-untyped-call]

    expected = training_flops(config, rows=2, row_tokens=50, trained=17, grids=grids)
    assert counted(step) == pytest.approx(expected, rel=0.01)


def test_cache_bytes_by_hand() -> None:
    config = varied({"layer_types": (SLIDING, FULL, FULL, SLIDING), "sliding_window": 8})
    # 2 (K and V) x 2 heads x 12 numbers x 2 bytes = 96 a token and layer
    assert cache_bytes(config, 1) == 4 * 96
    assert cache_bytes(config, 8) == 8 * 4 * 96
    assert cache_bytes(config, 100) == (2 * 8 + 2 * 100) * 96
    assert cache_bytes(config, 1, number_bytes=4) == 8 * 96


def test_the_published_sizes() -> None:
    """The family's names give them: Muse Glimmer 30B, Muse Spark Open 816B A42B."""
    dense = MuseConfig.from_dict({"model_type": "muse_glimmer"})
    assert parameters(dense).total == pytest.approx(30e9, rel=0.02)
    experts = MuseConfig.from_dict({"model_type": "muse_spark"})
    assert parameters(experts).total == pytest.approx(816e9, rel=0.01)
    assert active_parameters(experts) == pytest.approx(42e9, rel=0.06)
