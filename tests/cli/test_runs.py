"""`polymnia runs` over a real database in a folder of its own."""

import asyncio
import json
from pathlib import Path

import pytest

from polymnia.cli.main import run
from polymnia.store import CallResult, open_store


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMNIA_HOME", str(tmp_path))


def fill() -> None:
    async def call(key: str) -> CallResult:
        return CallResult({"text": "7"}, usage={"completion_tokens": 3})

    async def work() -> None:
        async with await open_store() as store:
            log = await store.acquire(await store.create_run(question="How many?\nCount them.", run="run_old"))
            await log.call("/a0", "model", {}, call)
            await log.emit({"type": "run_finished"})
            await log.finish("finished")
            await store.acquire(await store.create_run(question="And now?", run="run_new"))

    asyncio.run(work())


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert run(["runs", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "list") == []
    fill()
    new, old = (json.loads(line) for line in printed(capsys, "list", "--json"))
    assert set(new) == {"run", "state", "question", "created"}
    assert (new["run"], new["state"]) == ("run_new", "interrupted")
    assert (old["run"], old["state"], old["question"]) == ("run_old", "finished", "How many?\nCount them.")
    assert old["created"] < new["created"]
    assert printed(capsys, "list")[1].endswith("How many? Count them.")
    assert len(printed(capsys, "list", "--limit", "1")) == 1


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    fill()
    (line,) = printed(capsys, "show", "run_old", "--json")
    shown = json.loads(line)
    assert (shown["run"], shown["state"], shown["events"]) == ("run_old", "finished", 1)
    (call,) = shown["calls"]
    assert (call["path"], call["name"], call["ordinal"]) == ("/a0", "model", 0)
    assert call["usage"] == {"completion_tokens": 3}
    lines = printed(capsys, "show", "run_old")
    assert "state     finished" in lines
    assert lines[-1].endswith("/a0/model.0")


def test_prune(capsys: pytest.CaptureFixture[str]) -> None:
    fill()
    assert printed(capsys, "prune", "--older-than", "30") == ["deleted 0 runs"]
    assert printed(capsys, "prune", "--older-than", "0", "--json") == ['{"pruned": 2}']
    assert printed(capsys, "list") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "run_nobody"], "there is no run run_nobody: `polymnia runs list` names those there are"),
        (["prune", "--older-than", "-1"], "--older-than -1.0 is not a number of days: give one from 0 up"),
        (["prune", "--older-than", "nan"], "--older-than nan is not a number of days"),
        (["list", "--limit", "-3"], "--limit -3 is not a number of runs"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(["runs", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
