"""`polymnia ask` against a real endpoint: what is on stdout, what on stderr, and the exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.responses import Response

from agents.endpoint import Endpoint, Json, chunk, error, says, serving, stream, usage
from polymnia.cli.main import run

SUM = {"id": "x", "index": 0, "function": {"name": "python", "arguments": '{"code": "7+13"}'}}


def computing(body: Json, number: int) -> Response:
    """An endpoint whose model computes with the tool and then says what it gave."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return stream(says(last["content"]))
    return stream([chunk({"tool_calls": [SUM]}), chunk({}, finish="tool_calls"), usage(50, 10)])


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with serving() as one:
        yield one


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.reply = computing
    server.bodies.clear()
    server.hung_up.clear()
    return server


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), "red").save(path)
    return path


def ask(endpoint: Endpoint, *arguments: str) -> int:
    return run(["ask", "How many?", "--model", f"{endpoint.url}#m", *arguments])


def test_the_answer_is_on_stdout_and_the_agents_on_stderr(
    endpoint: Endpoint, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(endpoint, "--image", str(picture), "--image", str(picture), "--seed", "3") == 0
    out, err = capsys.readouterr()
    assert out == "20\n"
    lines = err.splitlines()
    assert lines[0] == "m: contemplating, up to 8 agents, seed 3"
    assert "agent 1: python(code=7+13)" in lines
    assert "agent 1: python -> 20" in lines
    assert "agent 4: answers 20 (12 tokens)" in lines
    assert lines[-1] == "consensus: 4 agents say 20, sure enough to stop (97%)"
    question = next(one for one in endpoint.bodies[0]["messages"] if one["role"] == "user")
    assert [part["type"] for part in question["content"]] == ["image_url", "image_url", "text"]


def test_a_tool_finds_each_of_two_pictures_by_its_place(
    endpoint: Endpoint, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (90, 60), "blue").save(other)
    arguments = '{"image": 2, "x0": 0, "y0": 0, "x1": 500, "y1": 500}'
    crop = {"id": "x", "index": 0, "function": {"name": "crop", "arguments": arguments}}
    looks = [chunk({"tool_calls": [crop]}), chunk({}, finish="tool_calls")]
    endpoint.reply = lambda body, number: stream(looks if number == 0 else says("7"))
    assert ask(endpoint, "--image", str(picture), "--image", str(other), "--mode", "thinking") == 0
    assert "agent 1: crop -> picture 3 (45x30)" in capsys.readouterr().err.splitlines()


def test_json_is_one_object_and_nothing_else(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(endpoint, "--json", "--agents", "4") == 0
    out, err = capsys.readouterr()
    assert err == ""
    said = json.loads(out)
    assert out.count("\n") == 1
    assert (said["answer"], said["mode"], said["model"]) == ("20", "contemplating", "m")
    assert said["fingerprint"] == "unattested"
    assert said["votes"] == [{"answer": "20", "agents": 4}]
    assert said["usage"]["total_tokens"] == 4 * (50 + 10 + 3 + 2)
    assert said["usage"]["critical_path_tokens"] == 12
    assert said["seconds"] >= 0
    assert said["run"].startswith("run_")


@pytest.mark.parametrize(("mode", "effort"), [("instant", "minimal"), ("thinking", "medium")])
def test_modes_and_settings_reach_the_model(endpoint: Endpoint, mode: str, effort: str) -> None:
    assert ask(endpoint, "--mode", mode, "--temperature", "0.3") == 0
    assert len(endpoint.bodies) == 2
    assert {(body["reasoning_effort"], body["temperature"]) for body in endpoint.bodies} == {(effort, 0.3)}
    assert ask(endpoint, "--mode", mode, "--effort", "high") == 0
    assert endpoint.bodies[-1]["reasoning_effort"] == "high"


def test_the_trace_holds_every_event(endpoint: Endpoint, picture: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    assert ask(endpoint, "--trace", str(trace), "--image", str(picture)) == 0
    events = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("run_started", "run_finished")
    assert events[1]["url"].startswith("data:image/png;base64,")


def test_a_trace_can_be_a_page_to_replay_at_once_or_later(
    endpoint: Endpoint, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, trace = tmp_path / "now.html", tmp_path / "later.jsonl"
    for path in (page, trace):
        assert ask(endpoint, "--trace", str(path), "--image", str(picture), "--agents", "4", "--json") == 0
    assert run(["replay", str(trace)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "later.html")
    assert run(["replay", str(trace), "--out", str(tmp_path / "other.html")]) == 0
    later = (tmp_path / "later.html").read_text(encoding="utf-8")
    assert (tmp_path / "other.html").read_text(encoding="utf-8") == later
    for text in (page.read_text(encoding="utf-8"), later):
        assert text.startswith("<!DOCTYPE html>")
        assert "4 agents agree" in text
        assert text.count("data:image/png;base64,") == 1


def test_a_run_that_fails_leaves_its_page_too(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda body, number: error(400, "no <b>way</b>")
    page = tmp_path / "page.html"
    assert ask(endpoint, "--trace", str(page)) == 2
    assert "no &lt;b&gt;way&lt;/b&gt;" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        ([__file__], "line 1 is not JSON"),
    ],
)
def test_what_cannot_be_replayed_is_one_line_and_code_2(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", *arguments]) == 2
    assert part in one_line(capsys)


def test_the_key_comes_from_its_variable(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMNIA_API_KEY", "mine")
    assert ask(endpoint, "--mode", "thinking") == 0
    assert endpoint.headers[-1]["authorization"] == "Bearer mine"


# --- errors: one line, exit code 2 or 1, no traceback


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert err.startswith("polymnia: ")
    return err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--agents", "0"], "0 agents cannot answer: choose a number from 1 to 64"),
        (["--agents", "4", "--mode", "thinking"], "--agents 4 has no meaning in thinking mode"),
        (["--mode", "dreaming"], "'--mode'"),
        (["--agents", "many"], "'--agents'"),
        (["--nonsense"], "--nonsense"),
        (["--temperature", "9"], "temperature 9.0 is out of range"),
        (["--image", "/nowhere/a.png"], "/nowhere/a.png"),
        (["--trace", "trace.txt"], "name a .jsonl or an .html file"),
        (["--trace", "/nowhere/a.jsonl"], "/nowhere/a.jsonl cannot be written"),
        (["--model", "gpt-17"], "unknown model 'gpt-17': choose nano"),
        (["--model", "http://127.0.0.1:1/v1"], "names no model of that endpoint"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    endpoint: Endpoint, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    assert ask(endpoint, *arguments) == 2
    assert part in one_line(capsys)
    assert endpoint.bodies == []


def test_an_empty_question(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", " ", "--model", f"{endpoint.url}#m"]) == 2
    assert "the question is empty" in one_line(capsys)


def test_no_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask"]) == 2
    assert "question" in one_line(capsys)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken"])
def test_a_broken_picture(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    assert ask(endpoint, "--image", str(path)) == 2
    assert "broken.png" in one_line(capsys)


def test_an_endpoint_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "How many?", "--model", "http://127.0.0.1:1/v1#m"]) == 2
    assert "http://127.0.0.1:1/v1 cannot be reached" in one_line(capsys)


def test_a_question_that_does_not_fit(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.reply = lambda body, number: error(400, "9000 tokens, limit 8192", "context_length_exceeded")
    assert ask(endpoint) == 2
    assert "9000 tokens, limit 8192" in one_line(capsys)


def test_a_run_without_any_answer_is_code_1(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.reply = lambda body, number: stream([chunk({"content": ""}), chunk({}, finish="stop")])
    assert ask(endpoint, "--json") == 1
    assert "the model's turn was empty" in one_line(capsys)


def test_a_bug_is_one_line_and_its_traceback_only_with_debug(
    endpoint: Endpoint, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr("polymnia.cli.ask.opened", broken)
    assert ask(endpoint) == 1
    assert "internal error, KeyError: 'x'; --debug shows where" in one_line(capsys)


# --- in a process of its own


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "polymnia", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "src", **environment},
    )


def test_ctrl_c_ends_the_run_in_good_order(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda body, number: endpoint.hanging(chunk({"content": "7"}))
    trace = tmp_path / "trace.jsonl"
    process = start("ask", "How many?", "--model", f"{endpoint.url}#m", "--trace", str(trace))
    while not (trace.exists() and "text_delta" in trace.read_text(encoding="utf-8")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "polymnia: interrupted"
    assert "Traceback" not in err
    assert json.loads(trace.read_text(encoding="utf-8").splitlines()[-1])["type"] == "run_cancelled"
    assert endpoint.hung_up.wait(5)


def test_debug_shows_where(tmp_path: Path) -> None:
    _, err = start("ask", "x", "--model", "gpt-17", "--debug").communicate(timeout=30)
    assert "Traceback" in err
    assert "unknown model 'gpt-17'" in err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["serve", "--help"], ["tasks", "list"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from polymnia.cli.main import run\n"
        f"assert run({arguments!r}) == 0\n"
        "heavy = {'torch', 'transformers', 'openai', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


# --- teams and budgets


def differing(body: Json, number: int) -> Response:
    """Agents that never agree until one is asked for the final answer."""
    final = "give the final answer" in str(body["messages"][-1]["content"])
    return stream(says("together" if final else f"{number}"))


def test_the_level_decides_agents_and_rounds(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.reply = differing
    assert ask(endpoint, "--level", "quick") == 0
    out, err = capsys.readouterr()
    assert out == "together\n"
    assert len(endpoint.bodies) == 4 + 1
    assert "round 2" not in err
    assert "agent 5: writes the final answer from the drafts" in err
    assert ask(endpoint, "--agents", "5") == 0
    assert "round 2: 5 agents look at each other's drafts" in capsys.readouterr().err


def test_a_deadline_brings_the_best_answer_so_far(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.reply = lambda body, number: stream(says("7")) if number == 0 else endpoint.hanging()
    assert ask(endpoint, "--deadline", "1") == 0
    out, err = capsys.readouterr()
    assert out == "7\n"
    assert "running short: 0.8" in err
    assert err.splitlines()[-1] == "out of time: this is the best answer so far"
    assert ask(endpoint, "--deadline", "0.5") == 1
    _, err = capsys.readouterr()
    assert err.splitlines()[-1] == "polymnia: no agent had an answer after 0.5 s: allow more time"


def test_what_was_spent_is_told_and_bounded(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.reply = differing
    assert ask(endpoint, "--json", "--max-tokens-total", "9000") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["usage"]["total_tokens"] <= 9000
    assert (said["cost"], said["tool_calls"]) == (None, 0)
    assert all(body["max_tokens"] <= 9000 for body in endpoint.bodies)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--deadline", "0"], "a budget of 0.0 seconds allows nothing"),
        (["--max-tokens-total", "0"], "a budget of 0 tokens allows nothing"),
        (["--max-cost", "1"], "nobody knows what m costs: leave the limit of 1 dollars out"),
        (["--level", "deep", "--mode", "thinking"], "--level deep has no meaning in thinking mode"),
    ],
)
def test_budgets_that_cannot_be_kept_are_refused(
    endpoint: Endpoint, capsys: pytest.CaptureFixture[str], options: list[str], part: str
) -> None:
    assert ask(endpoint, *options) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert part in err
    assert endpoint.bodies == []
