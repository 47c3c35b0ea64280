"""Events: their names, numbers and JSON, and the coalescing of deltas."""

import asyncio
import json
from itertools import pairwise

from PIL import Image

from polymnia.agents import events
from polymnia.agents.events import Event, to_dict, to_json
from polymnia.agents.model import Usage
from polymnia.agents.stream import EventStream, Voice
from polymnia.data.images import from_data_url

DESIGNED = [
    "run_started",
    "round_started",
    "agent_started",
    "text_delta",
    "reasoning_delta",
    "tool_call",
    "tool_result",
    "image",
    "usage",
    "agent_finished",
    "agent_failed",
    "agent_cancelled",
    "consensus",
    "disagreement",
    "round_finished",
    "budget_warning",
    "answer_delta",
    "run_finished",
    "run_cancelled",
    "run_failed",
]


def test_the_names_are_those_of_the_design() -> None:
    assert [kind.type for kind in Event.__subclasses__()] == DESIGNED


def test_json_carries_everything_the_picture_too() -> None:
    image = Image.new("RGB", (3, 2), "blue")
    event = events.ImageShown(
        run="r", seq=4, time=1.5, agent=2, round=1, digest="d", index=1, width=3, height=2, call="c", image=image
    )
    plain = json.loads(to_json(event))
    url = plain.pop("url")
    assert plain == {
        "type": "image",
        "run": "r",
        "seq": 4,
        "time": 1.5,
        "agent": 2,
        "round": 1,
        "digest": "d",
        "index": 1,
        "width": 3,
        "height": 2,
        "call": "c",
    }
    assert from_data_url(url).tobytes() == image.tobytes()


def test_parts_of_events_become_plain_json() -> None:
    side = events.Side("7", (0, 2), 1.5)
    event = events.Disagreement(run="r", seq=0, time=0.0, claim="?", sides=(side,), images=())
    assert to_dict(event)["sides"] == [{"answer": "7", "agents": [0, 2], "weight": 1.5}]
    assert json.loads(to_json(event)) == to_dict(event)


def test_json_is_ascii_and_so_survives_half_a_surrogate_pair() -> None:
    event = events.AnswerDelta(run="r", seq=0, time=0.0, text="\ud800 é")
    assert to_json(event).isascii()
    assert json.loads(to_json(event))["text"] == "\ud800 é"


async def spoken(pause: float) -> list[Event]:
    """100 letters of two agents, one every `pause` seconds."""
    stream = EventStream("run")
    for _ in range(50):
        for agent in (0, 1):
            Voice(stream, agent).delta(events.TextDelta, "x", step=0)
        await asyncio.sleep(pause)
    stream.close()
    return [event async for event in stream]


def test_deltas_come_at_most_twenty_times_a_second_and_lose_nothing() -> None:
    happened = asyncio.run(spoken(0.01))
    for agent in (0, 1):
        own = [event for event in happened if isinstance(event, events.TextDelta) and event.agent == agent]
        assert "".join(event.text for event in own) == "x" * 50
        # The last one is flushed by the end and may come early.
        gaps = [later.time - earlier.time for earlier, later in pairwise(own[:-1])]
        assert min(gaps) > 0.045
    assert [event.seq for event in happened] == list(range(len(happened)))


def test_a_delta_does_not_wait_for_the_next_one() -> None:
    async def last_delta() -> float:
        stream = EventStream("run")
        voice = Voice(stream, 0)
        loop = asyncio.get_running_loop()
        start = loop.time()
        voice.delta(events.TextDelta, "a", step=0)
        voice.delta(events.TextDelta, "b", step=0)  # comes too early, and nothing follows
        iterator = aiter(stream)
        assert [(await anext(iterator)).seq for _ in range(2)] == [0, 1]
        return loop.time() - start

    assert asyncio.run(last_delta()) < 2


def test_the_order_within_an_agent_stays_true() -> None:
    async def happened() -> list[Event]:
        stream = EventStream("run")
        voice = Voice(stream, 0)
        for letter in "abc":
            voice.delta(events.ReasoningDelta, letter, step=0)
        voice.delta(events.TextDelta, "d", step=0)
        voice.emit(events.UsageReported, usage=Usage(), step=0, finish_reason="stop")
        voice.delta(events.TextDelta, "e", step=1)
        stream.close()
        return [event async for event in stream]

    told = [(event.type, getattr(event, "text", "")) for event in asyncio.run(happened())]
    assert told == [
        ("reasoning_delta", "a"),
        ("reasoning_delta", "bc"),
        ("text_delta", "d"),
        ("usage", ""),
        ("text_delta", "e"),
    ]
