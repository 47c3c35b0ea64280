"""A run told again from its events and nothing else: `replay_page` gives one HTML file that needs no network.

The events are folded into a story (agents, their turns, what they looked at), which `replay.html.jinja` draws.
Everything that a model or a file says is escaped by the template; pictures are encoded anew. Not covered:
watching a run while it goes on, which is the terminal view's.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import jinja2

from polymnia.agents import events
from polymnia.agents.events import Event
from polymnia.agents.model import Usage
from polymnia.data.images import to_data_url
from polymnia.errors import InputError

SHOWN_SIDE = 440
"""Pixels of the page that a picture's longer side takes at most; `LEAST_SIDE` its shorter one at least."""
LEAST_SIDE = 168

State = Literal["at work", "answered", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Picture:
    index: int
    """1-based place in the conversation of the one who sees it."""
    digest: str
    width: int
    height: int

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height on the page, CSS pixels."""
        short, long = sorted((max(1, self.width), max(1, self.height)))
        scale = min(SHOWN_SIDE / long, max(1.0, LEAST_SIDE / short))
        return max(8, round(self.width * scale)), max(8, round(self.height * scale))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a call points at, 0 to 1000 along the sides of its picture."""

    kind: Literal["box", "point", "line"]
    x0: float
    y0: float
    x1: float
    y1: float
    label: str = ""


@dataclass(slots=True)
class Look:
    """One tool call and what came of it."""

    call: events.ToolCall
    given: dict[str, Any]
    """The arguments; empty where they are no JSON object."""
    picture: Picture | None
    """The picture that it names."""
    result: events.ToolResult | None = None
    pictures: list[Picture] = field(default_factory=list)
    """What it returned."""

    @property
    def failed(self) -> bool:
        return self.result is not None and self.result.failed

    @property
    def code(self) -> str:
        """What the `python` tool ran, which deserves lines of its own."""
        code = self.given.get("code")
        return code if self.call.name == "python" and isinstance(code, str) else ""

    @property
    def written(self) -> str:
        """The call as one line; as the model wrote it where it is no JSON object."""
        given = ", ".join(f"{name}={value}" for name, value in self.given.items() if value != self.code)
        return f"{self.call.name}({given if self.given else self.call.arguments})"

    @property
    def title(self) -> str:
        """Such as `crop of picture 1`."""
        what = f" of picture {self.picture.index}" if self.picture else ""
        return f"{self.call.name}{what}{', refused' if self.failed else ''}"

    @property
    def shape(self) -> Shape | None:
        """None for calls that point nowhere, or that were refused."""
        if self.picture is None or self.failed:
            return None
        corners = [_number(self.given.get(name)) for name in ("x0", "y0", "x1", "y1")]
        if any(corner is None or not 0 <= corner <= 1000 for corner in corners):
            return None
        x0, y0, x1, y1 = (corner or 0.0 for corner in corners)
        if self.call.name == "measure":
            return Shape("line", x0, y0, x1, y1)
        kind: Literal["box", "point"] = "point" if (x0, y0) == (x1, y1) else "box"
        return Shape(kind, min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), str(self.given.get("label") or ""))


@dataclass(slots=True)
class Turn:
    """One model call of an agent and the tools that it asked for."""

    step: int
    time: float
    """Seconds since the run began."""
    round: int = 1
    reasoning: str = ""
    text: str = ""
    usage: Usage | None = None
    looks: list[Look] = field(default_factory=list)


@dataclass(slots=True)
class Agent:
    number: int
    """1-based, as people count."""
    strategy: str
    role: events.Role = "propose"
    """In the latest round."""
    round: int = 1
    state: State = "at work"
    outcome: str = ""
    """The answer, or the error."""
    usage: Usage = field(default_factory=Usage)
    turns: list[Turn] = field(default_factory=list)
    pictures: dict[int, Picture] = field(default_factory=dict)
    """Those from its tools, by index."""

    def turn(self, step: int, time: float) -> Turn:
        """The turn of this step in the present round, begun now if it is new."""
        if not self.turns or (self.turns[-1].round, self.turns[-1].step) != (self.round, step):
            self.turns.append(Turn(step, time, self.round))
        return self.turns[-1]

    def looks(self, call: str) -> list[Look]:
        """Those of the present round with this id, which is unique in there."""
        turns = [turn for turn in self.turns if turn.round == self.round]
        return [look for turn in turns for look in turn.looks if look.call.call == call]


@dataclass(slots=True)
class Story:
    started: events.RunStarted
    pictures: dict[int, Picture] = field(default_factory=dict)
    """The question's, by index."""
    agents: dict[int, Agent] = field(default_factory=dict)
    consensus: events.Consensus | None = None
    end: events.RunFinished | events.RunCancelled | events.RunFailed | None = None
    """None for a trace that breaks off."""
    urls: dict[str, str] = field(default_factory=dict)
    """Every picture once, as a data URL by digest."""

    def letters(self) -> dict[int, str]:
        """The agents' groups of answers, A the first, by the agent's number."""
        votes = self.end.votes if isinstance(self.end, events.RunFinished) else ()
        return {agent + 1: _letter(place) for place, side in enumerate(votes) for agent in side.agents}

    def symbol(self, picture: Picture) -> int:
        """The picture's number on the page, where each is kept once."""
        return list(self.urls).index(picture.digest)

    def looks_at(self, picture: Picture) -> list[Shape]:
        """Where the agents looked in a picture of the question, labelled with their numbers."""
        lookers: dict[Shape, list[int]] = {}
        for agent in self.agents.values():
            for look in (look for turn in agent.turns for look in turn.looks if look.picture is picture):
                if (shape := look.shape) is not None:
                    who = lookers.setdefault(replace(shape, label=""), [])
                    who += [] if agent.number in who else [agent.number]
        return [replace(shape, label=", ".join(map(str, who))) for shape, who in lookers.items()]


def replay_page(happened: Iterable[Event]) -> str:
    """The page of a run, whole or broken off. Raises `InputError` when the events do not begin with a run's start."""
    return _template().render(story=tell(happened))


def tell(happened: Iterable[Event]) -> Story:
    """The story of a run."""
    each = iter(happened)
    first = next(each, None)
    if not isinstance(first, events.RunStarted):
        raise InputError("a run's events begin with run_started: give a whole trace")
    story = Story(first)
    for event in each:
        _add(story, event)
    return story


def read_trace(path: Path) -> list[Event]:
    """The events of a `.jsonl` trace. A last line that was cut off is left out. Raises `InputError`."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a .jsonl trace") from None
    found: list[Event] = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines) and found:
                break
            raise InputError(
                f"{path}, line {number} is not JSON: give a trace as --trace FILE.jsonl writes it"
            ) from None
        try:
            found.append(events.from_dict(values if isinstance(values, dict) else {}))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    if not found:
        raise InputError(f"{path} holds no events: give a trace as --trace FILE.jsonl writes it")
    return found


# ------------------------------------------------------------------------------------- the folding


def _add(story: Story, event: Event) -> None:
    match event:
        case events.ImageShown():
            _add_picture(story, event)
        case events.AgentStarted() if event.agent is not None:
            agent = story.agents.setdefault(event.agent, Agent(event.agent + 1, event.strategy))
            agent.role, agent.round, agent.state, agent.outcome = event.role, event.round or 1, "at work", ""
            agent.pictures = {}
        case events.Consensus():
            story.consensus = event
        case events.RunFinished() | events.RunCancelled() | events.RunFailed():
            story.end = event
        case _ if event.agent in story.agents:
            _add_to_agent(story, story.agents[event.agent], event)


def _add_picture(story: Story, event: events.ImageShown) -> None:
    picture = Picture(event.index, event.digest, event.width, event.height)
    if event.digest not in story.urls:
        story.urls[event.digest] = to_data_url(event.image)
    if event.agent is None:
        story.pictures[event.index] = picture
    elif event.agent in story.agents:
        agent = story.agents[event.agent]
        agent.pictures[event.index] = picture
        for look in agent.looks(event.call):
            look.pictures.append(picture)


def _add_to_agent(story: Story, agent: Agent, event: Event) -> None:
    since = event.time - story.started.time
    match event:
        case events.ReasoningDelta():
            agent.turn(event.step, since).reasoning += event.text
        case events.TextDelta():
            agent.turn(event.step, since).text += event.text
        case events.UsageReported():
            agent.turn(event.step, since).usage = event.usage
            agent.usage += event.usage
        case events.ToolCall():
            given = _arguments(event.arguments)
            index = _number(given.get("image"))
            seen = story.pictures | agent.pictures
            begun = bool(agent.turns) and agent.turns[-1].round == agent.round
            turn = agent.turn(agent.turns[-1].step if begun else 0, since)
            turn.looks.append(Look(event, given, None if index is None else seen.get(int(index))))
        case events.ToolResult():
            for look in agent.looks(event.call):
                look.result = event
        case events.AgentFinished():
            agent.state, agent.outcome = "answered", event.answer
        case events.AgentFailed():
            agent.state, agent.outcome = "failed", event.error
        case events.AgentCancelled():
            agent.state = "stopped"


def _arguments(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


def _number(value: Any) -> float | None:
    """What tools take for a number; None for anything else."""
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


# ------------------------------------------------------------------------------------- the drawing


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"clock": _clock, "sha256": _sha256, "count": "{:,}".format, "number": "{:g}".format}
    source = files("polymnia.agents").joinpath("replay.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source)


def _clock(seconds: float) -> str:
    """Minutes and seconds, such as 0:41.3."""
    if not math.isfinite(seconds * 10):  # a foreign trace may hold anything
        return "?"
    tenths = max(0, round(seconds * 10))
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _sha256(text: str) -> str:
    """As a page's content security policy names its own script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else "?"
