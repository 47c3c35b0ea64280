"""One request answered: by the model itself, or by the agents; either way as one stream of items.

`Opened`, then `Delta`s, then `Closed`. The model itself answers when tools are the client's business: it
brings its own, has just run one, or forbids them. In all other cases our agents answer, with our tools run
here. A client's `max_tokens` and `stop` hold for every agent: `Limited` sees to that.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from polymnia.agents import events
from polymnia.agents.events import Event, Mode
from polymnia.agents.model import (
    Accompanied,
    ChatModel,
    Delta,
    FinishReason,
    Sampling,
    TemperatureDefaults,
    Usage,
    known_roles,
    known_tools,
)
from polymnia.agents.run import PARALLEL_TEMPERATURE, answer
from polymnia.agents.team import LEVELS, Level
from polymnia.data.chat import Effort, Message, ToolSpec
from polymnia.errors import RunError
from polymnia.server.errors import ApiError
from polymnia.server.schema import ChatRequest, ToolMessage

T = TypeVar("T")


CONTEMPLATING: dict[str, Level] = {
    ":contemplating": "normal",
    ":contemplating-quick": "quick",
    ":contemplating-deep": "deep",
}
"""By the suffix of the model's name."""


@dataclass(frozen=True, slots=True)
class Opened:
    run: str | None
    """The run's id; None when the model itself answers."""


@dataclass(frozen=True, slots=True)
class Closed:
    usage: Usage
    critical_path_tokens: int | None
    """Only when several agents answered."""


Item = Opened | Delta | Closed


@dataclass(frozen=True, slots=True)
class Plan:
    """How a request is answered."""

    mode: Mode
    effort: Effort
    agents: int
    """At work at the same time; samples when the model itself answers."""
    raw: bool
    """The model itself answers, with no tools of ours."""
    level: Level = "normal"
    """Of agents that contemplate."""


def served_models(name: str) -> list[str]:
    return [name, *(name + suffix for suffix in CONTEMPLATING)]


def plan(request: ChatRequest, served: str) -> Plan:
    """Raises `ApiError` 404 for a model that is not served, 400 for fields that do not go together."""
    if request.model not in served_models(served):
        message = f"There is no model {request.model[:100]!r} here; there is: {', '.join(served_models(served))}."
        raise ApiError(404, message, param="model", code="model_not_found")
    suffix = request.model.removeprefix(served)
    raw = not suffix and bool(
        request.tools or request.tool_choice == "none" or isinstance(request.messages[-1], ToolMessage)
    )
    samples = request.n or 1
    if suffix and request.tools and request.tool_choice != "none":
        raise ApiError(400, "Agents that contemplate cannot wait for a client's tools; leave them out.", param="tools")
    if samples > 1 and not raw:
        message = 'n > 1 is only for the model by itself (tool_choice: "none", or tools of your own).'
        raise ApiError(400, message, param="n")
    if suffix:
        level = CONTEMPLATING[suffix]
        agents = LEVELS[level].agents
        return Plan("contemplating", request.reasoning_effort or "medium", agents, raw=False, level=level)
    effort = request.reasoning_effort or "medium"
    return Plan("instant" if effort == "minimal" else "thinking", effort, samples, raw)


def respond(
    request: ChatRequest, how: Plan, model: ChatModel, messages: Sequence[Message], tools: Sequence[ToolSpec]
) -> AsyncGenerator[Item, None]:
    """The items of the answer; closing the generator cancels all that works on it."""
    if how.raw:
        return _from_model(request, how, model, messages, tools)
    return _from_agents(request, how, model, messages)


async def _from_model(
    request: ChatRequest, how: Plan, model: ChatModel, messages: Sequence[Message], tools: Sequence[ToolSpec]
) -> AsyncGenerator[Item, None]:
    sampling = Sampling(
        temperature=_temperature(model, parallel=how.agents > 1)
        if request.temperature is None
        else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=request.token_limit,
        seed=request.seed,
        stop=tuple(request.stop or ()),
        effort=how.effort,
    )
    yield Opened(None)
    usage = Usage()
    async with aclosing(_closable(model.stream(messages, tools=tools, sampling=sampling, n=how.agents))) as deltas:
        async for delta in deltas:
            if delta.usage is not None:
                # The samples share one prompt.
                prompt = max(usage.prompt_tokens, delta.usage.prompt_tokens)
                usage = replace(usage + delta.usage, prompt_tokens=prompt)
            yield delta
    yield Closed(usage, None)


async def _from_agents(
    request: ChatRequest, how: Plan, model: ChatModel, messages: Sequence[Message]
) -> AsyncGenerator[Item, None]:
    def limited(one: ChatModel) -> Limited:
        return Limited(one, request.token_limit, tuple(request.stop or ()))

    roles = model.roles if isinstance(model, Accompanied) else {}
    run = answer(
        messages,
        model=limited(model),
        roles={role: limited(one) for role, one in roles.items()},
        mode=how.mode,
        level=how.level,
        effort=how.effort,
        seed=secrets.randbits(31) if request.seed is None else request.seed,
        temperature=request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        tools=() if request.tool_choice == "none" else None,
    )
    endings: dict[int | None, FinishReason] = {}
    async with aclosing(run) as happened:
        async for event in happened:
            match event:
                case events.RunStarted():
                    yield Opened(event.run)
                case events.AnswerDelta():
                    yield Delta(text=event.text)
                case events.UsageReported():
                    endings[event.agent] = event.finish_reason
                case events.RunFinished():
                    cut = endings.get(event.winner) == "length"
                    yield Delta(finish_reason="length" if cut else "stop")
                    yield Closed(event.usage, event.critical_path_tokens if how.mode == "contemplating" else None)
                    return
                case events.RunFailed() if endings and set(endings.values()) <= _cuts(request):
                    # To OpenAI's clients an answer cut off before its first word is an answer, not an error.
                    yield Delta(finish_reason="length" if set(endings.values()) == {"length"} else "stop")
                    yield Closed(event.usage, None)
                    return
                case _ if thought := _thought(event, how):
                    yield Delta(reasoning=thought)
    raise RunError("the run was cancelled before it had an answer")


def _cuts(request: ChatRequest) -> set[FinishReason]:
    """How a turn can end without a word and without a fault: at the limit, or at a stop sequence."""
    return {"length", "stop"} if request.stop else {"length"}


def _thought(event: Event, how: Plan) -> str:
    """What of an event goes to `reasoning_content`: one agent's words, or several agents' milestones."""
    several = how.mode == "contemplating"
    match event:
        case events.ReasoningDelta() if not several:
            return event.text
        case events.ToolCall() if not several:
            return f"\n[{event.name} {event.arguments}]\n"
        case events.RoundStarted() if several and event.round != 1:
            return f"Round {event.round}: {event.agents} agents look at each other's drafts\n"
        case events.AgentFinished() if several and event.role == "aggregate":
            return "A final agent has read the drafts\n"
        case events.AgentFinished() if several and event.role != "judge":
            return f"Agent {(event.agent or 0) + 1}: {event.answer}\n"
        case events.AgentFailed() if several:
            return f"Agent {(event.agent or 0) + 1} failed: {event.error}\n"
        case events.Consensus():
            return f"{event.count} agents agree on: {event.answer}\n"
    return ""


class Limited:
    """A model under a client's limits: `stop` for every call, `max_tokens` for all calls of an agent together.

    An agent is known by its task: each makes its calls one after the other, from one task of its own.
    """

    def __init__(self, model: ChatModel, max_tokens: int | None, stop: tuple[str, ...]) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._stop = stop
        self._spent: WeakKeyDictionary[asyncio.Task[object], int] = WeakKeyDictionary()

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def fingerprint(self) -> str:
        return self._model.fingerprint

    async def known_tools(self) -> Collection[str] | None:
        return await known_tools(self._model)

    async def known_roles(self) -> Collection[str] | None:
        return await known_roles(self._model)

    def default_temperature(self, *, parallel: bool) -> float | None:
        return _temperature(self._model, parallel=parallel)

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), sampling: Sampling, n: int = 1
    ) -> AsyncIterator[Delta]:
        agent = asyncio.current_task()
        assert agent is not None, "a model is only streamed from within a task"
        if self._max_tokens is not None:
            left = self._max_tokens - self._spent.get(agent, 0)
            if left <= 0:
                yield Delta(usage=Usage(), finish_reason="length")
                return
            sampling = replace(sampling, max_tokens=left)
        calls = self._model.stream(messages, tools=tools, sampling=replace(sampling, stop=self._stop), n=n)
        async with aclosing(_closable(calls)) as deltas:
            async for delta in deltas:
                if delta.usage is not None:
                    self._spent[agent] = self._spent.get(agent, 0) + delta.usage.completion_tokens
                yield delta


def _temperature(model: ChatModel, *, parallel: bool) -> float | None:
    """As `answer` chooses where nobody says: several samples must differ."""
    if isinstance(model, TemperatureDefaults):
        return model.default_temperature(parallel=parallel)
    return PARALLEL_TEMPERATURE if parallel else 0.0


def _closable(stream: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Models and runs are async generators; their protocols promise only iterators."""
    return cast(AsyncGenerator[T, None], stream)
