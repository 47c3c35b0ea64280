"""`polymnia model info`, on the shipped model and on folders that are none."""

import json
import shutil
from pathlib import Path

import pytest

from model.tiny import TINY_SPARK, tiny_model
from polymnia.agents.models import nano_folder
from polymnia.cli.main import run
from polymnia.model.accounting import parameters
from polymnia.model.checkpoint import save_checkpoint
from polymnia.model.config import load_config
from polymnia.model.digest import folder_digest


def test_what_nano_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "info", "nano", "--context", "512", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"]["total"] == parameters(load_config(nano_folder())).total
    assert found["weights_digest"] == folder_digest(nano_folder())
    assert found["card"]["recipe"] == "recipes/nano.py"
    assert found["dtype"] == "BF16"
    assert found["at_tokens"] == 512
    assert found["cache_bytes"]["sequence"] == 512 * found["cache_bytes"]["token"]
    assert run(["model", "info", str(nano_folder())]) == 0
    shown = capsys.readouterr().out
    assert found["weights_digest"] in shown
    assert f"{found['parameters']['total']:,}" in shown


def copy_of_nano(folder: Path) -> Path:
    return Path(shutil.copytree(nano_folder(), folder))


def test_a_mixture_of_experts_in_fp32(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(tiny_model(TINY_SPARK), tmp_path)
    assert run(["model", "info", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["architecture"], found["dtype"]) == ("muse_spark", "F32")
    parts = found["parameters"]
    assert parts["experts"] == 3 * 6 * 3 * 24 * 24  # sparse layers x experts x matrices
    elsewhere = parts["embedding"] + parts["tower"] + parts["adapter"] + parts["audio"]
    assert parts["active"] == parts["total"] - elsewhere - parts["experts"] * 4 // 6  # 2 of 6 experts a token
    assert run(["model", "info", str(tmp_path)]) == 0
    assert "experts" in capsys.readouterr().out


def test_a_checkpoint_without_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy_of_nano(tmp_path / "plain")
    (folder / "card.json").unlink()
    assert run(["model", "info", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"] == {}


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("config.json", "{", "is not JSON"),
        ("config.json", "[]", "holds no JSON object"),
        ("config.json", '{"model_type": "llama"}', "model_type is 'llama'"),
        ("model.safetensors", "not weights at all", "is no safetensors file"),
        ("model.safetensors", None, "holds no model.safetensors"),
        ("card.json", "{}}", "is no JSON object"),
        ("card.json", '{"weights_digest": "00"}', "is of other weights"),
    ],
)
def test_a_broken_folder_is_one_line_and_code_2(
    file: str, content: str | None, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy_of_nano(tmp_path / "broken") / file
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert run(["model", "info", str(path.parent)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert part in err


def test_weights_of_another_size_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy_of_nano(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    held, added = json.loads((folder / "card.json").read_text(encoding="utf-8"))["parameters"], 64
    config["text_config"]["intermediate_size"] += added
    more = 3 * added * config["text_config"]["hidden_size"] * config["text_config"]["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert run(["model", "info", str(folder)]) == 2
    told = f"the weights hold {held:,} numbers, config.json asks for {held + more:,}"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nowhere"], ["nano", "--context", "0"], ["nano", "--context", "99999"]])
def test_bad_arguments_are_one_line_and_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "info", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
