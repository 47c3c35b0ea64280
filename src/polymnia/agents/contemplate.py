"""Contemplating: agents propose in waves, stop on consensus, refine each other's drafts, and one answer is chosen.

A single agent is the same thing with one agent in one round. Nobody sees another's name or vote. The vote is looked at
after each answer (`crew.note_consensus`) and, with a judge, after each wave and round. It is anytime: when time or
means run out, the best answer so far comes back with the reason. Figures behind each part: `team.py`.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from polymnia.agents import events
from polymnia.agents.answers import Group
from polymnia.agents.crew import (
    Job,
    Seat,
    State,
    describe,
    keep_partial_drafts,
    new_state,
    note_consensus,
    run_alone,
    run_wave,
)
from polymnia.agents.judge import check_consensus, join_equal_answers
from polymnia.agents.ledger import Draft
from polymnia.agents.trajectories import is_longer, trajectory_tools
from polymnia.data.chat import Message, TextPart, all_images
from polymnia.data.images import image_digest
from polymnia.data.strategies import STRATEGIES
from polymnia.data.workspace import aggregate_messages, deal, draft_text, refine_messages
from polymnia.errors import PolymniaError, RunError
from polymnia.tools import Toolbox

SHORT_ANSWER = 80
"""Characters up to which answers are voted on."""
LAST_CALL = 0.85
"""Of the deadline: from here on the final agent gets the rest of it, if it is needed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    answer: str
    reason: events.EndReason
    winner: int
    groups: tuple[Group, ...]
    critical_path_tokens: int


async def contemplate(job: Job) -> Outcome:
    """The agents' joint answer.

    Raises the agents' error when every one of them failed, `RunError` when there was no time for any answer.
    """
    state = new_state(job)
    final: tuple[int, str] | None = None
    with _warning_of_the_end(job):
        late = await _in_time(job, state)
        if late or job.budget.refused:
            keep_partial_drafts(state)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(job.budget.deadline):
                if needs_final_agent(job, state):
                    final = await _aggregate(job, state)
    if not state.ledger.latest():
        raise _no_answer(job, state, late)
    late = late or job.budget.seconds_left <= 0
    return _decide(job, state, final, late)


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


def needs_final_agent(job: Job, state: State) -> bool:
    """Whether a model is to write the answer: drafts disagree, and they are long or no short one has a majority."""
    groups = state.ledger.groups()
    if not job.config.aggregate or "aggregate" not in job.cast or state.consensus is not None or len(groups) < 2:
        return False
    votes = [len(group.votes) for group in groups]
    return any(len(group.answer) > SHORT_ANSWER for group in groups) or 2 * max(votes) <= sum(votes)


# ------------------------------------------------------------------------------------- in time


async def _in_time(job: Job, state: State) -> bool:
    """Propose and refine; True when the time for it ran out."""
    moment = job.budget.moment(LAST_CALL)
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None
    try:
        async with asyncio.timeout_at(job.budget.deadline) as limit:

            def leave_time_for_the_final_agent() -> None:
                if needs_final_agent(job, state):
                    limit.reschedule(loop.time())

            if moment is not None:
                timer = loop.call_at(moment, leave_time_for_the_final_agent)
            await _propose(job, state)
            for round in range(2, job.config.rounds + 1):
                if _is_settled(job, state) or "refine" not in job.cast:
                    break
                before = state.ledger.standing()
                await _refine(job, state, round)
                if round >= job.config.least_rounds and state.ledger.standing() == before:
                    break
    except TimeoutError:
        return True
    finally:
        if timer is not None:
            timer.cancel()
    return False


@contextlib.contextmanager
def _warning_of_the_end(job: Job) -> Iterator[None]:
    """The budget's own warning comes with a call; time passes without one."""
    moment = job.budget.moment(0.8)
    timer = None if moment is None else asyncio.get_running_loop().call_at(moment, job.budget.note)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


def _is_settled(job: Job, state: State) -> bool:
    """Whether a further round is of no use, or cannot be paid for."""
    lead = state.ledger.standing()
    if state.consensus is not None or lead is None or job.budget.refused or job.budget.closing:
        return True
    agree = lead.distinct == 1 and state.ledger.key(lead.answer) not in state.doubted
    return len(state.ledger.latest()) < 2 or (agree and job.config.early_stop)


# ------------------------------------------------------------------------------------- the rounds


async def _propose(job: Job, state: State) -> None:
    config = job.config
    job.stream.emit(events.RoundStarted, round=1, agents=config.agents)
    started = wave = 0
    while started < config.agents and state.consensus is None and not job.budget.refused:
        wave += 1
        total = config.agents if config.first_wave is None else min(config.first_wave * 2 ** (wave - 1), config.agents)
        seats = [_proposer(job, agent, strategy_of(agent)) for agent in range(started, total)]
        await run_wave(job, state, seats, round=1, wave=wave)
        started = total
        if not state.ledger.latest():
            break  # whatever stopped a whole wave would stop the next one
        await _look_at_the_vote(job, state, 1)
    _end_round(job, state, 1)


async def _refine(job: Job, state: State, round: int) -> None:
    """Each agent improves on a workspace of drafts; those whose workspace says what they say are left alone."""
    config, ledger = job.config, state.ledger
    drafts = list(ledger.latest().values())
    job.stream.emit(events.RoundStarted, round=round, agents=len(drafts))
    numbers = random.Random(f"{job.sampling.seed}/{round}")
    elite, fresh = _elite_and_fresh(state, drafts) if config.elite_and_fresh and len(drafts) >= 4 else (None, None)
    readers = [draft for draft in drafts if draft not in (elite, fresh)]
    seats = []
    if elite is not None:
        ledger.carry(elite, round)
    if fresh is not None:
        seats.append(_proposer(job, fresh.agent, strategy_of(fresh.agent + round - 1)))
    for reader, hand in zip(readers, deal(len(drafts), len(readers), config.drafts, numbers), strict=True):
        shown = [drafts[index] for index in hand]
        keys = {ledger.key(draft.answer) for draft in [reader, *shown]}
        if config.skip_agreeing and len(keys) == 1 and not keys & state.doubted:
            ledger.carry(reader, round)
            continue
        texts = [draft_text(draft.messages, config.draft_tokens) for draft in shown]
        seats.append(Seat(reader.agent, "refine", refine_messages(job.messages, texts)))
    await run_wave(job, state, seats, round=round)
    await _look_at_the_vote(job, state, round)
    _end_round(job, state, round)


def _proposer(job: Job, agent: int, strategy: str) -> Seat:
    strategy = strategy if job.config.strategies else ""
    return Seat(agent, "propose", with_strategy(job.messages, strategy), strategy)


def _elite_and_fresh(state: State, drafts: Sequence[Draft]) -> tuple[Draft, Draft]:
    """The draft that stays as it is, and the one that is drawn anew: both of the heaviest group if it has two, so that
    no rare answer is lost."""
    by_agent = {draft.agent: draft for draft in drafts}
    leading = [by_agent[agent] for agent in state.ledger.groups()[0].agents]
    best = max(leading, key=lambda draft: draft.mean_logprob if draft.mean_logprob is not None else 0.0)
    others = [draft for draft in leading if draft is not best] or [draft for draft in drafts if draft is not best]
    return best, others[-1]


async def _look_at_the_vote(job: Job, state: State, round: int) -> None:
    """With a judge's help; a consensus may have to stand a check."""
    await join_equal_answers(job, state, round)
    if note_consensus(job, state, round):
        await check_consensus(job, state, round)


def _end_round(job: Job, state: State, round: int) -> None:
    groups = state.ledger.groups()
    if len(groups) > 1:
        sides = tuple(side(group) for group in groups)
        digests = tuple(image_digest(image) for image in all_images(job.messages))
        claim = job.messages[-1].text
        job.stream.emit(events.Disagreement, round=round, claim=claim, sides=sides, images=digests)
    answers = len(state.ledger.latest())
    job.stream.emit(events.RoundFinished, round=round, answers=answers, distinct=len(groups))


# ------------------------------------------------------------------------------------- the end


async def _aggregate(job: Job, state: State) -> tuple[int, str] | None:
    """The final agent's number and answer; None when it fails, and the vote has to do."""
    groups, latest = state.ledger.groups(), state.ledger.latest()
    # One draft for each answer, the heaviest first, then more of the heavy ones.
    ranks = sorted(
        (rank, place, agent) for place, group in enumerate(groups) for rank, agent in enumerate(group.agents)
    )
    shown = [latest[agent] for _, _, agent in ranks[: job.config.drafts]]
    random.Random(f"{job.sampling.seed}/final").shuffle(shown)
    texts = [draft_text(draft.messages, job.config.draft_tokens) for draft in shown]
    asked = aggregate_messages(job.messages, texts, [_claim(group.answer) for group in groups[: job.config.drafts]])
    tools = job.tools
    if job.config.read_trajectories and any(_has_more(draft, job.config.draft_tokens) for draft in shown):
        own = {one.spec.name for one in job.tools.tools}
        reading = [one for one in trajectory_tools(shown).tools if one.spec.name not in own]
        tools = Toolbox([*job.tools.tools, *reading])
    seat = Seat(next(state.numbers), "aggregate", asked, tools=tools)
    found = await run_alone(job, state, seat, round=max(draft.round for draft in shown))
    if found is None:
        return None
    draft = Draft(seat.agent, shown[0].round, found.text, found.messages, found.mean_logprob, "aggregate")
    state.ledger.add(draft)
    return seat.agent, found.text


def _claim(answer: str) -> str:
    """An answer in a line, for telling the final agent between what the drafts are divided."""
    line = " ".join(answer.split())
    return line if len(line) <= 2 * SHORT_ANSWER else f"{line[: 2 * SHORT_ANSWER]}..."


def _has_more(draft: Draft, tokens: int) -> bool:
    return is_longer(draft, tokens) or any(one.tool_calls for one in draft.messages)


def _decide(job: Job, state: State, final: tuple[int, str] | None, late: bool) -> Outcome:
    """The final agent's answer if there is one; else the heaviest group, or the one that has the consensus."""
    state.ledger.check_integrity()
    groups = state.ledger.groups()
    winner = groups[0]
    if state.consensus is not None:
        winner = max(groups, key=lambda group: len(group.votes))
    agent, answer = final or (winner.agents[0], winner.answer)
    reason: events.EndReason = "rounds"
    if state.consensus is not None:
        reason = "consensus"
    elif late:
        reason = "deadline"
    elif job.budget.refused:
        reason = "budget"
    return Outcome(answer, reason, agent, tuple(groups), state.critical_path_tokens)


def _no_answer(job: Job, state: State, late: bool) -> PolymniaError:
    """The earliest agent's error stands for all; a bug of ours becomes a `RunError`."""
    if late:
        return RunError(f"no agent had an answer after {job.budget.limits.seconds:g} s: allow more time")
    if not state.errors:
        return RunError("no agent could be started: allow more")
    first = state.errors[min(state.errors)]
    return first if isinstance(first, PolymniaError) else RunError(describe(first))
