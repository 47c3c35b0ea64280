"""Our network against transformers' on the same random weights (fp32, tolerance 1e-4 on logits up to 14 in size)."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import MuseGlimmerForConditionalGeneration

from model.tiny import IMAGE_TOKEN, TINY, text_tokens, tiny_model
from polymnia.model.cache import KVCache
from polymnia.model.checkpoint import load_checkpoint, save_checkpoint
from polymnia.model.config import MuseConfig
from polymnia.model.muse import Muse

torch.set_num_threads(1)
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    save_checkpoint(tiny_model(), path)
    return path


@pytest.fixture(scope="module")
def oracle(folder: Path) -> MuseGlimmerForConditionalGeneration:
    model: MuseGlimmerForConditionalGeneration = MuseGlimmerForConditionalGeneration.from_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def ours(folder: Path) -> Muse:
    return load_checkpoint(folder)


def with_pictures(grids: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens with a run of placeholders a picture, pixels and grids."""
    ids = text_tokens(1, 9)
    for index, (frames, height, width) in enumerate(grids):
        ids = torch.cat(
            (ids, torch.full((1, frames * height * width // 4), IMAGE_TOKEN), text_tokens(1, 3, seed=index)), 1
        )
    patches = sum(frames * height * width for frames, height, width in grids)
    pixels = torch.rand(patches, TINY.vision_config.patch_dim, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return ids, pixels, torch.tensor(grids)


def worst(ours: Tensor, theirs: Tensor) -> float:
    assert theirs.abs().max() > 3, "logits too small to tell anything"
    return float((ours - theirs).abs().max())


@torch.no_grad()
def test_text_longer_than_the_sliding_window(ours: Muse, oracle: MuseGlimmerForConditionalGeneration) -> None:
    ids = text_tokens(2, 30)
    assert worst(ours(ids), oracle(input_ids=ids).logits) < TOLERANCE


@torch.no_grad()
def test_text_within_the_sliding_window(ours: Muse, oracle: MuseGlimmerForConditionalGeneration) -> None:
    ids = text_tokens(2, 8)
    assert worst(ours(ids), oracle(input_ids=ids).logits) < TOLERANCE


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
def test_pictures(grids: list[tuple[int, int, int]], ours: Muse, oracle: MuseGlimmerForConditionalGeneration) -> None:
    ids, pixels, thw = with_pictures(grids)
    theirs = oracle(input_ids=ids, pixel_values=pixels, image_grid_thw=thw).logits
    assert worst(ours(ids, pixels, thw), theirs) < TOLERANCE


@torch.no_grad()
def test_pictures_matter(ours: Muse) -> None:
    """Or the comparison above would compare nothing."""
    ids, pixels, thw = with_pictures([(1, 10, 20)])
    assert (ours(ids, pixels, thw) - ours(ids, pixels.flip(0), thw))[:, -1].abs().max() > 0.1


@torch.no_grad()
def test_step_by_step_with_the_cache(ours: Muse, oracle: MuseGlimmerForConditionalGeneration) -> None:
    ids = text_tokens(2, 30)
    cache = KVCache(TINY.text_config, rows=2, capacity=30)
    chunks = [ids[:, :5], *(ids[:, i : i + 1] for i in range(5, 20)), ids[:, 20:24], ids[:, 24:]]
    logits = torch.cat([ours(chunk, kv_cache=cache) for chunk in chunks], dim=1)
    assert worst(logits, oracle(input_ids=ids).logits) < TOLERANCE
    assert cache.lengths == [30, 30]


@torch.no_grad()
@pytest.mark.parametrize("key_value_heads", [1, 4])
def test_other_numbers_of_key_value_heads(key_value_heads: int, tmp_path: Path) -> None:
    config = replace(TINY, text_config=replace(TINY.text_config, num_key_value_heads=key_value_heads))
    save_checkpoint(tiny_model(config), tmp_path)
    ids = text_tokens(1, 12)
    theirs = MuseGlimmerForConditionalGeneration.from_pretrained(tmp_path)(input_ids=ids).logits
    assert worst(load_checkpoint(tmp_path)(ids), theirs) < TOLERANCE


@torch.no_grad()
def test_a_tower_without_layers_and_six_decoder_layers(tmp_path: Path) -> None:
    text = replace(TINY.text_config, num_hidden_layers=6, layer_types=(), layer_rope=())
    vision = replace(TINY.vision_config, num_hidden_layers=0, layer_types=())
    save_checkpoint(tiny_model(replace(TINY, text_config=text, vision_config=vision)), tmp_path)
    ids, pixels, thw = with_pictures([(1, 4, 6)])
    theirs = MuseGlimmerForConditionalGeneration.from_pretrained(tmp_path)(
        input_ids=ids, pixel_values=pixels, image_grid_thw=thw
    ).logits
    assert worst(load_checkpoint(tmp_path)(ids, pixels, thw), theirs) < TOLERANCE


@torch.no_grad()
def test_a_checkpoint_written_by_transformers(tmp_path: Path, oracle: MuseGlimmerForConditionalGeneration) -> None:
    oracle.save_pretrained(tmp_path)
    ids = text_tokens(1, 12)
    assert worst(load_checkpoint(tmp_path)(ids), oracle(input_ids=ids).logits) < TOLERANCE


def test_gradients_agree(ours: Muse, oracle: MuseGlimmerForConditionalGeneration) -> None:
    ids, pixels, thw = with_pictures([(1, 10, 4)])
    ours(ids, pixels, thw).square().mean().backward()
    oracle(input_ids=ids, pixel_values=pixels, image_grid_thw=thw).logits.square().mean().backward()
    theirs = dict(oracle.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = theirs[name].grad
        assert expected is not None
        tolerance = 1e-3 * float(expected.abs().max())
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=tolerance, msg=name)
    ours.zero_grad()
    oracle.zero_grad()


def test_config_travels_both_ways() -> None:
    assert MuseConfig.from_dict(TINY.to_dict()) == TINY
