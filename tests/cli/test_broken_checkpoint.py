"""`polymnia ask --model FOLDER` with a folder that cannot be used: one line that names the file, exit code 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from polymnia.agents.models import nano_folder
from polymnia.cli.main import run


def cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def spoil(folder: Path) -> None:
    """NaN in the last tensor: 0x7fff in bf16."""
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-2] + b"\xff\x7f")


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def change(name: str, key: str, value: object) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        values = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps({**values, key: value}), encoding="utf-8")

    return damage


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (cut, ["model.safetensors is cut short in tensor model.", "copy it again"]),
        (spoil, ["model.safetensors: tensor model.", "holds NaN or Inf"]),
        (lambda folder: (folder / "model.safetensors").unlink(), ["holds no model.safetensors"]),
        (lambda folder: (folder / "config.json").unlink(), ["config.json cannot be read", "checkpoint"]),
        (write("config.json", "{"), ["config.json is not JSON"]),
        (write("config.json", "[]"), ["config.json is no JSON object"]),
        (
            change("config.json", "model_type", "llama"),
            ["config.json: model_type is 'llama'", "name another"],
        ),
        (change("config.json", "image_token_id", "x"), ["config.json: image_token_id is 'x', it must be an integer"]),
        (write("tokenizer.json", ""), ["tokenizer.json is no tokenizer (", "copy it again"]),
        (write("tokenizer.json", '{"version": "1.0"}'), ["tokenizer.json is no tokenizer (", "copy it again"]),
        (change("tokenizer.json", "added_tokens", []), ["tokenizer.json does not fit (", "no token '<|"]),
        (lambda folder: (folder / "tokenizer.json").unlink(), ["tokenizer.json does not exist"]),
        (write("processor_config.json", "[1]"), ["processor_config.json is no image processor", "export"]),
        (write("processor_config.json", '{"patch_size": 0}'), ["no image processor (patch_size is 0)"]),
        (shutil.rmtree, ["unknown model", "choose nano, a checkpoint folder"]),
        (lambda folder: [path.unlink() for path in folder.iterdir()], ["config.json cannot be read"]),
    ],
)
def test_one_line_and_code_2(
    damage: Callable[[Path], object], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(nano_folder(), folder)
    damage(folder)
    assert run(["ask", "How many?", "--model", str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert str(folder) in err
    for part in parts:
        assert part in err


def test_a_file_in_place_of_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "How many?", "--model", str(nano_folder() / "model.safetensors")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "model.safetensors'" in err
    assert "a checkpoint folder" in err
