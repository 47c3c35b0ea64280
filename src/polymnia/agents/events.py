"""Everything that happens in a run, one frozen dataclass each: the only channel there is.

Terminal view, server, traces and benchmarks read these and nothing else. `seq` counts from 0 without
gaps; `run_finished`, `run_cancelled` and `run_failed` end a run, nothing else does. Deltas are
coalesced (`stream.py`). Not covered: storing them, which is the journal's work.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError

from polymnia.agents.model import FinishReason, Usage
from polymnia.data.images import from_data_url, to_data_url
from polymnia.errors import InputError

Mode = Literal["instant", "thinking", "contemplating"]
EndReason = Literal["consensus", "rounds", "deadline", "budget"]
"""Agreement; all rounds done; out of time; out of tokens, tool calls, agents or money."""
Role = Literal["propose", "refine", "aggregate", "judge"]
"""What an agent is there for; each role may have its own model."""
Resource = Literal["seconds", "tokens", "tool_calls", "agents", "cost"]


@dataclass(frozen=True, kw_only=True)
class Event:
    type: ClassVar[str] = "event"
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    run: str
    seq: int
    time: float
    """Seconds since 1970."""
    agent: int | None = None
    """0-based; None where the run as a whole speaks."""
    round: int | None = None
    """1-based; round 1 is the proposal."""

    def __init_subclass__(cls) -> None:
        cls.type = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    mode: Mode
    question: str
    """The text of the last user message."""
    model: str
    fingerprint: str
    agents: int
    """The most that propose."""
    seed: int
    effort: str
    temperature: float | None
    tools: tuple[str, ...]
    rounds: int = 1
    """The most that there will be."""


@dataclass(frozen=True, kw_only=True)
class RoundStarted(Event):
    agents: int
    """The most that may work in this round."""


@dataclass(frozen=True, kw_only=True)
class AgentStarted(Event):
    wave: int
    """1-based: the agents of a wave work at the same time."""
    strategy: str
    role: Role = "propose"


@dataclass(frozen=True, kw_only=True)
class TextDelta(Event):
    text: str
    step: int
    """0-based model call of this agent."""


@dataclass(frozen=True, kw_only=True)
class ReasoningDelta(Event):
    text: str
    step: int


@dataclass(frozen=True, kw_only=True)
class ToolCall(Event):
    call: str
    """The call's id, unique within its agent."""
    name: str
    arguments: str
    """A JSON object as the model wrote it, or what it wrote in its place."""


@dataclass(frozen=True, kw_only=True)
class ToolResult(Event):
    call: str
    name: str
    text: str
    images: tuple[str, ...]
    """Digests of the pictures returned; an `Image` event brings each of them first."""
    failed: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ImageShown(Event):
    """A picture that entered a context: the run's own (agent None) or one from a tool."""

    digest: str
    index: int
    """1-based place among the pictures of that context."""
    width: int
    height: int
    call: str
    """The tool call that returned it; empty for a picture of the question."""
    image: Image.Image = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class UsageReported(Event):
    """What one model call cost."""

    usage: Usage
    step: int
    finish_reason: FinishReason


@dataclass(frozen=True, kw_only=True)
class AgentFinished(Event):
    answer: str
    usage: Usage
    """In all rounds so far."""
    steps: int
    mean_logprob: float | None
    role: Role = "propose"


@dataclass(frozen=True, kw_only=True)
class AgentFailed(Event):
    error: str


@dataclass(frozen=True, kw_only=True)
class AgentCancelled(Event):
    draft: str = ""
    """What it had written so far and what counts as its answer, where time ran out."""


@dataclass(frozen=True)
class Side:
    """Answers that mean the same."""

    answer: str
    agents: tuple[int, ...]
    weight: float


@dataclass(frozen=True, kw_only=True)
class Consensus(Event):
    """The leader is ahead so far that more agents would hardly change it."""

    answer: str
    count: int
    second: int
    posterior: float
    distinct: int
    """Different answers so far."""


@dataclass(frozen=True, kw_only=True)
class Disagreement(Event):
    claim: str
    """The question that is answered differently."""
    sides: tuple[Side, ...]
    """Most weight first."""
    images: tuple[str, ...]
    """Digests of the question's pictures."""


@dataclass(frozen=True, kw_only=True)
class RoundFinished(Event):
    answers: int
    distinct: int
    """How many different ones there are among them."""


@dataclass(frozen=True, kw_only=True)
class BudgetWarning(Event):
    """So much of a resource is spent that agents are told to submit, or so little is left that a call was refused."""

    resource: Resource
    spent: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class AnswerDelta(Event):
    """A piece of the settled answer; all of them together are `RunFinished.answer`."""

    text: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    answer: str
    reason: EndReason
    winner: int
    """The agent whose words the answer is."""
    votes: tuple[Side, ...]
    usage: Usage
    """Of all agents, those that were cancelled included as far as they reported."""
    critical_path_tokens: int
    """Longest chain of generated tokens that depend on each other."""
    seconds: float
    tool_calls: int = 0
    cost: float | None = None
    """Dollars, at the prices of the models' configuration; None where a model that was asked has none."""


@dataclass(frozen=True, kw_only=True)
class RunCancelled(Event):
    usage: Usage
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunFailed(Event):
    error: str
    usage: Usage
    seconds: float


# The design's names where the class had to be called otherwise (`Image` and `Usage` are taken).
ImageShown.type = "image"
UsageReported.type = "usage"


def to_dict(event: Event) -> dict[str, Any]:
    """Plain JSON values; `type` first, a picture as the PNG data URL `url`."""
    values: dict[str, Any] = {"type": event.type}
    for one in dataclasses.fields(event):
        value = getattr(event, one.name)
        if isinstance(value, Image.Image):
            values["url"] = to_data_url(value)
        else:
            values[one.name] = _plain(value)
    return values


def to_json(event: Event) -> str:
    """One line, as in `--trace FILE.jsonl`."""
    return json.dumps(to_dict(event), allow_nan=False)


def from_dict(values: Mapping[str, Any]) -> Event:
    """Reads back what `to_dict` gave, pictures decoded. Raises `InputError` for anything else."""
    kind = next((one for one in Event.__subclasses__() if one.type == values.get("type")), None)
    if kind is None:
        raise InputError(f"{str(values.get('type'))[:40]!r} is no event of this version")
    fields = dict(values)
    if kind is ImageShown:
        fields["image"] = from_data_url(str(fields.get("url")))
    try:
        event: Event = TypeAdapter(kind).validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"the event {kind.type} is broken ({where}: {first['msg']})") from None
    return event


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value
