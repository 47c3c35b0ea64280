"""Agents of one run at work side by side: a wave is started, watched, stopped when the vote is settled.

What all of them share is a `Job`, what they bring a `State`. One agent's failure is noted and ends nobody else;
cancelling ends everybody, and what they had written is kept. Not covered: which agents there are, and what for
(`contemplate.py`).
"""

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from polymnia.agents import events
from polymnia.agents.agent import MAX_STEPS, AgentAnswer, Trail, run_agent
from polymnia.agents.answers import Standing, states_answer
from polymnia.agents.budget import Budget
from polymnia.agents.events import Role
from polymnia.agents.ledger import Draft, Ledger
from polymnia.agents.model import ChatModel, Sampling, Usage
from polymnia.agents.stream import EventStream, Voice
from polymnia.agents.team import TeamConfig
from polymnia.data.chat import Message
from polymnia.errors import PolymniaError
from polymnia.tools import Toolbox

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    messages: Sequence[Message]
    cast: Mapping[Role, ChatModel]
    """Who plays which role; a role that nobody plays is left out."""
    tools: Toolbox
    sampling: Sampling
    """Its seed is the run's."""
    config: TeamConfig
    budget: Budget
    stream: EventStream
    max_steps: int = MAX_STEPS


@dataclass(frozen=True, slots=True)
class Seat:
    """One agent's task in one round."""

    agent: int
    role: Role
    messages: Sequence[Message]
    strategy: str = ""
    tools: Toolbox | None = None
    """None: the job's."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """An agent that ended without an answer."""

    seat: Seat
    round: int
    trail: Trail


@dataclass(slots=True)
class State:
    """What the agents of a run have brought so far."""

    numbers: Iterator[int]
    """For agents beyond those that propose."""
    ledger: Ledger = field(default_factory=Ledger)
    errors: dict[int, Exception] = field(default_factory=dict)
    stopped: list[Stopped] = field(default_factory=list)
    consensus: Standing | None = None
    doubted: set[str] = field(default_factory=set)
    """Meanings that a check has rejected: they win only at the end of a further wave or round."""
    judged: set[str] = field(default_factory=set)
    """Meanings that a judge has compared with each other."""
    critical_path_tokens: int = 0


def new_state(job: Job) -> State:
    return State(itertools.count(job.config.agents))


async def run_wave(job: Job, state: State, seats: Sequence[Seat], *, round: int, wave: int = 1) -> None:
    """Run these agents to their end, or until the answers so far settle the vote."""
    seats = [seat for seat in seats if job.budget.start_agent()]
    before = {seat.agent: _written(job, seat.agent) for seat in seats}
    job.budget.waiting = len(seats)
    try:
        async with asyncio.TaskGroup() as group:
            pending = {group.create_task(_guarded(job, state, seat, round, wave)) for seat in seats}
            while pending:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if pending and note_consensus(job, state, round, in_between=True):
                    for task in pending:
                        task.cancel()
    finally:
        job.budget.waiting = 0
        state.critical_path_tokens += max((_written(job, agent) - was for agent, was in before.items()), default=0)


async def run_alone(job: Job, state: State, seat: Seat, *, round: int) -> AgentAnswer | None:
    """One agent beside the vote (a judge, the final one), paid from what was held back; None when it fails."""
    if not job.budget.start_agent():
        return None
    job.budget.waiting = 1
    voice = Voice(job.stream, seat.agent, round)
    voice.emit(events.AgentStarted, wave=1, strategy=seat.strategy, role=seat.role)
    found: AgentAnswer | None = None
    try:
        async with asyncio.TaskGroup() as group:  # a task of its own, as every agent has
            working = group.create_task(_attempt(job, seat, voice))
        result = working.result()
        if isinstance(result, AgentAnswer):
            found = result
            _finished(voice, found, seat.role)
        else:
            voice.emit(events.AgentFailed, error=describe(result))
    except asyncio.CancelledError:
        voice.emit(events.AgentCancelled)
        raise
    finally:
        job.budget.waiting = 0
        state.critical_path_tokens += _written(job, seat.agent)
    return found


def note_consensus(job: Job, state: State, round: int, *, in_between: bool = False) -> bool:
    """Whether the vote is settled, and the event for it if it is so since now. Agents at work count with their
    drafts of the round before."""
    lead = state.ledger.standing()
    if state.consensus is not None or lead is None or not job.config.early_stop:
        return state.consensus is not None
    if lead.posterior < job.config.sure or (in_between and state.ledger.key(lead.answer) in state.doubted):
        return False
    state.consensus = lead
    job.stream.emit(events.Consensus, round=round, **dataclasses.asdict(lead))
    return True


def keep_partial_drafts(state: State) -> None:
    """After time ran out: unfinished texts that state an answer count; without any draft, every text does."""
    for one in state.stopped:
        text = partial_answer(one.trail)
        if states_answer(text):
            _add_partial(state, one, text)
    if not state.ledger.latest():
        for one in state.stopped:
            if text := partial_answer(one.trail):
                _add_partial(state, one, text)


def partial_answer(trail: Trail) -> str:
    """What a stopped agent wrote last for the person; empty if nothing."""
    if text := trail.turn.text.strip():
        return text
    said = [one.text.strip() for one in trail.own if one.role == "assistant" and one.text.strip()]
    return said[-1] if said else ""


def describe(error: Exception) -> str:
    """For people: a bug's own words go to the log only."""
    if isinstance(error, PolymniaError):
        return str(error)
    first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    return f"internal error ({type(first).__name__}); the log says why"


async def _guarded(job: Job, state: State, seat: Seat, round: int, wave: int) -> None:
    """One agent whose failure is noted and does not end the others. Cancellation passes through."""
    voice = Voice(job.stream, seat.agent, round)
    voice.emit(events.AgentStarted, wave=wave, strategy=seat.strategy, role=seat.role)
    trail = Trail()
    try:
        result = await _attempt(job, seat, voice, trail)
    except asyncio.CancelledError:
        state.stopped.append(Stopped(seat, round, trail))
        voice.emit(events.AgentCancelled, draft=partial_answer(trail))
        raise
    finally:
        job.budget.waiting -= 1
    if isinstance(result, Exception):
        state.errors[seat.agent] = result
        state.stopped.append(Stopped(seat, round, trail))
        voice.emit(events.AgentFailed, error=describe(result))
        return
    draft = Draft(seat.agent, round, result.text, result.messages, result.mean_logprob, seat.role)
    state.ledger.add(draft)
    _finished(voice, result, seat.role)


async def _attempt(job: Job, seat: Seat, voice: Voice, trail: Trail | None = None) -> AgentAnswer | Exception:
    try:
        return await run_agent(
            seat.messages,
            model=job.cast[seat.role],
            tools=job.tools if seat.tools is None else seat.tools,
            sampling=job.sampling,
            voice=voice,
            budget=job.budget,
            trail=trail,
            max_steps=job.max_steps,
            from_held_back=seat.role in ("aggregate", "judge"),
        )
    except Exception as error:  # an agent is an edge: whatever breaks in it must not take the others along
        if not isinstance(error, PolymniaError):
            log.exception("agent %d of run %s failed", seat.agent, job.stream.run)
        return error


def _finished(voice: Voice, answer: AgentAnswer, role: Role) -> None:
    voice.emit(
        events.AgentFinished,
        answer=answer.text,
        usage=voice.spent,
        steps=answer.steps,
        mean_logprob=answer.mean_logprob,
        role=role,
    )


def _add_partial(state: State, one: Stopped, text: str) -> None:
    messages = (*one.trail.own, one.trail.turn.message())
    state.ledger.add(Draft(one.seat.agent, one.round, text, messages, role=one.seat.role, partial=True))


def _written(job: Job, agent: int) -> int:
    return job.stream.usage.get(agent, Usage()).completion_tokens
