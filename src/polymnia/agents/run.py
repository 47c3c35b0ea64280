"""`answer`: the one entry of command line, server and benchmarks.

    async for event in answer(messages, model=model, mode="contemplating", agents=8):
        ...

Closing the iterator (or cancelling its task) ends all agents and their requests at once.
"""

import asyncio
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, get_args

from polymnia.agents import events
from polymnia.agents.agent import MAX_STEPS
from polymnia.agents.contemplate import SURE, Outcome, contemplate, side
from polymnia.agents.events import Event, Mode, RunFinished
from polymnia.agents.model import ChatModel, Sampling, TemperatureDefaults, known_tools
from polymnia.agents.stream import EventStream
from polymnia.data.chat import Effort, Message, all_images
from polymnia.data.images import image_digest
from polymnia.errors import InputError, PolymniaError, RunError
from polymnia.tools import Tool, Toolbox, default_tools

MAX_AGENTS = 64
MAX_TEMPERATURE = 2.0
DEFAULT_AGENTS = 8
PARALLEL_TEMPERATURE = 0.7
"""For several agents and a model that names none of its own."""


async def answer(
    messages: Sequence[Message],
    *,
    model: ChatModel,
    mode: Mode = "contemplating",
    agents: int = DEFAULT_AGENTS,
    effort: Effort | None = None,
    seed: int = 0,
    temperature: float | None = None,
    top_p: float = 1.0,
    max_tokens: int | None = None,
    tools: Toolbox | Sequence[Tool] | None = None,
    max_steps: int = MAX_STEPS,
    sure: float = SURE,
    cancel: asyncio.Event | None = None,
    run: str | None = None,
) -> AsyncGenerator[Event, None]:
    """Answer the conversation's last message, which is a user's; yields what happens.

    `agents` counts in Contemplating mode only. `effort` is `minimal` in instant mode and `medium`
    otherwise unless given. `temperature`: unless given, the model's own default; without one, greedy for a
    single agent and 0.7 for several. `tools`: `offered_tools(model)` unless given; `()` for none.
    `sure`: the leading answer's posterior at which no more agents are asked. `max_tokens` bounds each model call.
    Setting `cancel` ends the run with `run_cancelled`.

    Raises `InputError` before the first event when the input cannot be used; after `run_failed` the error
    that every agent ended with.
    """
    number = _agents(mode, agents)
    heat = _temperature(model, temperature, parallel=mode == "contemplating")
    thought = effort or ("minimal" if mode == "instant" else "medium")
    sampling = Sampling(heat, top_p, max_tokens, seed, effort=thought)
    _check(messages, sampling)
    box = await offered_tools(model) if tools is None else tools if isinstance(tools, Toolbox) else Toolbox(tools)
    stream = EventStream(run or f"run_{uuid.uuid4().hex}")
    _announce(stream, messages, model, mode, number, sampling, box)
    settings: dict[str, Any] = {
        "model": model,
        "tools": box,
        "sampling": sampling,
        "agents": number,
        "max_steps": max_steps,
        "sure": sure,
    }
    driver = asyncio.create_task(_drive(partial(contemplate, messages, stream=stream, **settings), stream))
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


async def _drive(work: Callable[[], Awaitable[Outcome]], stream: EventStream) -> None:
    """Do the work and write the event that ends the run, whatever happens."""
    try:
        done = await work()
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
        )
    except asyncio.CancelledError:
        stream.emit(events.RunCancelled, usage=stream.total_usage, seconds=stream.seconds)
        raise
    except Exception as error:
        text = (
            str(error)
            if isinstance(error, PolymniaError)
            else f"internal error ({type(error).__name__}); the log says why"
        )
        stream.emit(events.RunFailed, error=text, usage=stream.total_usage, seconds=stream.seconds)
        raise
    finally:
        stream.close()


async def _cancel_on(cancel: asyncio.Event, driver: "asyncio.Task[None]") -> None:
    await cancel.wait()
    driver.cancel()


def _announce(
    stream: EventStream,
    messages: Sequence[Message],
    model: ChatModel,
    mode: Mode,
    agents: int,
    sampling: Sampling,
    tools: Toolbox,
) -> None:
    stream.emit(
        events.RunStarted,
        mode=mode,
        question=messages[-1].text,
        model=model.name,
        fingerprint=model.fingerprint,
        agents=agents,
        seed=sampling.seed,
        effort=sampling.effort,
        temperature=sampling.temperature,
        tools=tuple(spec.name for spec in tools.specs),
    )
    for index, image in enumerate(all_images(messages), start=1):
        width, height = image.size
        digest = image_digest(image)
        stream.emit(events.ImageShown, digest=digest, index=index, width=width, height=height, call="", image=image)


def _agents(mode: Mode, agents: int) -> int:
    if mode not in get_args(Mode):
        raise InputError(f"unknown mode {mode!r}: choose one of {', '.join(get_args(Mode))}")
    if not 1 <= agents <= MAX_AGENTS:
        raise InputError(f"{agents} agents cannot answer: choose a number from 1 to {MAX_AGENTS}")
    return agents if mode == "contemplating" else 1


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
