"""The replay page: what it shows, and that nothing a model writes becomes part of it."""

import asyncio
import base64
import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from agents.scripted import Asked, ScriptedModel, Turn, tool_call
from polymnia.agents.events import Event, TextDelta, to_json
from polymnia.agents.events import ToolCall as ToolCallEvent
from polymnia.agents.replay import Shape, read_trace, replay_page, tell
from polymnia.agents.run import answer
from polymnia.agents.team import TeamConfig
from polymnia.data.chat import message
from polymnia.errors import InputError, PolymniaError, RunError

FIRST, SECOND = Image.new("RGB", (300, 200), "red"), Image.new("RGB", (400, 100), "blue")
QUESTION = message("user", FIRST, SECOND, "Which one?")
VOID = {"meta", "input", "rect", "ellipse", "line", "use", "image", "br"}


def call(name: str, **arguments: object) -> Any:
    return tool_call(name, json.dumps(arguments))


CROP = call("crop", image=2, x0=100, y0=200, x1=600, y1=700)
MARK = call("mark", image=3, x0=10, y0=20, x1=30, y1=40, label="the thing")
POINT = call("mark", image=1, x0=500, y0=500, x1=500, y1=500)
LINE = call("measure", image=1, x0=900, y0=800, x1=100, y1=300)
TURNED = call("rotate", image=2, degrees=90)
WRONG = call("crop", image=1, x0=900, y0=0, x1=100, y1=100)
TURNS = (
    Turn(reasoning="first look", calls=(CROP, WRONG)),
    Turn(text="then mark", calls=(MARK, POINT)),
    Turn(calls=(LINE, TURNED, call("python", code="print(3+4)"))),
    Turn("It is 7.", reasoning="so"),
)


def happened(*turns: Turn, **settings: Any) -> list[Event]:
    """The events of a run whose every agent takes these turns, to its end or failure."""

    def script(number: int, asked: Asked) -> Turn:
        return turns[min(sum(one.role == "assistant" for one in asked.messages), len(turns) - 1)]

    async def run() -> list[Event]:
        found: list[Event] = []
        try:
            async for event in answer([QUESTION], model=ScriptedModel(script), **({"mode": "thinking"} | settings)):
                found.append(event)
        except PolymniaError:
            pass
        return found

    return asyncio.run(run())


@dataclass
class Page(HTMLParser):
    """The page as a browser takes it apart."""

    source: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    script: str = ""
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.script += data
        elif not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [given for name, given in self.tags if name == tag and wanted.items() <= given.items()]


def page_of(*turns: Turn, **settings: Any) -> Page:
    return Page(replay_page(happened(*turns, **settings)))


# ----------------------------------------------------------------------------------- what is shown


def test_the_story_maps_each_call_to_the_picture_it_means() -> None:
    story = tell(happened(*TURNS))
    (agent,) = story.agents.values()
    assert (agent.number, agent.state, agent.outcome) == (1, "answered", "It is 7.")
    looks = [look for turn in agent.turns for look in turn.looks]
    assert [look.call.name for look in looks] == ["crop", "crop", "mark", "mark", "measure", "rotate", "python"]
    assert [look.picture and look.picture.index for look in looks] == [2, 1, 3, 1, 1, 2, None]
    assert [[one.index for one in look.pictures] for look in looks] == [[3], [], [4], [5], [], [6], []]
    assert [look.shape for look in looks] == [
        Shape("box", 100, 200, 600, 700),
        None,  # it was refused
        Shape("box", 10, 20, 30, 40, "the thing"),
        Shape("point", 500, 500, 500, 500),
        Shape("line", 900, 800, 100, 300),
        None,
        None,
    ]
    assert agent.usage.completion_tokens == 40


def test_the_page_tells_everything_in_order() -> None:
    page = page_of(*TURNS)
    order = [
        "Which one?",
        "It is 7.",
        "Pictures of the question",
        "Agent 1",
        "Step 1 of 4",
        "first look",
        "crop(image=2, x0=100, y0=200, x1=600, y1=700)",
        "Picture 2, box 100, 200 to 600, 700",
        "Picture 3, from crop, 200 × 50 px",
        "the box is empty or reversed",
        "then mark",
        "Picture 1, point 500, 500",
        "Picture 1, line 900, 800 to 100, 300",
        "angle 157.4 deg",
        "Picture 6, from rotate, 100 × 400 px",
        "print(3+4)",
        "Step 4 of 4",
        "Answer: It is 7.",
    ]
    places = [page.text.index(part) for part in order]
    assert places == sorted(places)


def test_boxes_are_vectors_in_thousandths_of_their_picture() -> None:
    page = page_of(*TURNS)
    drawings = page.all("svg", viewbox="0 0 1000 1000", preserveaspectratio="none")
    assert len(drawings) == 2 + 5 + 4  # the question's, those looked at, those returned
    assert all(one["role"] == "img" and one["aria-label"] for one in drawings)
    for name in ("casing", "stroke"):
        # Once over the question's picture, once where it happened.
        assert len(page.all("rect", class_=name, x="100.0", y="200.0", width="500.0", height="500.0")) == 2
    assert page.all("line", class_="stroke", x1="900.0", y1="800.0", x2="100.0", y2="300.0")
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert "vector-effect: non-scaling-stroke" in style
    assert ".casing { stroke: #FFFFFF; stroke-width: 4px; }" in style
    assert ".stroke { stroke: #0B5FA5; stroke-width: 2px; }" in style
    assert "the thing" in [text.strip() for text in page.texts]  # the chip


def test_each_picture_is_in_the_page_once() -> None:
    page = page_of(*TURNS, mode="contemplating", agents=4)
    urls = [one["href"] for one in page.all("image")]
    assert len(urls) == len(set(urls)) == 6
    used = {one["href"] for one in page.all("use")}
    assert used == {f"#{one['id']}" for one in page.all("symbol")}


def test_several_agents_their_tokens_and_their_agreement() -> None:
    page = page_of(*TURNS, mode="contemplating", agents=8)
    assert "4 agents agree: sure enough to stop (97 %)." in page.text
    assert "Agent Outcome Steps Read Written 1 ✓ answered A It is 7. 4 400 40 2 ✓ answered" in page.text
    assert [one["href"] for one in page.all("a", href="#agent-4")] == ["#agent-4"] * 2
    assert "Tokens read 1,600 Tokens written 160 Longest chain 40 tokens" in page.text
    assert len(page.all("li", class_="step")) == 16
    assert "1, 2, 3, 4" in [text.strip() for text in page.texts]  # who looked at the same box
    assert "Agents 1, 2, 3, 4: box 100, 200 to 600, 700" in page.text


def test_agents_that_differ() -> None:
    def script(number: int, asked: Asked) -> Turn:
        return Turn("8" if number == 2 else "7")

    async def run() -> list[Event]:
        return [event async for event in answer([QUESTION], model=ScriptedModel(script), level="quick")]

    page = Page(replay_page(asyncio.run(run())))
    assert "The agents differ; the heaviest group decides." in page.text
    assert "A 7 1 , 2 , 4 B 8 3" in page.text


def test_rounds_and_the_final_agent_are_told() -> None:
    """Calls have the same ids in each round: what they gave must not get mixed up."""

    def script(number: int, asked: Asked) -> Turn:
        last = asked.messages[-1]
        if "give the final answer" in last.text:
            return Turn("14")
        if last.role == "tool":
            return Turn(f"{number}")
        return Turn(calls=(call("crop", image=1, x0=0, y0=0, x1=10 * number + 10, y1=1000),))

    async def run() -> list[Event]:
        team = TeamConfig(agents=2, judge=False)
        return [event async for event in answer([QUESTION], model=ScriptedModel(script), team=team)]

    story = tell(asyncio.run(run()))
    turns = story.agents[0].turns
    assert [(turn.round, turn.step) for turn in turns] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    widths = [look.pictures[0].width for turn in turns for look in turn.looks]
    assert all(len(look.pictures) == 1 for turn in turns for look in turn.looks)
    assert len(set(widths)) == 2
    page = Page(replay_page(asyncio.run(run())))
    assert "The agents differ; a final agent has read their drafts." in page.text
    assert "Step 3 of 4, round 2" in page.text
    assert "Writes the final answer from the others' drafts." in page.text


def test_a_run_that_failed_says_why() -> None:
    page = page_of(Turn(error=RunError("the <b>endpoint</b> is gone")))
    assert "✗ The run failed: the <b>endpoint</b> is gone" in page.text
    assert "1 ✗ failed the <b>endpoint</b> is gone 0 0 0" in page.text


def test_a_trace_that_breaks_off_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    lines = [to_json(event) for event in happened(*TURNS)]
    path = tmp_path / "cut.jsonl"
    place = next(number for number, line in enumerate(lines) if '"tool_result"' in line)
    path.write_text("\n".join(lines[:place]) + "\n" + lines[place][:50], "utf-8")
    page = Page(replay_page(read_trace(path)))
    assert "The trace breaks off here" in page.text
    assert "No result: the agent was stopped first." in page.text


def test_a_stored_trace_gives_the_same_page(tmp_path: Path) -> None:
    events = happened(*TURNS)
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(to_json(event) + "\n" for event in events), "utf-8")
    assert replay_page(read_trace(path)) == replay_page(events)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no events"),
        ("hello\n", "line 1 is not JSON"),
        ("[]\n", "line 1: 'None' is no event of this version"),
        ('{"type": "run_started"}\n', "line 1: the event run_started is broken"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert said in str(caught.value)


def test_a_trace_without_its_beginning_is_refused() -> None:
    for events in ([], happened(*TURNS)[1:]):
        with pytest.raises(InputError, match="begin with run_started"):
            replay_page(events)


# ------------------------------------------------------------------------------------- what is safe

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onload='alert(1)' </style></svg>{{ 7*7 }}"


def test_nothing_that_is_written_becomes_part_of_the_page() -> None:
    """In reasoning, text, tool names, arguments, labels, results, answers, errors and the question."""
    wicked = Turn(
        reasoning=EVIL,
        text=EVIL,
        calls=(
            tool_call(EVIL, EVIL),
            call("mark", image=1, x0=1, y0=100, x1=9, y1=200, label=EVIL),
            call("python", code=f"print({EVIL!r})"),
            call(EVIL, **{EVIL: EVIL}),
        ),
    )
    honest = page_of(replace_text(wicked, "x"), Turn("x"))
    model = ScriptedModel(lambda number, asked: wicked if number == 0 else Turn(EVIL), name=EVIL, fingerprint=EVIL)

    async def run() -> list[Event]:
        asked = message("user", FIRST, SECOND, EVIL)
        return [event async for event in answer([asked], model=model, mode="thinking", run=EVIL)]

    page = Page(replay_page(asyncio.run(run())))
    assert sorted({tag for tag, _ in page.tags}) == sorted({tag for tag, _ in honest.tags})
    assert len(page.all("script")) == 1
    assert page.script == honest.script
    assert "{{ 7*7 }}" in page.text
    attributes = {(tag, name) for tag, given in page.tags for name in given}
    assert attributes == {(tag, name) for tag, given in honest.tags for name in given}
    assert not any(name.startswith("on") for _, name in attributes)


def replace_text(turn: Turn, text: str) -> Turn:
    """The same turn with harmless words."""
    calls = (
        tool_call(text, text),
        call("mark", image=1, x0=1, y0=100, x1=9, y1=200, label=text),
        call("python", code="print('x')"),
        call(text, x=text),
    )
    return Turn(reasoning=text, text=text, calls=calls)


def test_the_page_loads_nothing_and_runs_one_script_known_by_its_hash() -> None:
    page = page_of(*TURNS)
    (policy,) = [one["content"] or "" for one in page.all("meta", **{"http-equiv": "Content-Security-Policy"})]
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; ")
    assert f"script-src 'sha256-{digest}'" in policy
    targets = [given.get(name) or "" for _, given in page.tags for name in ("src", "href", "action") if name in given]
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    assert not re.search(r"url\(|@import|https?://", page.source)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.integers(-10, 1010) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(["image", "x0", "y0", "x1", "y1", "label", "degrees", "code"])
RUN = happened(Turn(calls=(CROP,)), Turn("7"))


@settings(deadline=None)
@given(
    st.sampled_from(["crop", "mark", "measure", "rotate", "python", "\0"]),
    st.dictionaries(NAMES, anything).map(json.dumps) | st.text(),
    st.floats(),
)
@example("crop", "{}", 1.797693134862316e307)
def test_whatever_a_call_holds_there_is_a_page(name: str, arguments: str, time: float) -> None:
    """Even one that no tool of ours would have taken: traces come from elsewhere too."""
    events = [
        replace(event, name=name, arguments=arguments, time=time) if isinstance(event, ToolCallEvent) else event
        for event in RUN
    ]
    events = [replace(event, time=time) if isinstance(event, TextDelta) else event for event in events]
    Page(replay_page(events))


def test_half_a_character_from_a_foreign_trace_can_be_written(tmp_path: Path) -> None:
    events = happened(*TURNS)
    lines = [to_json(event).replace("first look", "\\ud800") for event in events]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    page = replay_page(read_trace(path))
    assert page.encode("utf-8", "replace")
