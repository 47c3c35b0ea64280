"""`polymnia export`: what is written can be used, and what goes wrong leaves nothing behind."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, MuseGlimmerForConditionalGeneration

from polymnia.agents.models import nano_folder
from polymnia.cli.main import run
from polymnia.model.checkpoint import load_checkpoint
from polymnia.model.digest import folder_digest
from polymnia.model.files import stored_tensors

NANO = nano_folder()


def exported(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["export", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_hf_is_nano_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "nano"
    found = exported(["hf", "nano", str(out)], capsys)
    assert found["weights_digest"] == folder_digest(out) == folder_digest(NANO)
    assert found["files"] == {file.name: file.stat().st_size for file in out.iterdir()}
    assert set(found["files"]) == {file.name for file in NANO.iterdir()}
    assert json.loads((out / "card.json").read_text()) == json.loads((NANO / "card.json").read_text())
    assert (out / "model.safetensors").stat().st_mode == (out / "config.json").stat().st_mode
    assert list(out.parent.iterdir()) == [out]


def test_transformers_reads_it_in_another_dtype_and_in_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = exported(["hf", "nano", str(tmp_path), "--dtype", "fp32", "--max-shard-size", "3MB"], capsys)
    shards = list(tmp_path.glob("*.safetensors"))
    assert len(shards) > 3
    assert max(file.stat().st_size for file in shards) < 3_100_000  # the header comes on top
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["weights_digest"] == found["weights_digest"] == folder_digest(tmp_path)
    assert card["converted_from"] == folder_digest(NANO)
    assert run(["model", "info", str(tmp_path)]) == 0

    theirs = MuseGlimmerForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager")
    assert theirs.dtype == torch.float32
    ids = torch.tensor([AutoTokenizer.from_pretrained(tmp_path).encode("How many red circles are there?")])
    ours = load_checkpoint(NANO, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), rtol=0, atol=1e-4)


def test_gguf_takes_its_name_from_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = shutil.copytree(NANO, tmp_path / "mine")
    found = exported(["gguf", str(mine), str(tmp_path / "out"), "--dtype", "f16"], capsys)
    assert sorted(found["files"]) == ["mine.gguf", "mmproj-mine.gguf"]
    assert found["weights_digest"] == folder_digest(NANO)
    assert (tmp_path / "out" / "mine.gguf").read_bytes()[:4] == b"GGUF"
    assert run(["export", "gguf", "nano", str(tmp_path / "text")]) == 0
    shown = capsys.readouterr().out
    assert "mmproj-nano.gguf" in shown
    assert folder_digest(NANO) in shown


def test_force_replaces_what_would_mix_and_keeps_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(["hf", "nano", str(tmp_path), "--max-shard-size", "3MB"], capsys)
    (tmp_path / "notes.txt").write_text("mine")
    assert run(["export", "hf", "nano", str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert exported(["gguf", "nano", str(tmp_path), "--force"], capsys)["files"].keys() == {
        "nano.gguf",
        "mmproj-nano.gguf",
    }
    exported(["hf", "nano", str(tmp_path), "--force"], capsys)
    assert {file.name for file in tmp_path.iterdir()} == {
        *(file.name for file in NANO.iterdir()),
        *("notes.txt", "nano.gguf", "mmproj-nano.gguf"),
    }
    assert folder_digest(tmp_path) == folder_digest(NANO)


def test_a_failure_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = shutil.copytree(NANO, tmp_path / "broken")
    last = max(stored_tensors(broken), key=lambda tensor: tensor.start)
    with (broken / "model.safetensors").open("r+b") as stream:
        stream.truncate(last.start + 1)
    out = tmp_path / "out"
    for command in ("hf", "gguf"):
        assert run(["export", command, str(broken), str(out)]) == 2
        err = capsys.readouterr().err
        assert "is cut short" in err
        assert err.count("\n") == 1
        assert list(tmp_path.iterdir()) == [broken]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "card.json").mkdir()  # in the way of a file
    (out / "card.json" / "x").write_text("")
    assert run(["export", "hf", "nano", str(out), "--force"]) == 1
    err = capsys.readouterr().err
    assert f"{out} cannot be written" in err
    assert err.count("\n") == 1
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(("command", "missing", "extra"), [("gguf", "gguf", "gguf"), ("hf", "torch", "local")])
def test_a_missing_extra_is_named(
    command: str,
    missing: str,
    extra: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert run(["export", command, "nano", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert f'pip install "polymnia[{extra}]"' in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "Missing command"),
        (["hf", "nano"], "Missing argument"),
        (["hf", "nowhere", "{tmp}/out"], "there is no folder nowhere"),
        (["gguf", "{tmp}", "{tmp}/out"], "holds no config.json"),
        (["hf", "nano", "{tmp}/out", "--dtype", "int4"], "--dtype int4 is unknown"),
        (["gguf", "nano", "{tmp}/out", "--dtype", "q4_0"], "--dtype q4_0 is unknown"),
        (["hf", "nano", "{tmp}/out", "--max-shard-size", "big"], "--max-shard-size big is no size"),
        (["hf", "nano", "{tmp}/out", "--max-shard-size", "0"], "--max-shard-size 0 is no size"),
        (["hf", "nano", "{tmp}/file"], "file is a file"),
        (["hf", "nano", "{tmp}/file/out"], "cannot be made"),
        (["hf", "{nano}", "{nano}", "--force"], "is the checkpoint itself"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    filled = [one.format(tmp=tmp_path, nano=NANO) for one in arguments]
    assert run(["export", *filled]) == 2
    err = capsys.readouterr().err
    assert part in err
    assert err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
