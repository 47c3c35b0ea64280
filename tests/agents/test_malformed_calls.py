"""A remote model that writes broken tool calls: the run goes on, and the model reads what was wrong.

The endpoint is as strict as real ones are: tool messages carry text only, earlier calls must be plain names with
JSON objects, pictures must have 28 px a side.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.responses import Response

from agents.endpoint import Endpoint, Json, chunk, error, says, serving, stream
from polymnia.agents import events
from polymnia.agents.events import Event
from polymnia.agents.remote import RemoteModel
from polymnia.agents.run import answer
from polymnia.data.chat import message
from polymnia.data.images import from_data_url, image_digest

FIRST, SECOND = Image.new("RGB", (300, 200), "red"), Image.new("RGB", (400, 100), "blue")
QUESTION = message("user", FIRST, "This one, or", SECOND, "this?")
RIGHT = ("crop", json.dumps({"image": 2, "x0": 0, "y0": 0, "x1": 500, "y1": 1000}))


def box(**wrong: object) -> str:
    return json.dumps({"image": 1, "x0": 100, "y0": 100, "x1": 900, "y1": 900} | wrong)


BROKEN = {
    "reversed": ("crop", box(x0=900, x1=100), "x0 < x1"),
    "empty": ("crop", box(x0=500, x1=500), "empty or reversed"),
    "outside": ("crop", box(x1=1340), "x1 = 1340: it should be less than or equal to 1000"),
    "negative": ("mark", box(y0=-5), "y0 = -5: it should be greater than or equal to 0"),
    "huge": ("measure", box(x1=10**9), "x1 = 1000000000: it should be less"),
    "huger": ("crop", box(x1=10**400), "x1 = 1000000000"),
    "nan": ("crop", '{"image": 1, "x0": NaN, "y0": 0, "x1": 10, "y1": 10}', "x0 = NaN: it should be a finite number"),
    "infinity": ("crop", box(x1=float("inf")), "x1 = Infinity: it should be a finite number"),
    "overflow": ("crop", '{"image": 1, "x0": 0, "y0": 0, "x1": 1e999, "y1": 10}', "x1 = Infinity"),
    "word": ("crop", box(x0="abc"), 'x0 = "abc": it should be a valid number'),
    "null": ("crop", box(x0=None), "x0 = null"),
    "list": ("crop", box(x0=[100, 100, 900, 900]), "x0 = [100, 100, 900, 900]"),
    "missing": ("crop", '{"image": 1}', "x0 is missing; y0 is missing"),
    "extra": ("crop", box(zoom=2), "zoom is not a parameter; the parameters are image, x0, y0, x1, y1"),
    "picture 0": ("crop", box(image=0), "image = 0: there are pictures 1 to 2"),
    "picture 9": ("rotate", '{"image": 9, "degrees": 90}', "image = 9: there are pictures 1 to 2"),
    "picture 1.5": ("crop", box(image=1.5), "image = 1.5: it should be a valid integer"),
    "picture huge": ("crop", box(image=10**40), "there are pictures 1 to 2"),
    "degrees": ("rotate", '{"image": 1, "degrees": NaN}', "degrees = NaN: it should be a finite number"),
    "no JSON": ("crop", "crop(1, 0, 0, 10, 10)", "Invalid JSON"),
    "cut off": ("crop", '{"image": 1, "x0": 10', "Invalid JSON"),
    "no object": ("crop", "[1, 0, 0, 10, 10]", "it should be an object"),
    "nothing": ("crop", "", "image is missing"),
    "deep": ("crop", "[" * 3000, "Invalid JSON"),
    "half a character": ("crop", '{"image": "\ud83d"}', "image = "),
    "half an escape": ("crop", '{"image": "\\ud83d"}', "Invalid JSON"),
    "unknown tool": ("zoom in\n", box(), "there is no tool 'zoom in\\n'; the tools are: crop, mark"),
}


def wrong_in(body: Json) -> str:
    """What a strict endpoint finds wrong with a request."""
    for one in body["messages"]:
        if one["role"] == "tool" and not isinstance(one["content"], str):
            return "tool messages carry text only"
        for call in one.get("tool_calls", ()):
            if not re.fullmatch("[a-zA-Z0-9_-]{1,64}", call["function"]["name"]):
                return "a function's name is wrong"
            try:
                given = json.loads(call["function"]["arguments"], parse_constant=lambda name: 1 / 0)
                json.dumps(given, allow_nan=False, ensure_ascii=False).encode()
            except Exception:
                return "arguments are not JSON"
            if not isinstance(given, dict):
                return "arguments are no object"
        parts = one["content"] if isinstance(one["content"], list) else []
        pictures = [from_data_url(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
        if any(min(picture.size) < 28 for picture in pictures):
            return "a picture is too small"
    return ""


def playing(*turns: list[tuple[str, str]]) -> Any:
    """Each turn's calls in order, then an answer; an agent's turn is known by the calls before it."""

    def reply(body: Json, number: int) -> Response:
        if wrong := wrong_in(body):
            return error(400, wrong)
        turn = sum("tool_calls" in one for one in body["messages"])
        if turn == len(turns):
            return stream(says("7"))
        pieces = [
            chunk({"tool_calls": [{"index": index, "id": f"c{index}", "function": {"name": name, "arguments": given}}]})
            for index, (name, given) in enumerate(turns[turn])
        ]
        return stream([*pieces, chunk({}, finish="tool_calls")])

    return reply


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with serving() as one:
        yield one


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.bodies.clear()
    return server


def happen(endpoint: Endpoint, **settings: Any) -> list[Event]:
    async def run() -> list[Event]:
        model = RemoteModel(endpoint.url, "m", retries=0)
        try:
            return [event async for event in answer([QUESTION], model=model, **({"mode": "thinking"} | settings))]
        finally:
            await model.aclose()

    return asyncio.run(run())


def results(happened: list[Event]) -> list[events.ToolResult]:
    return [event for event in happened if isinstance(event, events.ToolResult)]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_call_is_explained_and_the_run_goes_on(endpoint: Endpoint, kind: str) -> None:
    name, arguments, said = BROKEN[kind]
    endpoint.reply = playing([(name, arguments)], [RIGHT])
    happened = happen(endpoint)
    broken, right = results(happened)
    assert broken.failed
    assert said in broken.text
    assert not right.failed
    end = happened[-1]
    assert isinstance(end, events.RunFinished)
    assert end.answer == "7"
    # The model has read the explanation, and has seen the picture that it then asked for.
    told = endpoint.bodies[1]["messages"][-1]
    assert (told["role"], told["content"]) == ("tool", broken.text)
    note, picture = endpoint.bodies[2]["messages"][-1]["content"]
    assert endpoint.bodies[2]["messages"][-1]["role"] == "user"
    assert note["text"] == "Picture 3, from a tool:"
    assert from_data_url(picture["image_url"]["url"]).size == (200, 100)
    assert len(endpoint.bodies) == 3, "the endpoint refused something"


def test_all_of_them_in_one_turn_and_by_several_agents(endpoint: Endpoint) -> None:
    calls = [(name, arguments) for name, arguments, _ in BROKEN.values()]
    endpoint.reply = playing(calls[:14], calls[14:], [RIGHT, RIGHT])
    happened = happen(endpoint, mode="contemplating", agents=4)
    assert isinstance(happened[-1], events.RunFinished)
    assert sum(one.failed for one in results(happened)) == 4 * len(BROKEN)
    assert sum(not one.failed for one in results(happened)) == 4 * 2


def test_numbers_as_strings_are_understood(endpoint: Endpoint) -> None:
    endpoint.reply = playing([("crop", box(image="2", x0="0", y0=" 0", x1="5e2", y1="1000.0"))])
    (result,) = results(happen(endpoint))
    assert not result.failed


def test_a_crop_of_less_than_a_pixel_reaches_the_endpoint_large_enough(endpoint: Endpoint) -> None:
    endpoint.reply = playing([("crop", box(x0=0, y0=0, x1=0.1, y1=0.1)), ("crop", box(x0=0, y0=0, x1=1000, y1=1))])
    happened = happen(endpoint)
    shown = [(one.index, one.width, one.height) for one in happened if isinstance(one, events.ImageShown)]
    assert shown == [(1, 300, 200), (2, 400, 100), (3, 1, 1), (4, 300, 1)]
    assert isinstance(happened[-1], events.RunFinished)


def test_each_look_at_a_picture_comes_back_under_its_number(endpoint: Endpoint) -> None:
    """Two pictures of the question, one of every tool that gives one: 1 to 6 in the endpoint's eyes and the events'."""
    looks = [
        ("mark", box(image=2, label="here")),
        ("crop", box(image=1)),
        ("measure", box(image=2)),
        ("rotate", '{"image": 2, "degrees": 90}'),
    ]
    endpoint.reply = playing(looks, [("crop", box(image=5, x0=0, x1=1000))])
    happened = happen(endpoint)
    shown = [one for one in happened if isinstance(one, events.ImageShown)]
    assert [(one.index, one.width, one.height) for one in shown] == [
        (1, 300, 200),
        (2, 400, 100),
        (3, 400, 100),
        (4, 240, 160),
        (5, 100, 400),
        (6, 100, 320),
    ]
    last = endpoint.bodies[-1]["messages"]
    parts = [part for one in last if one["role"] == "user" for part in one["content"]]
    pictures = [from_data_url(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
    assert [image_digest(picture) for picture in pictures] == [one.digest for one in shown]
    numbers = [part["text"] for part in parts if part["type"] == "text" and part["text"].startswith("Picture")]
    assert numbers == [f"Picture {number}, from a tool:" for number in (3, 4, 5, 6)]
    texts = [one["content"] for one in last if one["role"] == "tool"]
    assert texts[0] == "See picture 3 below."
    assert texts[2].startswith("distance 329.8 px, dx 320, dy 80, angle -14 deg, colours blue #0000ff")
