"""A training run as a person starts it: log, printed lines, Ctrl-C, resume; and its checkpoint folder.

`runs/<name>/state.pt` is what resume needs, `log.jsonl` what happened, one `Metrics` a line.
"""

import dataclasses
import json
import math
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

from polymnia.errors import RunError
from polymnia.model.checkpoint import save_checkpoint, weights_digest
from polymnia.model.muse import Muse
from polymnia.train.config import TrainConfig
from polymnia.train.loop import Trainer
from polymnia.train.packing import Maker


class TrainResult(NamedTuple):
    model: Muse
    """With the better of the final and the averaged weights, fp32."""
    finished: bool
    """False: interrupted; the state is saved and resume goes on."""
    card: dict[str, Any]
    """What the run can say of itself: config, seed, commit, tokens, FLOPs, metrics."""


def train(
    config: TrainConfig,
    model: Muse,
    make_example: Maker,
    *,
    runs: Path = Path("runs"),
    resume: bool = False,
    report: Callable[[str], None] | None = None,
) -> TrainResult:
    """Trains `model` in place; `make_example` is picklable. Ctrl-C or SIGTERM saves and returns.

    Raises RunError when there is something to resume and `resume` is not set, or the other way round.
    """
    say = report or _print
    folder = runs / config.name
    if not resume and (folder / "state.pt").exists():
        raise RunError(f"{folder} holds a run already: add --resume to go on, or remove the folder to start anew")
    trainer = Trainer(config, model, make_example, folder)
    if resume:
        trainer.load()
        say(f"resumed {folder} at step {trainer.step}, {trainer.seconds / 60:.1f} min, {trainer.tokens:,} tokens")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.jsonl"
    _cut_log(log, trainer.step)
    with _stop_on_signal(trainer, say), log.open("a") as out:
        for metrics in trainer.run():
            out.write(json.dumps(dataclasses.asdict(metrics)) + "\n")
            out.flush()
            say(metrics.line())
    finished = trainer.progress >= 1.0
    say(
        f"finished after {trainer.step} steps"
        if finished
        else f"saved at step {trainer.step} in {folder}; go on with --resume"
    )
    return TrainResult(model, finished, run_card(trainer))


def export(model: Muse, folder: Path, *, card: dict[str, Any], assets: Path | None = None) -> None:
    """Writes a checkpoint folder in bf16 that needs nothing else, and its card.json with the weights digest.

    `assets`: a folder whose files (tokenizer, template, processor, generation config) are copied along.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(assets.iterdir()) if assets and assets != folder else ():
        if file.is_file() and file.suffix in {".json", ".jinja"}:
            shutil.copyfile(file, folder / file.name)
    save_checkpoint(model.cast(torch.bfloat16), folder)
    whole = {**card, "parameters": model.num_parameters(), "weights_digest": weights_digest(folder)}
    (folder / "card.json").write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")


def run_card(trainer: Trainer) -> dict[str, Any]:
    """What a finished run states in card.json; the recipe adds its name and the data's digest."""
    last = trainer.last
    return {
        "config": dataclasses.asdict(trainer.config),
        "seed": trainer.config.seed,
        "commit": _commit(),
        "steps": trainer.step,
        "tokens": trainer.tokens,
        "flops": trainer.flops,
        "minutes": round(trainer.seconds / 60, 1),
        "torch": torch.__version__,
        "metrics": {
            **({"accuracy": last.accuracy, "families": last.families, "loss": last.loss} if last else {}),
            **{f"fresh_{name}": value for name, value in trainer.evaluation.items()},
        },
    }


def _commit() -> str:
    """The commit of the working tree, with `-dirty` if files differ from it; "unknown" outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changes = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip() + ("-dirty" if changes.stdout.strip() else "")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _cut_log(path: Path, step: int) -> None:
    """Drops what was logged after the state that the run goes on from, and a line cut off by a crash."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines(keepends=True) if _logged_step(line) <= step]
        path.write_text("".join(kept))


def _logged_step(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


@contextmanager
def _stop_on_signal(trainer: Trainer, say: Callable[[str], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the run after the step in hand; the second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        trainer.stop_requested = True
        say("stopping after this step ...")
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
