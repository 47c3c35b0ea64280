"""`answer`: the one entry of command line, server and benchmarks.

    async for event in answer(messages, model=model, mode="contemplating", agents=8):
        ...

Closing the iterator (or cancelling its task) ends all agents and their requests at once.
"""

import asyncio
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar, get_args

from polymnia.agents import events
from polymnia.agents.agent import MAX_STEPS
from polymnia.agents.budget import HELD_BACK, Budget, Limits, prices_of
from polymnia.agents.contemplate import contemplate, side
from polymnia.agents.crew import Job, describe
from polymnia.agents.events import Event, Mode, Role, RunFinished
from polymnia.agents.model import Accompanied, ChatModel, Sampling, TemperatureDefaults, known_roles, known_tools
from polymnia.agents.stream import EventStream
from polymnia.agents.team import ALONE, Level, TeamConfig, level_config, needs_one_agent
from polymnia.data.chat import Effort, Message, all_images
from polymnia.data.images import image_digest
from polymnia.errors import InputError, RunError
from polymnia.tools import Tool, Toolbox, default_tools

T = TypeVar("T")

MAX_TEMPERATURE = 2.0
PARALLEL_TEMPERATURE = 0.7
"""For several agents and a model that names none of its own."""
CARD_SHARE = 0.1
"""Of the deadline, for an endpoint to say what it knows of its model."""


async def answer(
    messages: Sequence[Message],
    *,
    model: ChatModel,
    mode: Mode = "contemplating",
    level: Level = "normal",
    agents: int | None = None,
    team: TeamConfig | None = None,
    roles: Mapping[Role, ChatModel] | None = None,
    limits: Limits | None = None,
    effort: Effort | None = None,
    seed: int = 0,
    temperature: float | None = None,
    top_p: float = 1.0,
    max_tokens: int | None = None,
    tools: Toolbox | Sequence[Tool] | None = None,
    max_steps: int = MAX_STEPS,
    cancel: asyncio.Event | None = None,
    run: str | None = None,
) -> AsyncGenerator[Event, None]:
    """Answer the conversation's last message, which is a user's; yields what happens.

    In Contemplating mode `level` says how large the team is and how many rounds it works; `agents` overrides its
    number, `team` everything. `roles`: other models than `model` for some roles, unless it brings some itself; a model
    that says it was not trained for a role does not get it. `limits`: what the whole run may spend; with a deadline
    the best answer so far comes back in time. `effort` is `minimal` in instant mode and `medium` otherwise unless
    given. `temperature`: unless given, the model's own default; without one, greedy for a single agent and 0.7 for
    several. `tools`: `offered_tools(model)` unless given; `()` for none. `max_tokens` bounds each model call.
    Setting `cancel` ends the run with `run_cancelled`.

    Raises `InputError` before the first event when the input cannot be used; after `run_failed` the error
    that every agent ended with.
    """
    started = asyncio.get_running_loop().time()
    config = _team(mode, level, agents, team)
    limits = limits or Limits()
    heat = _temperature(model, temperature, parallel=mode == "contemplating")
    thought = effort or ("minimal" if mode == "instant" else "medium")
    sampling = Sampling(heat, top_p, max_tokens, seed, effort=thought)
    _check(messages, sampling)
    if roles is None and isinstance(model, Accompanied):
        roles = model.roles
    _check_prices([model, *(roles or {}).values()], limits)
    card_seconds = None if limits.seconds is None else CARD_SHARE * limits.seconds
    cast = await _within(card_seconds, _cast(model, roles), _full_cast(model, roles))
    if tools is None:
        box = await _within(card_seconds, offered_tools(model), default_tools())
    else:
        box = tools if isinstance(tools, Toolbox) else Toolbox(tools)
    if config.router and needs_one_agent(messages[-1].text, box):
        config = ALONE
    stream = EventStream(run or f"run_{uuid.uuid4().hex}")
    budget = Budget(
        limits, started=started, held_back=HELD_BACK if config.agents > 1 else 0.0, warn=partial(_warn, stream)
    )
    job = Job(messages, cast, box, sampling, config, budget, stream, max_steps)
    _announce(job, model, mode)
    driver = asyncio.create_task(_drive(job))
    tasks = [driver] if cancel is None else [driver, asyncio.create_task(_cancel_on(cancel, driver))]
    try:
        async for event in stream:
            yield event
        await asyncio.wait([driver])
        if not driver.cancelled():
            driver.result()  # raises what the run failed with
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def offered_tools(model: ChatModel) -> Toolbox:
    """All default tools; of a model that says which ones it knows, only those."""
    known = await known_tools(model)
    return Toolbox([one for one in default_tools().tools if known is None or one.spec.name in known])


async def outcome(happenings: AsyncIterator[Event]) -> RunFinished:
    """Let a run go on to its end, for those who only want that. Raises what `answer` raises."""
    last = None
    async for event in happenings:
        last = event
    if not isinstance(last, RunFinished):
        raise RunError("the run was cancelled")
    return last


async def _drive(job: Job) -> None:
    """Do the work and write the event that ends the run, whatever happens."""
    stream, budget = job.stream, job.budget
    try:
        done = await contemplate(job)
        stream.emit(events.AnswerDelta, text=done.answer)
        stream.emit(
            RunFinished,
            answer=done.answer,
            reason=done.reason,
            winner=done.winner,
            votes=tuple(side(group) for group in done.groups),
            usage=stream.total_usage,
            critical_path_tokens=done.critical_path_tokens,
            seconds=stream.seconds,
            tool_calls=budget.tool_calls,
            cost=budget.cost if budget.priced else None,
        )
    except asyncio.CancelledError:
        stream.emit(events.RunCancelled, usage=stream.total_usage, seconds=stream.seconds)
        raise
    except Exception as error:
        text = describe(error)
        stream.emit(events.RunFailed, error=text, usage=stream.total_usage, seconds=stream.seconds)
        raise
    finally:
        stream.close()


async def _cancel_on(cancel: asyncio.Event, driver: "asyncio.Task[None]") -> None:
    await cancel.wait()
    driver.cancel()


def _announce(job: Job, model: ChatModel, mode: Mode) -> None:
    job.stream.emit(
        events.RunStarted,
        mode=mode,
        question=job.messages[-1].text,
        model=model.name,
        fingerprint=model.fingerprint,
        agents=job.config.agents,
        seed=job.sampling.seed,
        effort=job.sampling.effort,
        temperature=job.sampling.temperature,
        tools=tuple(spec.name for spec in job.tools.specs),
        rounds=job.config.rounds if "refine" in job.cast else 1,
    )
    for index, image in enumerate(all_images(job.messages), start=1):
        width, height = image.size
        digest = image_digest(image)
        job.stream.emit(events.ImageShown, digest=digest, index=index, width=width, height=height, call="", image=image)


def _team(mode: Mode, level: Level, agents: int | None, team: TeamConfig | None) -> TeamConfig:
    if mode not in get_args(Mode):
        raise InputError(f"unknown mode {mode!r}: choose one of {', '.join(get_args(Mode))}")
    config = team or level_config(level)
    if agents is not None:
        config = replace(config, agents=agents)  # refuses a wrong number
    return config if mode == "contemplating" else ALONE


def _full_cast(model: ChatModel, roles: Mapping[Role, ChatModel] | None) -> dict[Role, ChatModel]:
    return {role: (roles or {}).get(role, model) for role in get_args(Role)}


async def _cast(model: ChatModel, roles: Mapping[Role, ChatModel] | None) -> dict[Role, ChatModel]:
    """Who plays which role. A model proposes in any case; other roles only if it does not say otherwise."""
    cast: dict[Role, ChatModel] = {}
    for role, one in _full_cast(model, roles).items():
        known = await known_roles(one)
        if role == "propose" or known is None or role in known:
            cast[role] = one
    return cast


async def _within(seconds: float | None, work: Awaitable[T], otherwise: T) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return otherwise


def _warn(stream: EventStream, resource: events.Resource, spent: float, limit: float) -> None:
    stream.emit(events.BudgetWarning, resource=resource, spent=round(spent, 6), limit=limit)


def _check_prices(models: Sequence[ChatModel], limits: Limits) -> None:
    for one in models:
        if limits.cost is not None and prices_of(one) is None:
            raise InputError(
                f"nobody knows what {one.name} costs: leave the limit of {limits.cost:g} dollars out, or put "
                "the model with its prices into config.toml"
            )


def _temperature(model: ChatModel, given: float | None, *, parallel: bool) -> float | None:
    if given is not None:
        return given
    if isinstance(model, TemperatureDefaults):
        return model.default_temperature(parallel=parallel)
    return PARALLEL_TEMPERATURE if parallel else 0.0


def _check(messages: Sequence[Message], sampling: Sampling) -> None:
    """Raise `InputError` for what no model could answer."""
    if not messages:
        raise InputError("there is no message to answer: give a question")
    if messages[-1].role != "user":
        raise InputError(f"the last message is of role {messages[-1].role!r}: end with a user's message")
    if not messages[-1].text.strip():
        raise InputError("the question is empty: write what you want to know")
    if sampling.effort not in get_args(Effort):
        raise InputError(f"unknown effort {sampling.effort!r}: choose one of {', '.join(get_args(Effort))}")
    heat = sampling.temperature
    if heat is not None and not (math.isfinite(heat) and 0 <= heat <= MAX_TEMPERATURE):
        raise InputError(f"temperature {heat} is out of range: choose a number from 0 to {MAX_TEMPERATURE:g}")
    if not 0 < sampling.top_p <= 1:
        raise InputError(f"top_p {sampling.top_p} is out of range: choose a number above 0, at most 1")
    if sampling.max_tokens is not None and sampling.max_tokens < 1:
        raise InputError(f"at most {sampling.max_tokens} tokens leave no room for an answer: allow at least 1")
