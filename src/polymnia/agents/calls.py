"""The two doors to the world: every model call and every tool call of a run passes through one of these functions.

A call is named by its agent's path and its ordinal there (`Voice.path`, `step`, position), which is what a journal
needs to know it again. Both take from the run's budget first and account for what it was afterwards.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from polymnia.agents import events
from polymnia.agents.budget import Budget
from polymnia.agents.model import ChatModel, FinishReason, Sampling, Usage
from polymnia.agents.stream import Voice
from polymnia.data.chat import Message, TextPart, ToolCall, ToolSpec
from polymnia.tools import Toolbox, ToolResult


@dataclass(slots=True)
class Turn:
    """One assistant turn while it streams in."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"
    mean_logprob: float | None = None

    def message(self, calls: tuple[ToolCall, ...] = ()) -> Message:
        content = (TextPart(self.text),) if self.text else ()
        return Message("assistant", content, reasoning=self.reasoning, tool_calls=calls)


async def call_model(
    turn: Turn,
    model: ChatModel,
    history: Sequence[Message],
    tools: Sequence[ToolSpec],
    sampling: Sampling,
    *,
    voice: Voice,
    step: int,
    budget: Budget,
    from_held_back: bool = False,
) -> None:
    """Let the model take its turn; `turn` fills as it comes, so that a broken-off one is not lost.

    Raises `BudgetError` before anything is sent when the run cannot pay for it.
    """
    reserved = await budget.reserve(model, history, tools, sampling, from_held_back=from_held_back)
    own = sampling if reserved.max_tokens is None else replace(sampling, max_tokens=reserved.max_tokens)
    start = time.monotonic()
    reported = False
    try:
        async for delta in model.stream(history, tools=tools, sampling=own):
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
            reported = reported or delta.usage is not None
    finally:
        if reported:
            budget.settle(reserved, model, turn.usage, time.monotonic() - start)
        else:
            budget.cancel(reserved, model, turn.reasoning + turn.text)
    voice.spend(turn.usage)
    voice.emit(events.UsageReported, usage=turn.usage, step=step, finish_reason=turn.finish_reason)


async def call_tool(
    call: ToolCall, tools: Toolbox, images: Sequence[Image.Image], *, voice: Voice, step: int, budget: Budget
) -> tuple[ToolResult, float]:
    """The tool's result and its seconds. What a run cannot pay for is a result that the model reads."""
    if not budget.take_tool_call():
        return ToolResult("Error: this run may make no more tool calls; answer now", failed=True), 0.0
    start = time.monotonic()
    return await tools.call(call, images), time.monotonic() - start
