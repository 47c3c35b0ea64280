"""`polymnia doctor` on this machine as it is, with endpoints that work, lack things or are not there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from agents.endpoint import Endpoint, Json, chunk, error, raw, says, serving, stream, usage
from polymnia.agents import quirks
from polymnia.cli.main import run


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with serving() as one:
        yield one


@pytest.fixture
def endpoint(server: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv("POLYMNIA_HOME", str(tmp_path / "home"))
    server.bodies.clear()
    server.headers.clear()
    server.reply = everything
    quirks.forget()
    return server


@pytest.fixture
def no_nano(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("polymnia.agents.models.nano_folder", lambda: tmp_path)


def everything(body: Json, number: int) -> Response:
    if "tools" not in body:
        return stream([*says("Hello")[:1], *says("!")])
    call = {"index": 0, "id": "a", "function": {"name": "python", "arguments": '{"code": "7+13"}'}}
    return stream([chunk({"tool_calls": [call]}), chunk({}, finish="tool_calls"), usage(90, 9)])


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(set(one) == {"check", "ok", "detail", "remedy"} for one in lines)
    return {one["check"]: one for one in lines}


def capabilities(findings: dict[str, Any], model: str) -> dict[str, bool]:
    return {check.removeprefix(f"{model}: "): one["ok"] for check, one in findings.items() if check.startswith(model)}


def test_this_machine_a_line_each(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    findings = found(capsys)
    assert list(findings) == [
        *["python", "torch", "nano", "sandbox", "monty", "bubblewrap", "database", "disk", "llama.cpp"]
    ]
    assert all(findings[check]["ok"] for check in ("python", "torch", "nano", "sandbox", "monty", "database"))
    assert findings["bubblewrap"]["ok"] or findings["bubblewrap"]["remedy"]
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert all(line.startswith(("ok   ", "not  ")) for line in lines)


def test_an_endpoint_that_can_do_everything(
    endpoint: Endpoint, no_nano: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMNIA_API_KEY", "mine")
    model = f"{endpoint.url}#m"
    assert run(["doctor", "--json", "--model", model]) == 0  # without nano
    findings = found(capsys)
    assert not findings["nano"]["ok"]
    names = ("reachable", "listed", "answers", "streams", "usage", "tools", "images")
    assert capabilities(findings, model) == dict.fromkeys(names, True)
    assert {headers["authorization"] for headers in endpoint.headers} == {"Bearer mine"}


def test_an_endpoint_that_lacks_things(endpoint: Endpoint, no_nano: None, capsys: pytest.CaptureFixture[str]) -> None:
    def reply(body: Json, number: int) -> Response:
        if "tools" in body:
            return error(400, "no tools here")
        if "image_url" in json.dumps(body["messages"]):
            return error(400, "m does not support images")
        answer = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
        return raw(json.dumps(answer), "application/json")

    endpoint.reply = reply
    model = f"{endpoint.url}#m"
    assert run(["doctor", "--json", "--model", model]) == 0
    findings = found(capsys)
    lacking = {"streams": False, "usage": False, "tools": False, "images": False}
    assert capabilities(findings, model) == {"reachable": True, "listed": True, "answers": True, **lacking}
    assert findings[f"{model}: tools"]["detail"].startswith("through the prompt")
    assert all(one["remedy"] for one in findings.values() if not one["ok"] and one["check"].startswith(model))


def test_nothing_works(no_nano: None, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    nobody, other, misspelt = "http://127.0.0.1:9/v1#m", f"{endpoint.url}#other", "gpt-17"
    endpoint.reply = lambda body, number: error(404, "no such model")
    assert run(["doctor", "--json", *[word for name in (nobody, other, misspelt) for word in ("--model", name)]]) == 1
    findings = found(capsys)
    assert capabilities(findings, nobody) == {"reachable": False}
    assert "is the server running" in findings[f"{nobody}: reachable"]["remedy"]
    assert capabilities(findings, other) == {"reachable": True, "listed": False, "answers": False}
    assert findings[f"{other}: listed"]["remedy"] == "name one of: m"
    assert "write http://host:port/v1#name" in findings[misspelt]["remedy"]


def test_the_models_of_the_configuration_are_tried(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    (tmp_path / "home").mkdir()
    config = f"[models.strong]\nurl = '{endpoint.url}'\nmodel = 'm'\n"
    keyless = f"[models.paid]\nurl = '{endpoint.url}'\nmodel = 'm'\nkey_env = 'NO_SUCH_KEY'\n"
    (tmp_path / "home" / "config.toml").write_text(config + keyless, encoding="utf-8")
    assert run(["doctor", "--json"]) == 0
    findings = found(capsys)
    assert findings["strong: images"]["ok"]
    assert findings["paid: key"]["remedy"] == "set NO_SUCH_KEY"


def test_wrong_weights_and_a_wrong_setting_are_named(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from polymnia.agents.models import nano_folder
    from polymnia.tools.backend import chosen

    copy = tmp_path / "nano"
    copy.mkdir()
    for file in nano_folder().iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    monkeypatch.setattr("polymnia.agents.models.nano_folder", lambda: copy)
    monkeypatch.setenv("POLYMNIA_SANDBOX", "docker")
    chosen.cache_clear()
    try:
        assert run(["doctor", "--json"]) == 1
    finally:
        chosen.cache_clear()
    findings = found(capsys)
    assert "are not those of its card" in findings["nano"]["detail"]
    assert "set it to auto, monty, bubblewrap" in findings["sandbox"]["remedy"]
