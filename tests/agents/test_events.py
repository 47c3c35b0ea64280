"""Events as JSON and back."""

import json
from typing import Any

import pytest
from PIL import Image

from polymnia.agents import events
from polymnia.agents.events import Event, from_dict, to_dict, to_json
from polymnia.agents.model import Usage
from polymnia.data.images import image_digest
from polymnia.errors import InputError

USAGE = Usage(10, 5, 2)
PICTURE = Image.effect_noise((9, 7), 80).convert("RGB")
HEAD: dict[str, Any] = {"run": "r", "time": 1.5}
ALL = [
    events.RunStarted(
        **HEAD,
        seq=0,
        mode="contemplating",
        question="?",
        model="m",
        fingerprint="f",
        agents=4,
        seed=1,
        effort="medium",
        temperature=None,
        tools=("crop",),
    ),
    events.ImageShown(**HEAD, seq=1, digest="d", index=1, width=9, height=7, call="", image=PICTURE),
    events.AgentStarted(**HEAD, seq=2, agent=0, round=1, wave=1, strategy=""),
    events.ReasoningDelta(**HEAD, seq=3, agent=0, round=1, text="\u2028", step=0),
    events.UsageReported(**HEAD, seq=4, agent=0, round=1, usage=USAGE, step=0, finish_reason="stop"),
    events.ToolCall(**HEAD, seq=5, agent=0, round=1, call="c", name="crop", arguments="not json"),
    events.ToolResult(
        **HEAD, seq=6, agent=0, round=1, call="c", name="crop", text="", images=("d",), failed=False, seconds=0.1
    ),
    events.Disagreement(
        **HEAD, seq=7, round=1, claim="?", sides=(events.Side("a", (0, 2), 2.0), events.Side("b", (1,), 0.5)), images=()
    ),
    events.RunFinished(
        **HEAD,
        seq=8,
        answer="a",
        reason="rounds",
        winner=0,
        votes=(events.Side("a", (0,), 1.0),),
        usage=USAGE,
        critical_path_tokens=5,
        seconds=2.0,
    ),
]


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_an_event_comes_back_from_its_line(event: Event) -> None:
    back = from_dict(json.loads(to_json(event)))
    assert back == event
    if isinstance(back, events.ImageShown):
        assert image_digest(back.image) == image_digest(PICTURE)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"type": "party"}, "'party' is no event of this version"),
        ({"type": None}, "is no event"),
        ({"type": "event"}, "is no event"),
        ({"seq": "first"}, "run_started is broken (seq: "),
        ({"tools": 7}, "run_started is broken (tools: "),
        ({"type": "image"}, "is not a base64 data URL"),
        ({"type": "image", "url": "javascript:alert(1)"}, "is not a base64 data URL"),
        ({"type": "image", "url": "data:image/png;base64,AAAA"}, "is not a picture"),
    ],
)
def test_what_is_no_event_is_refused_in_one_line(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        from_dict(to_dict(ALL[0]) | wrong)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
