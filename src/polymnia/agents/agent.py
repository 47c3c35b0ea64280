"""One agent: sample, run the tools that were asked for, append what they gave, repeat until an answer.

Ends with an answer, with `AgentError`, or by cancellation. Does not know about other agents.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from polymnia.agents import events
from polymnia.agents.budget import Budget
from polymnia.agents.calls import Turn, call_model, call_tool
from polymnia.agents.model import ChatModel, Sampling
from polymnia.agents.stream import Voice
from polymnia.data.chat import ImagePart, Message, TextPart, ToolCall, all_images
from polymnia.data.images import image_digest
from polymnia.data.workspace import told_to_submit
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
class Trail:
    """What an agent has written so far, readable while it works and after it was cut off."""

    given: int = 0
    """Messages that it was given; the rest of `history` is its own."""
    history: list[Message] = field(default_factory=list)
    turn: Turn = field(default_factory=Turn)
    """The turn that is coming in."""
    steps: int = 0

    @property
    def own(self) -> tuple[Message, ...]:
        return tuple(self.history[self.given :])


def derive_seed(seed: int, path: str, step: int) -> int:
    """31 bits (what every endpoint accepts) that differ for each model call of a run."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{path}/{step}".encode()).digest()[:4], "big") >> 1


async def run_agent(
    messages: Sequence[Message],
    *,
    model: ChatModel,
    tools: Toolbox,
    sampling: Sampling,
    voice: Voice,
    budget: Budget,
    trail: Trail | None = None,
    max_steps: int = MAX_STEPS,
    from_held_back: bool = False,
) -> AgentAnswer:
    """Answer the conversation. `sampling.seed` is the run's seed; each step derives its own. `trail` fills.

    Once the budget is closing, the model is told to submit and gets no more tools.
    """
    trail = trail or Trail()
    history = trail.history = list(messages)
    trail.given = len(history)
    given = len(all_images(history))
    for step in range(max_steps):
        own = replace(sampling, seed=derive_seed(sampling.seed or 0, voice.path, step))
        closing = budget.is_closing(from_held_back=from_held_back)
        last = step == max_steps - 1 or closing
        asked = told_to_submit(history) if closing else history
        turn = trail.turn = Turn()
        try:
            offered = () if last else tools.specs
            await call_model(
                turn, model, asked, offered, own, voice=voice, step=step, budget=budget, from_held_back=from_held_back
            )
        except InputError as error:
            if step == 0:
                raise  # the question itself cannot be answered
            raise AgentError(str(error)) from error
        calls = () if last else _with_unique_ids(turn.calls, history, step)
        history.append(turn.message(calls))
        trail.turn, trail.steps = Turn(), step + 1
        if not calls:
            break
        history += await _run_tools(calls, tools, all_images(history), given, voice, budget, step)
    answer = turn.text.strip()
    if not answer:
        raise AgentError(_without_answer(turn, step + 1))
    return AgentAnswer(answer, turn.mean_logprob, step + 1, trail.own)


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
    calls: tuple[ToolCall, ...],
    tools: Toolbox,
    images: list[Image.Image],
    given: int,
    voice: Voice,
    budget: Budget,
    step: int,
) -> list[Message]:
    """Run all calls at once; every call sees the pictures that were there before, the first `given` not from tools."""
    for call in calls:
        voice.emit(events.ToolCall, call=call.id, name=call.name, arguments=call.arguments)
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(call_tool(call, tools, images, voice=voice, step=step, budget=budget))
            for call in calls[:MAX_CALLS]
        ]
    results = [task.result() for task in running] + [(_TOO_MANY, 0.0)] * (len(calls) - len(running))
    messages = []
    index = len(images)
    room = MAX_TOOL_PIXELS - sum(_pixels(image) for image in images[given:])
    for call, (result, seconds) in zip(calls, results, strict=True):
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

_TOO_MANY = ToolResult(f"Error: a turn can make at most {MAX_CALLS} tool calls", failed=True)


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


def show_image(voice: Voice, image: Image.Image, digest: str, *, index: int, call: str) -> None:
    width, height = image.size
    voice.emit(events.ImageShown, digest=digest, index=index, width=width, height=height, call=call, image=image)


def _without_answer(turn: Turn, steps: int) -> str:
    if turn.finish_reason == "length":
        return f"no answer: cut off after {turn.usage.completion_tokens} tokens (raise the token limit)"
    if turn.calls:
        return f"no answer after {steps} steps"
    return "no answer: the model's turn was empty"
