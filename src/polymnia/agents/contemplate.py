"""Contemplating: agents propose in waves, stop early on consensus, and vote.

A single agent is the same thing with one agent in one wave. The agents of a wave run at the same
time, with their own seeds and strategies, and none sees another. After each answer the stopping rule is
asked (`answers.lead_posterior`); waves end at running totals of 4, 8, 16, … Not covered yet: refining.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from polymnia.agents import events
from polymnia.agents.agent import MAX_STEPS, AgentAnswer, run_agent
from polymnia.agents.answers import Group, Standing, grouped, standing, weighted
from polymnia.agents.model import ChatModel, Sampling, Usage
from polymnia.agents.stream import EventStream, Voice
from polymnia.data.chat import Message, TextPart, all_images
from polymnia.data.images import image_digest
from polymnia.data.strategies import STRATEGIES
from polymnia.errors import PolymniaError, RunError
from polymnia.tools import Toolbox

FIRST_WAVE = 4
SURE = 0.95
"""The posterior at which a run stops: 4-0, 6-1 and 8-2 do, 3-0 does not."""
VERY_SURE = 0.99
"""For the deep level: 6-0 and 9-1."""

Work = Callable[[int], Awaitable[AgentAnswer]]
"""Lets the agent of this number answer."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    answer: str
    reason: events.EndReason
    winner: int
    groups: tuple[Group, ...]
    critical_path_tokens: int


@dataclass(slots=True)
class _Round:
    """What the agents of a round have brought so far."""

    answers: dict[int, AgentAnswer] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)
    critical_path_tokens: int = 0
    consensus: Standing | None = None

    def groups(self) -> list[Group]:
        return grouped(weighted({agent: (one.text, one.mean_logprob) for agent, one in self.answers.items()}))

    def standing(self) -> Standing:
        # By heads: the rule's guarantee is about counts, not about weights.
        return standing(weighted({agent: (one.text, None) for agent, one in self.answers.items()}))


async def contemplate(
    messages: Sequence[Message],
    *,
    model: ChatModel,
    tools: Toolbox,
    sampling: Sampling,
    agents: int,
    stream: EventStream,
    max_steps: int = MAX_STEPS,
    sure: float = SURE,
) -> Outcome:
    """The agents' joint answer; no more of them are asked once the posterior reaches `sure`.

    Raises the agents' error when every one of them failed.
    """
    stream.emit(events.RoundStarted, round=1, agents=agents)

    async def work(agent: int) -> AgentAnswer:
        voice = Voice(stream, agent)
        given = with_strategy(messages, strategy_of(agent))
        return await run_agent(given, model=model, tools=tools, sampling=sampling, voice=voice, max_steps=max_steps)

    state = _Round()
    started = wave = 0
    while started < agents and state.consensus is None:
        wave += 1
        total = min(FIRST_WAVE * 2 ** (wave - 1), agents)
        await _run_wave(range(started, total), wave, work, state, stream, sure)
        started = total
        if not state.answers:
            break  # whatever stopped a whole wave would stop the next one
    groups = state.groups()
    if len(groups) > 1:
        sides = tuple(side(group) for group in groups)
        digests = tuple(image_digest(image) for image in all_images(messages))
        stream.emit(events.Disagreement, round=1, claim=messages[-1].text, sides=sides, images=digests)
    stream.emit(events.RoundFinished, round=1, answers=len(state.answers), groups=len(groups))
    if not groups:
        raise _all_failed(state.errors)
    return _decide(state, groups)


def strategy_of(agent: int) -> str:
    return STRATEGIES[agent % len(STRATEGIES)]


def with_strategy(messages: Sequence[Message], strategy: str) -> list[Message]:
    """The conversation with the strategy at the end of its system message."""
    if not strategy:
        return list(messages)
    if messages[0].role == "system":
        first = messages[0]
        joined = (*first.content, TextPart(f"\n\n{strategy}" if first.content else strategy))
        return [replace(first, content=joined), *messages[1:]]
    return [Message("system", (TextPart(strategy),)), *messages]


def side(group: Group) -> events.Side:
    return events.Side(group.answer, group.agents, group.weight)


async def _run_wave(agents: range, wave: int, work: Work, state: _Round, stream: EventStream, sure: float) -> None:
    """Run the wave's agents to their end, or until the answers so far settle the vote."""
    async with asyncio.TaskGroup() as group:
        pending = {group.create_task(_guarded(agent, wave, work, state, stream)) for agent in agents}
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if state.consensus is None and state.answers and (lead := state.standing()).posterior >= sure:
                state.consensus = lead
                stream.emit(events.Consensus, round=1, **dataclasses.asdict(lead))
                for task in pending:
                    task.cancel()
    state.critical_path_tokens += max(stream.usage.get(agent, Usage()).completion_tokens for agent in agents)


async def _guarded(agent: int, wave: int, work: Work, state: _Round, stream: EventStream) -> None:
    """One agent whose failure is noted and does not end the others. Cancellation passes through."""
    voice = Voice(stream, agent)
    voice.emit(events.AgentStarted, wave=wave, strategy=strategy_of(agent))
    try:
        answer = await work(agent)
    except asyncio.CancelledError:
        voice.emit(events.AgentCancelled)
        raise
    except Exception as error:  # an agent is an edge: whatever breaks in it must not take the others along
        if not isinstance(error, PolymniaError):
            log.exception("agent %d of run %s failed", agent, stream.run)
        state.errors[agent] = error
        voice.emit(events.AgentFailed, error=_describe(error))
        return
    state.answers[agent] = answer
    voice.emit(
        events.AgentFinished,
        answer=answer.text,
        usage=voice.spent,
        steps=answer.steps,
        mean_logprob=answer.mean_logprob,
    )


def _describe(error: Exception) -> str:
    if isinstance(error, PolymniaError):
        return str(error)
    first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    return f"internal error ({type(first).__name__}); the log says why"


def _decide(state: _Round, groups: list[Group]) -> Outcome:
    """The heaviest group wins; with a consensus, the group that has it."""
    winner = groups[0]
    if state.consensus is not None:
        winner = max(groups, key=lambda group: len(group.votes))
    return Outcome(
        winner.answer,
        "consensus" if state.consensus is not None else "rounds",
        winner.agents[0],
        tuple(groups),
        state.critical_path_tokens,
    )


def _all_failed(errors: dict[int, Exception]) -> PolymniaError:
    """The earliest agent's error stands for all; a bug of ours becomes a `RunError`."""
    first = errors[min(errors)]
    return first if isinstance(first, PolymniaError) else RunError(_describe(first))
