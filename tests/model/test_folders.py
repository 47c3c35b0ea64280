"""Folders between us and transformers, both ways: no key missing or left over, the same tokens out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from model.oracle import (
    Sequence,
    greedy,
    load_reference,
    reference,
    reference_greedy,
    run_reference,
    with_pictures,
)
from model.tiny import TINY, TINY_SPARK, text_tokens, tiny_model
from polymnia.agents.models import nano_folder
from polymnia.data.images import ImageProcessor
from polymnia.data.tokenizer import Tokenizer
from polymnia.model.checkpoint import load_checkpoint, save_checkpoint, weights_digest
from polymnia.model.config import MuseConfig, silent_audio

torch.set_num_threads(1)
both = pytest.mark.parametrize("config", [TINY, TINY_SPARK], ids=["glimmer", "spark"])


def stored_dtypes(folder: Path) -> dict[str, str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118


@both
@pytest.mark.parametrize("pictures", [[], [(1, 4, 6), (2, 8, 2)]], ids=["text", "pictures"])
def test_transformers_loads_ours_and_says_the_same(
    config: MuseConfig, pictures: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    save_checkpoint(tiny_model(config), tmp_path)
    sequence = with_pictures(config, pictures)
    theirs = reference_greedy(load_reference(tmp_path, config), sequence, 20)
    assert greedy(load_checkpoint(tmp_path), sequence, 20) == theirs
    assert len(set(theirs)) > 3


@both
@torch.no_grad()
def test_ours_loads_what_transformers_saved(config: MuseConfig, tmp_path: Path) -> None:
    theirs = reference(tiny_model(config))
    theirs.save_pretrained(tmp_path)
    model, sequence = load_checkpoint(tmp_path), with_pictures(config, [(1, 4, 6)])
    assert model.config == config
    torch.testing.assert_close(
        model(sequence.ids, sequence.pixels, sequence.grids), run_reference(theirs, sequence), rtol=0, atol=1e-4
    )


@both
def test_in_shards(config: MuseConfig, tmp_path: Path) -> None:
    model = tiny_model(config)
    save_checkpoint(model, tmp_path)
    whole = weights_digest(tmp_path)
    save_checkpoint(model, tmp_path, max_shard_bytes=40_000)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 3
    assert not (tmp_path / "model.safetensors").exists()
    assert all(file.stat().st_size < 60_000 or len(list(safe_names(file))) == 1 for file in files)
    assert weights_digest(tmp_path) == whole == weights_digest(load_checkpoint(tmp_path))
    load_reference(tmp_path, config)

    save_checkpoint(model, tmp_path)  # and back, with nothing left of the shards
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert weights_digest(tmp_path) == whole


def safe_names(file: Path) -> list[str]:
    with safe_open(file, "pt") as opened:
        return list(opened.keys())


def test_routers_and_residual_gates_stay_in_fp32(tmp_path: Path) -> None:
    model = tiny_model(TINY_SPARK).cast(torch.bfloat16)
    save_checkpoint(model, tmp_path)
    dtypes = stored_dtypes(tmp_path)
    kept = {name for name, dtype in dtypes.items() if dtype == "F32"}
    assert {name.split(".", 4)[-1] for name in kept if ".layers.1." in name} == {
        "mlp.gate.weight",
        "mlp.gate.e_score_correction_bias",
        "post_attention_residual_gate.gate",
        "post_feedforward_residual_gate.gate",
    }
    assert set(dtypes.values()) == {"F32", "BF16"}
    theirs = load_reference(tmp_path, TINY_SPARK).state_dict()
    for loaded in (load_checkpoint(tmp_path), load_checkpoint(tmp_path, torch.bfloat16)):
        for name, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[name])
            assert tensor.dtype == theirs[name].dtype == model.state_dict()[name].dtype
    assert {tensor.dtype for tensor in load_checkpoint(tmp_path, torch.float32).state_dict().values()} == {
        torch.float32
    }


@torch.no_grad()
def test_bf16_follows_transformers_bf16(tmp_path: Path) -> None:
    """Both round in places of their own, so only roughly."""
    exact = tiny_model(TINY_SPARK, spread=1.0)
    ids = text_tokens(2, 12)
    logits = exact(ids)
    save_checkpoint(exact.cast(torch.bfloat16), tmp_path)
    scale = 0.02 * float(logits.abs().max())
    assert (load_checkpoint(tmp_path)(ids).float() - logits).abs().mean() < scale
    assert (load_reference(tmp_path, TINY_SPARK)(input_ids=ids).logits.float() - logits).abs().mean() < scale


def test_audio_weights_are_kept_to_the_bit(tmp_path: Path) -> None:
    theirs = reference(tiny_model(TINY_SPARK))
    theirs.save_pretrained(tmp_path / "theirs")
    digest = weights_digest(tmp_path / "theirs")
    save_checkpoint(load_checkpoint(tmp_path / "theirs"), tmp_path / "ours")
    assert weights_digest(tmp_path / "ours") == digest
    audio = {name: tensor for name, tensor in theirs.state_dict().items() if "audio_tower" in name}
    assert len(audio) > 20
    again = load_reference(tmp_path / "ours", TINY_SPARK).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in audio.items())


@torch.no_grad()
def test_without_audio_the_silent_tower_makes_the_folder_whole(tmp_path: Path) -> None:
    config = replace(TINY_SPARK, audio_config=None)
    assert config.audio_config == silent_audio(48)
    model = tiny_model(TINY_SPARK)
    text_only = {name: tensor for name, tensor in model.state_dict().items() if "audio_tower" not in name}
    save_checkpoint(model, tmp_path)
    save_file(text_only, tmp_path / "model.safetensors")
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == config
    save_checkpoint(loaded, tmp_path)
    theirs = load_reference(tmp_path, config)
    ids = text_tokens(1, 9)
    torch.testing.assert_close(loaded(ids), theirs(input_ids=ids).logits, rtol=0, atol=1e-4)
    heard = theirs.model.get_audio_features(torch.randn(1, 2 * 1920)).pooler_output
    assert heard.shape == (2, 48)
    assert not heard.any()  # silence, whatever is played


def nano_prompt(question: str, picture: Image.Image | None) -> Sequence:
    """As `data.template` writes it, in short."""
    tokenizer, processor = Tokenizer.from_folder(nano_folder()), ImageProcessor.from_folder(nano_folder())
    before, after = "<|begin_of_text|><|start|>user<|message|>", f"{question}<|eot|><|start|>assistant"
    if picture is None:
        return Sequence(torch.tensor([tokenizer.encode(before + after, specials=True)]), None, None)
    processed = processor.process(picture)
    patches = "<|image_start|>" + "<|patch|>" * processed.num_tokens + "<|image_end|>"
    ids = torch.tensor([tokenizer.encode(before + patches + after, specials=True)])
    return Sequence(ids, torch.from_numpy(np.asarray(processed.patches)).float(), torch.tensor([processed.grid]))


@pytest.mark.parametrize("picture", [None, Image.new("RGB", (224, 168), "navy")], ids=["text", "picture"])
def test_nano_says_the_same_in_transformers(picture: Image.Image | None) -> None:
    model = load_checkpoint(nano_folder(), torch.float32)
    theirs = load_reference(nano_folder(), model.config).float()
    sequence = nano_prompt("How many circles are there?", picture)
    assert greedy(model, sequence, 24) == reference_greedy(theirs, sequence, 24)
