"""Our agents on an endpoint: a second process of our own server stands in for any OpenAI-compatible one."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from polymnia.agents import events
from polymnia.agents.model import Delta, Sampling, Usage
from polymnia.agents.remote import RemoteModel
from polymnia.agents.run import answer
from polymnia.data.chat import ToolCall, message
from polymnia.errors import EndpointError, PolymniaError

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = f"""
import sys
sys.path[:0] = [{str(ROOT / "src")!r}, {str(ROOT / "tests")!r}]
from polymnia.data.chat import ToolCall
from polymnia.server import serve
from server.scripted import ScriptedModel, calls_then_says
crop = ToolCall("call_1", "crop", '{{"image": 1, "x0": 0, "y0": 0, "x1": 500, "y1": 500}}')
serve("127.0.0.1", 0, ScriptedModel(calls_then_says(crop, "There are 3.")))
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


async def run(model: RemoteModel, **options: object) -> list[events.Event]:
    question = message("user", Image.new("RGB", (56, 56), "red"), "How many?")
    settings: dict[str, object] = {"mode": "contemplating", "agents": 4} | options
    try:
        return [event async for event in answer([question], model=model, **settings)]  # type: ignore[arg-type]
    finally:
        await model.aclose()


def test_agents_contemplate_on_an_endpoint_and_run_their_tools_here(url: str) -> None:
    happened = asyncio.run(run(RemoteModel(url, "nano")))
    end = happened[-1]
    assert isinstance(end, events.RunFinished)
    assert (end.answer, end.reason) == ("There are 3.", "consensus")
    results = [event for event in happened if isinstance(event, events.ToolResult)]
    assert [result.failed for result in results] == [False] * 4
    crops = [event for event in happened if isinstance(event, events.ImageShown) and event.agent is not None]
    assert [(crop.index, crop.width) for crop in crops] == [(2, 28)] * 4
    assert end.usage == Usage(4 * 30, 4 * 10, 0), "the calls of four agents, as the endpoint counted them"


def test_a_model_by_itself_on_an_endpoint(url: str) -> None:
    async def ask() -> list[Delta]:
        model = RemoteModel(url, "nano")
        shown = message("user", Image.new("RGB", (56, 56), "red"), "How many?")
        call = ToolCall("call_1", "crop", "{}")
        turn = [shown, message("assistant", tool_calls=(call,)), message("tool", "seen", tool_call_id="call_1")]
        try:
            return [delta async for delta in model.stream(turn, sampling=Sampling(seed=1))]
        finally:
            await model.aclose()

    deltas = asyncio.run(ask())
    assert "".join(delta.text for delta in deltas) == "There are 3."
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize(("name", "port", "said"), [("other", None, "other"), ("nano", 9, "cannot be reached")])
def test_what_an_endpoint_does_not_have(url: str, name: str, port: int | None, said: str) -> None:
    where = url if port is None else f"http://127.0.0.1:{port}/v1"

    async def ask() -> list[events.Event]:
        return await run(RemoteModel(where, name, retries=0), mode="instant")

    with pytest.raises(PolymniaError, match=said) as raised:
        asyncio.run(ask())
    assert isinstance(raised.value, EndpointError)
