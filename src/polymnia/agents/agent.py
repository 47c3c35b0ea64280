"""One agent: sample, run the tools that were asked for, append what they gave, repeat until an answer.

Ends with an answer, with `AgentError`, or by cancellation. Does not know about other agents.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from polymnia.agents import events
from polymnia.agents.model import ChatModel, FinishReason, Sampling, Usage
from polymnia.agents.stream import Voice
from polymnia.data.chat import ImagePart, Message, TextPart, ToolCall, ToolSpec, all_images
from polymnia.data.images import image_digest
from polymnia.errors import InputError, RunError
from polymnia.tools import Toolbox, ToolResult

MAX_STEPS = 12
"""Model calls of one agent; the last one is offered no tools, so that it has to answer."""
MAX_CALLS = 16
"""Tool calls that one turn may make."""
MAX_TOOL_PIXELS = 256_000_000
"""Of all pictures that tools gave one agent; 3 bytes each, kept as long as the agent works."""


class AgentError(RunError):
    """This agent has no answer; others may."""


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    text: str
    mean_logprob: float | None
    """Of the answering turn, where the model tells."""
    steps: int
    messages: tuple[Message, ...]
    """What the agent added to the conversation, its answer last."""


@dataclass(slots=True)
class _Turn:
    """One assistant turn while it streams in."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"
    mean_logprob: float | None = None


def derive_seed(seed: int, agent: int, step: int) -> int:
    """31 bits (what every endpoint accepts) that differ for each model call of a run."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{agent}/{step}".encode()).digest()[:4], "big") >> 1


async def run_agent(
    messages: Sequence[Message],
    *,
    model: ChatModel,
    tools: Toolbox,
    sampling: Sampling,
    voice: Voice,
    max_steps: int = MAX_STEPS,
) -> AgentAnswer:
    """Answer the conversation. `sampling.seed` is the run's seed; each step derives its own."""
    history = list(messages)
    given = len(all_images(history))
    seed = sampling.seed or 0
    for step in range(max_steps):
        own = replace(sampling, seed=derive_seed(seed, voice.agent, step))
        last = step == max_steps - 1
        try:
            turn = await _sample(model, history, () if last else tools.specs, own, voice, step)
        except InputError as error:
            if step == 0:
                raise  # the question itself cannot be answered
            raise AgentError(str(error)) from error
        calls = () if last else _with_unique_ids(turn.calls, history, step)
        history.append(_message(turn, calls))
        if not calls:
            break
        history += await _run_tools(calls, tools, all_images(history), given, voice)
    answer = turn.text.strip()
    if not answer:
        raise AgentError(_without_answer(turn, step + 1))
    return AgentAnswer(answer, turn.mean_logprob, step + 1, tuple(history[len(messages) :]))


async def _sample(
    model: ChatModel, history: list[Message], tools: Sequence[ToolSpec], sampling: Sampling, voice: Voice, step: int
) -> _Turn:
    turn = _Turn()
    async for delta in model.stream(history, tools=tools, sampling=sampling):
        if delta.reasoning:
            turn.reasoning += delta.reasoning
            voice.delta(events.ReasoningDelta, delta.reasoning, step=step)
        if delta.text:
            turn.text += delta.text
            voice.delta(events.TextDelta, delta.text, step=step)
        if delta.tool_call is not None:
            turn.calls.append(delta.tool_call)
        turn.usage = delta.usage or turn.usage
        turn.mean_logprob = delta.mean_logprob if delta.mean_logprob is not None else turn.mean_logprob
        turn.finish_reason = delta.finish_reason or turn.finish_reason
    voice.spend(turn.usage)
    voice.emit(events.UsageReported, usage=turn.usage, step=step, finish_reason=turn.finish_reason)
    return turn


def _message(turn: _Turn, calls: tuple[ToolCall, ...]) -> Message:
    content = (TextPart(turn.text),) if turn.text else ()
    return Message("assistant", content, reasoning=turn.reasoning, tool_calls=calls)


def _with_unique_ids(calls: list[ToolCall], history: list[Message], step: int) -> tuple[ToolCall, ...]:
    """The calls, renamed where a model repeats an id or gives none: results are matched by it."""
    seen = {call.id for message in history for call in message.tool_calls}
    renamed = []
    for position, call in enumerate(calls):
        if not call.id or call.id in seen:
            call = replace(call, id=f"call_{step}_{position}")
        seen.add(call.id)
        renamed.append(call)
    return tuple(renamed)


async def _run_tools(
    calls: tuple[ToolCall, ...], tools: Toolbox, images: list[Image.Image], given: int, voice: Voice
) -> list[Message]:
    """Run all calls at once; every call sees the pictures that were there before, the first `given` not from tools."""
    for call in calls:
        voice.emit(events.ToolCall, call=call.id, name=call.name, arguments=call.arguments)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_timed(call, position, tools, images)) for position, call in enumerate(calls)]
    messages = []
    index = len(images)
    room = MAX_TOOL_PIXELS - sum(_pixels(image) for image in images[given:])
    for call, task in zip(calls, running, strict=True):
        result, seconds = task.result()
        room -= (size := sum(_pixels(image) for image in result.images))
        if size and room < 0:
            result, room = ToolResult(_NO_ROOM, failed=True), room + size
        digests = []
        for image in result.images:
            index += 1
            digests.append(image_digest(image))
            show_image(voice, image, digests[-1], index=index, call=call.id)
        voice.emit(
            events.ToolResult,
            call=call.id,
            name=call.name,
            text=result.text,
            images=tuple(digests),
            failed=result.failed,
            seconds=seconds,
        )
        parts = ((TextPart(result.text),) if result.text else ()) + tuple(ImagePart(one) for one in result.images)
        messages.append(Message("tool", parts, tool_call_id=call.id, name=call.name))
    return messages


_NO_ROOM = "Error: the pictures from tools have become too large together; crop smaller boxes, or answer"


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


async def _timed(call: ToolCall, position: int, tools: Toolbox, images: list[Image.Image]) -> tuple[ToolResult, float]:
    start = time.monotonic()
    if position >= MAX_CALLS:
        return ToolResult(f"Error: a turn can make at most {MAX_CALLS} tool calls", failed=True), 0.0
    return await tools.call(call, images), time.monotonic() - start


def show_image(voice: Voice, image: Image.Image, digest: str, *, index: int, call: str) -> None:
    width, height = image.size
    voice.emit(events.ImageShown, digest=digest, index=index, width=width, height=height, call=call, image=image)


def _without_answer(turn: _Turn, steps: int) -> str:
    if turn.finish_reason == "length":
        return f"no answer: cut off after {turn.usage.completion_tokens} tokens (raise the token limit)"
    if turn.calls:
        return f"no answer after {steps} steps"
    return "no answer: the model's turn was empty"
