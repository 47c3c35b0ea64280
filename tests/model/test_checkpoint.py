"""Folders in and out, the weights digest, and the start of training."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.tiny import TINY, TINY_SPARK, text_tokens, tiny_model
from polymnia.model.checkpoint import load_checkpoint, save_checkpoint, weights_digest
from polymnia.model.config import MuseConfig
from polymnia.model.decoder import ResidualGate
from polymnia.model.init import init_weights, position_grid
from polymnia.model.muse import Muse


def test_dtype_as_stored_or_as_asked(tmp_path: Path) -> None:
    save_checkpoint(tiny_model().to(torch.bfloat16), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert load_checkpoint(tmp_path).lm_head.weight.dtype == torch.bfloat16
    assert load_checkpoint(tmp_path, torch.float32).lm_head.weight.dtype == torch.float32


def test_digest_is_of_the_weights_not_of_the_files(tmp_path: Path) -> None:
    model = tiny_model().to(torch.bfloat16)
    save_checkpoint(model, tmp_path)
    digest = weights_digest(model)
    assert weights_digest(tmp_path) == digest == weights_digest(load_checkpoint(tmp_path))

    state = load_file(tmp_path / "model.safetensors")
    shards: list[dict[str, torch.Tensor]] = [{}, {}]
    for index, name in enumerate(state):
        shards[index % 2][name] = state[name]
    (tmp_path / "model.safetensors").unlink()
    for index, shard in enumerate(shards):
        save_file(shard, tmp_path / f"model-{index}.safetensors")
    where = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(state)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert weights_digest(tmp_path) == digest == weights_digest(load_checkpoint(tmp_path))

    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    assert weights_digest(model) != digest


def test_digest_of_a_folder_needs_no_torch(tmp_path: Path) -> None:
    save_checkpoint(tiny_model(), tmp_path)
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from polymnia.model.digest import folder_digest\nimport polymnia.model.config\n"
        f"print(folder_digest(Path({str(tmp_path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == weights_digest(tmp_path)


@pytest.mark.parametrize("config", [TINY, TINY_SPARK], ids=["glimmer", "spark"])
def test_initialisation_is_set_by_its_seed_and_starts_quiet(config: MuseConfig) -> None:
    first, second, other = (tiny_model(config, seed) for seed in (5, 6, 7))
    for model, seed in ((first, 1), (second, 1), (other, 2)):
        init_weights(model, seed)
    text, again = (untouched_audio_apart(model) for model in (first, second))
    assert text.keys() == again.keys()
    assert all(torch.equal(text[name], again[name]) for name in text)  # whatever was there before
    assert weights_digest(first) != weights_digest(other)
    logits = first(text_tokens(2, 16))
    assert logits.abs().max() < 0.3
    assert first.num_parameters() == sum(parameter.numel() for parameter in first.parameters())


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 4, 12])
def test_sparks_gates_start_at_equal_shares(layers: int) -> None:
    """After 2 x layers blocks of size 1 the stream has size 1, and the embedding (1 - 1 / 2L)^2L of its square."""
    kinds: dict[str, Any] = {"num_hidden_layers": layers, "layer_types": (), "layer_rope": (), "mlp_layer_types": ()}
    model = Muse(replace(TINY_SPARK, text_config=replace(TINY_SPARK.text_config, **kinds)))
    init_weights(model, 0)
    gates = [module for module in model.modules() if isinstance(module, ResidualGate)]
    assert len(gates) == 2 * layers
    stream, zero = torch.ones(48), torch.zeros(48)
    for gate in gates:
        stream = gate(stream, zero)
        torch.testing.assert_close(gate(zero, torch.ones(48)), torch.full((48,), (2 * layers) ** -0.5))
    torch.testing.assert_close(stream.square(), torch.full((48,), (1 - 1 / (2 * layers)) ** (2 * layers)))


def untouched_audio_apart(model: Muse) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if "audio_tower" not in name}


def test_the_position_grid_is_smooth_and_tells_places_apart() -> None:
    grid = position_grid(8, 32).view(8, 8, 32)
    near = (grid[:, 1:] - grid[:, :-1]).norm(dim=-1).mean()
    far = (grid[:, 4:] - grid[:, :-4]).norm(dim=-1).mean()
    assert near < 0.7 * far
    assert torch.pdist(grid.view(64, 32)).min() > 0.1
    assert abs(float(grid.square().mean().sqrt()) - 0.3) < 0.05
