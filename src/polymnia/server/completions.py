"""The items of an answer in OpenAI's shapes: one completion, or the chunks of a stream.

Ours beyond OpenAI's: `reasoning_content`, `usage.critical_path_tokens` for Contemplating, and the headers
`x-polymnia-weights` and `x-polymnia-run`.
"""

import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from polymnia.agents.model import Delta, FinishReason, Usage
from polymnia.data.chat import ToolCall
from polymnia.server import http
from polymnia.server.answering import Closed, Item, Opened


@dataclass(frozen=True, slots=True)
class Head:
    """What is equal in all chunks of an answer."""

    model: str
    fingerprint: str
    """The weights digest."""
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def fields(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def headers(self, opened: Opened) -> dict[str, str]:
        run = {} if opened.run is None else {"x-polymnia-run": opened.run}
        return {"x-polymnia-weights": self.fingerprint} | run


@dataclass(slots=True)
class _Choice:
    """One sample as it grows."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.reasoning += delta.reasoning
        if delta.tool_call is not None:
            self.calls.append(delta.tool_call)
        self.finish_reason = delta.finish_reason or self.finish_reason

    @property
    def ending(self) -> FinishReason:
        """Calls that are the client's to run end a turn with `tool_calls`, whatever a model calls it."""
        if self.calls and self.finish_reason != "length":
            return "tool_calls"
        return self.finish_reason or "stop"


@dataclass(frozen=True, slots=True)
class Completion:
    body: dict[str, Any]
    headers: dict[str, str]


async def complete(items: AsyncGenerator[Item, None], head: Head, n: int) -> Completion:
    """All of an answer as one completion."""
    choices = [_Choice() for _ in range(n)]
    opened, closed = Opened(None), Closed(Usage(), None)
    async with aclosing(items):
        async for item in items:
            match item:
                case Opened():
                    opened = item
                case Closed():
                    closed = item
                case Delta():
                    choices[item.index].add(item)
    body = head.fields("chat.completion") | {
        "choices": [_choice(index, choice) for index, choice in enumerate(choices)],
        "usage": usage_body(closed),
    }
    return Completion(body, head.headers(opened))


def _choice(index: int, choice: _Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or (None if choice.calls else "")}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.calls:
        message["tool_calls"] = [_call(call) for call in choice.calls]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.ending}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def usage_body(closed: Closed) -> dict[str, Any]:
    """Tokens of all agents together; `critical_path_tokens` is their longest chain."""
    usage = closed.usage
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if closed.critical_path_tokens is not None:
        body["critical_path_tokens"] = closed.critical_path_tokens
    return body


async def stream(
    items: AsyncGenerator[Item, None], head: Head, n: int, *, include_usage: bool
) -> AsyncGenerator[http.Item, None]:
    """The headers, then the answer's chunks as server-sent events."""
    common = head.fields("chat.completion.chunk")
    if include_usage:
        common["usage"] = None
    choices = [_Choice() for _ in range(n)]

    def chunk(index: int, delta: dict[str, Any], finish_reason: FinishReason | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return http.event(common | {"choices": [choice]})

    begun = False
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Opened):
                yield head.headers(item)
                continue
            if not begun:
                # Not earlier: until then an error still has a status of its own.
                begun = True
                for index in range(n):
                    yield chunk(index, {"role": "assistant", "content": ""})
            match item:
                case Delta():
                    for delta in _deltas(item, len(choices[item.index].calls)):
                        yield chunk(item.index, delta)
                    choices[item.index].add(item)
                case Closed():
                    for index, choice in enumerate(choices):
                        yield chunk(index, {}, choice.ending)
                    if include_usage:
                        yield http.event(common | {"choices": [], "usage": usage_body(item)})


def _deltas(delta: Delta, position: int) -> Iterator[dict[str, Any]]:
    """The chunk deltas of one piece; `position` is the place of a tool call among its turn's."""
    if delta.reasoning:
        yield {"reasoning_content": delta.reasoning}
    if delta.text:
        yield {"content": delta.text}
    if delta.tool_call is not None:
        opener = _call(delta.tool_call)
        opener["function"] |= {"arguments": ""}
        yield {"tool_calls": [{"index": position} | opener]}
        yield {"tool_calls": [{"index": position, "function": {"arguments": delta.tool_call.arguments}}]}
