"""Both architectures against transformers' on the same random weights: each fact of the layout, one test.

fp32, tolerance 1e-4 on logits up to 14 in size. Random shapes are in test_random_configs.py, folders in
test_folders.py.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch import Tensor

from model.oracle import Sequence, reference, run_reference, with_pictures
from model.tiny import AUDIO_TOKEN, IMAGE_TOKEN, TINY, TINY_SPARK, VIDEO_TOKEN, text_tokens, tiny_model
from polymnia.errors import InputError
from polymnia.model.cache import KVCache
from polymnia.model.config import MuseConfig, SparkTextConfig, TextConfig
from polymnia.model.experts import Router
from polymnia.model.muse import Muse

torch.set_num_threads(1)
TOLERANCE = 2e-4


class Pair(NamedTuple):
    ours: Muse
    theirs: Any


@pytest.fixture(scope="module", params=[TINY, TINY_SPARK], ids=["glimmer", "spark"])
def pair(request: pytest.FixtureRequest) -> Pair:
    model = tiny_model(request.param)
    return Pair(model, reference(model))


def pair_of(config: MuseConfig, **text: Any) -> Pair:
    """A pair whose text section differs from the tiny one's."""
    model = tiny_model(replace(config, text_config=replace(config.text_config, **text)))
    return Pair(model, reference(model))


def worst(ours: Tensor, theirs: Tensor) -> float:
    assert theirs.abs().max() > 3, "logits too small to tell anything"
    return float((ours - theirs).abs().max())


def worst_of(pair: Pair, sequence: Sequence) -> float:
    return worst(pair.ours(sequence.ids, sequence.pixels, sequence.grids), run_reference(pair.theirs, sequence))


@torch.no_grad()
@pytest.mark.parametrize("tokens", [8, 30], ids=["within the sliding window", "longer than it"])
def test_text(pair: Pair, tokens: int) -> None:
    ids = text_tokens(2, tokens)
    assert worst(pair.ours(ids), pair.theirs(input_ids=ids).logits) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(
    "grids",
    [
        pytest.param([(1, 4, 6)], id="one picture smaller than a window"),
        pytest.param([(1, 8, 8), (1, 8, 8)], id="two of one size, the window exactly"),
        pytest.param([(1, 4, 6), (1, 10, 20), (1, 4, 6), (1, 18, 8), (1, 2, 2)], id="ragged, some of several windows"),
        pytest.param([(3, 4, 10)], id="three frames"),
    ],
)
def test_pictures(pair: Pair, grids: list[tuple[int, int, int]]) -> None:
    assert worst_of(pair, with_pictures(pair.ours.config, grids)) < TOLERANCE


@torch.no_grad()
def test_pictures_matter(pair: Pair) -> None:
    """Or the comparison above would compare nothing."""
    ids, pixels, grids = with_pictures(pair.ours.config, [(1, 10, 20)])
    assert pixels is not None
    assert (pair.ours(ids, pixels, grids) - pair.ours(ids, pixels.flip(0), grids))[:, -1].abs().max() > 0.1


@torch.no_grad()
def test_a_video_is_a_picture_of_several_frames(pair: Pair) -> None:
    """With its own placeholder, as transformers' processor writes it: groups of frames, text between them."""
    sequence = with_pictures(pair.ours.config, [(1, 4, 6), (1, 4, 6)])
    video = sequence.ids.masked_fill(sequence.ids == IMAGE_TOKEN, VIDEO_TOKEN)
    grids = torch.tensor([(2, 4, 6)])
    theirs = pair.theirs(input_ids=video, pixel_values_videos=sequence.pixels, video_grid_thw=grids).logits
    assert worst(pair.ours(video, sequence.pixels, grids), theirs) < TOLERANCE


@torch.no_grad()
def test_step_by_step_with_the_cache(pair: Pair) -> None:
    ids = text_tokens(2, 30)
    cache = KVCache(pair.ours.config.text_config, rows=2, capacity=30)
    chunks = [ids[:, :5], *(ids[:, i : i + 1] for i in range(5, 20)), ids[:, 20:24], ids[:, 24:]]
    logits = torch.cat([pair.ours(chunk, kv_cache=cache) for chunk in chunks], dim=1)
    assert worst(logits, pair.theirs(input_ids=ids).logits) < TOLERANCE
    assert cache.lengths == [30, 30]


@torch.no_grad()
@pytest.mark.parametrize("config", [TINY, TINY_SPARK], ids=["glimmer", "spark"])
@pytest.mark.parametrize("key_value_heads", [1, 4])
def test_other_numbers_of_key_value_heads(config: MuseConfig, key_value_heads: int) -> None:
    pair = pair_of(config, num_key_value_heads=key_value_heads)
    assert worst_of(pair, with_pictures(config, [])) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("config", [TINY, TINY_SPARK], ids=["glimmer", "spark"])
def test_a_tower_without_layers(config: MuseConfig) -> None:
    model = tiny_model(
        replace(config, vision_config=replace(config.vision_config, num_hidden_layers=0, layer_types=()))
    )
    assert worst_of(Pair(model, reference(model)), with_pictures(config, [(1, 4, 6)])) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("config", [TINY, TINY_SPARK], ids=["glimmer", "spark"])
@pytest.mark.parametrize("layers", [3, 6])
def test_full_layers_are_counted_back_from_the_last(config: MuseConfig, layers: int) -> None:
    """Where config.json lists no layer types: both sides take their own default."""
    text: dict[str, Any] = {"num_hidden_layers": layers, "layer_types": (), "layer_rope": ()}
    if config.is_spark:
        text["mlp_layer_types"] = ()
    pair = pair_of(config, **text)
    listed = pair.ours.config.to_dict()["text_config"]
    assert pair.theirs.config.text_config.layer_types == listed["layer_types"]
    for name in ("layer_types", "layer_rope_theta", "mlp_layer_types"):
        listed.pop(name, None)
    section = type(pair.theirs.config.text_config)(**listed)
    assert section.layer_types == list(pair.ours.config.text_config.layer_types)
    assert [bool(theta) for theta in section.layer_rope_theta] == list(pair.ours.config.text_config.layer_rope)
    assert worst_of(pair, with_pictures(config, [], text=20)) < TOLERANCE


@torch.no_grad()
def test_the_correction_bias_takes_part_in_the_choice_alone() -> None:
    """A bias on all experts alike changes nothing; one that is large settles who is chosen."""
    model, ids = tiny_model(TINY_SPARK), text_tokens(2, 12)
    before = model(ids)
    routers = [module for module in model.modules() if isinstance(module, Router)]
    for router in routers:
        router.e_score_correction_bias += 1
    torch.testing.assert_close(model(ids), before, rtol=0, atol=1e-4)
    for router in routers:
        router.e_score_correction_bias[:2] += 10
    assert (model(ids) - before).abs().max() > 0.1
    assert worst(model(ids), reference(model)(input_ids=ids).logits) < TOLERANCE


def test_gradients_agree(pair: Pair) -> None:
    sequence = with_pictures(pair.ours.config, [(1, 10, 4)])
    logits = pair.ours(sequence.ids, sequence.pixels, sequence.grids), run_reference(pair.theirs, sequence)
    torch.autograd.backward([each.square().mean() for each in logits])
    theirs = dict(pair.theirs.named_parameters())
    for name, parameter in pair.ours.named_parameters():
        expected = theirs[name].grad
        if "audio_tower" in name:
            assert expected is None
            continue
        assert expected is not None
        tolerance = 1e-3 * float(expected.abs().max())
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=tolerance, msg=name)
    pair.ours.zero_grad()
    pair.theirs.zero_grad()


def test_audio_is_refused_in_one_line(pair: Pair) -> None:
    ids = text_tokens(1, 9)
    ids[0, 3] = AUDIO_TOKEN
    if not pair.ours.config.is_spark:
        assert pair.ours(ids).isfinite().all()  # a token like any other
        return
    with pytest.raises(InputError, match=r"audio \(token 4\).*leave the audio out") as caught:
        pair.ours(ids)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [TINY, TINY_SPARK], ids=["glimmer", "spark"])
def test_config_travels_both_ways(config: MuseConfig) -> None:
    assert MuseConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(("section", "kind"), [(TextConfig, "MuseGlimmer"), (SparkTextConfig, "MuseSpark")])
def test_defaults_are_the_released_networks(section: type[TextConfig], kind: str) -> None:
    theirs = getattr(transformers, f"{kind}Config")().to_dict()
    ours = MuseConfig.from_dict({"model_type": theirs["model_type"]})
    assert isinstance(ours.text_config, section)
    for name, value in ours.to_dict().items():
        if isinstance(value, dict) and name != "audio_config":
            assert {key: theirs[name][key] for key in value} == value
