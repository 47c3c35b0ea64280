"""A run that was stopped and resumed ends with the weights of one that was not, to the bit."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from model.tiny import TINY, TINY_SPARK, tiny_model
from polymnia.errors import InputError, RunError
from polymnia.model.checkpoint import load_checkpoint, weights_digest
from polymnia.model.config import MuseConfig
from polymnia.train.config import TrainConfig
from polymnia.train.loop import Trainer
from polymnia.train.packing import PackState, Shape
from polymnia.train.run import export, train
from polymnia.train.stream import BatchStream
from train.examples import make_example

CONFIG = TrainConfig(
    name="tiny", rows=2, row_tokens=48, steps=6, log_every=1, aux_classes=(3, 2), threads=1, workers=0,
    compile=False, evaluate_batches=1,
)  # fmt: skip


both = pytest.mark.parametrize("shape", [TINY, TINY_SPARK], ids=["glimmer", "spark"])


@both
def test_resume_is_exact(shape: MuseConfig, tmp_path: Path) -> None:
    whole = train(CONFIG, tiny_model(shape), make_example, runs=tmp_path / "whole")
    folder = tmp_path / "cut" / "tiny"
    first = Trainer(CONFIG, tiny_model(shape), make_example, folder)
    for metrics in first.run():
        first.stop_requested = metrics.step == 3
    assert first.step == 3
    rest = train(CONFIG, tiny_model(shape, seed=9), make_example, runs=tmp_path / "cut", resume=True)
    assert rest.finished
    assert weights_digest(rest.model) == weights_digest(whole.model)
    assert rest.card["tokens"] == whole.card["tokens"]
    assert rest.card["flops"] == whole.card["flops"] > 0


@both
def test_training_lowers_the_loss(shape: MuseConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=12)
    train(config, tiny_model(shape), lambda index: make_example(index % 4), runs=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert set(lines[0]["families"]) == {"picture", "text"}


def test_an_exported_folder_has_no_auxiliary_head(tmp_path: Path) -> None:
    result = train(CONFIG, tiny_model(), make_example, runs=tmp_path)
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "tokenizer.json").write_text("{}")
    export(result.model, tmp_path / "out", card=result.card, assets=assets)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(tiny_model().state_dict())
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["weights_digest"] == weights_digest(tmp_path / "out")
    assert next(load_checkpoint(tmp_path / "out").parameters()).dtype == torch.bfloat16
    assert (tmp_path / "out" / "tokenizer.json").exists()


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="without --resume"):
        train(CONFIG, tiny_model(), make_example, runs=tmp_path, resume=True)
    train(CONFIG, tiny_model(), make_example, runs=tmp_path)
    with pytest.raises(RunError, match="--resume"):
        train(CONFIG, tiny_model(), make_example, runs=tmp_path)
    with pytest.raises(RunError, match="rows"):
        train(dataclasses.replace(CONFIG, rows=3), tiny_model(), make_example, runs=tmp_path, resume=True)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    said: list[str] = []

    def report(line: str) -> None:
        said.append(line)
        if line.startswith("step      2"):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    result = train(CONFIG, tiny_model(), make_example, runs=tmp_path, report=report)
    assert not result.finished
    assert "--resume" in said[-1]
    assert signal.getsignal(signal.SIGINT) is before
    assert train(CONFIG, tiny_model(), make_example, runs=tmp_path, resume=True).card["steps"] == CONFIG.steps


def test_progress_follows_steps_or_clock_whichever_is_further() -> None:
    config = TrainConfig(name="x", steps=100, minutes=10)
    assert config.progress(50, 60) == pytest.approx(0.5)
    assert config.progress(10, 480) == pytest.approx(0.8)
    assert config.progress(500, 0) == 1.0
    with pytest.raises(InputError, match="no end"):
        TrainConfig(name="x")


@pytest.mark.slow
def test_workers_make_the_same_batches_again_from_a_state() -> None:
    shape = Shape(2, 48, kinds=2)
    with BatchStream(make_example, shape, workers=2) as stream:
        batches = [next(stream) for _ in range(3)]
        states, turn = [PackState(s.next_index, s.waiting, s.too_long) for s in stream.states], stream.turn
        following = next(stream)
    with BatchStream(make_example, shape, workers=2, states=states) as stream:
        stream.turn = turn
        again = next(stream)
    assert torch.equal(following.input_ids, again.input_ids)
    assert not torch.equal(batches[0].input_ids, batches[1].input_ids)
