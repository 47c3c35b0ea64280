"""A model that says what a test wrote down, and remembers what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from polymnia.agents.model import Delta, Sampling, Usage
from polymnia.data.chat import Message, ToolCall, ToolSpec

FINGERPRINT = "f0" * 32


@dataclass(frozen=True)
class Call:
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    sampling: Sampling
    n: int


Script = Callable[[Call], AsyncIterator[Delta]]


@dataclass
class ScriptedModel:
    script: Script
    name: str = "nano"
    fingerprint: str = FINGERPRINT
    calls: list[Call] = field(default_factory=list)
    running: int = 0
    """Calls under way."""

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), sampling: Sampling, n: int = 1
    ) -> AsyncIterator[Delta]:
        call = Call(tuple(messages), tuple(tools), sampling, n)
        self.calls.append(call)
        self.running += 1
        try:
            async for delta in self.script(call):
                yield delta
        finally:
            self.running -= 1


def says(*words: str, reasoning: str = "") -> Script:
    """Every sample is these words; 10 tokens in, 5 out, 2 of them reasoning."""

    async def script(call: Call) -> AsyncIterator[Delta]:
        for index in range(call.n):
            if reasoning:
                yield Delta(index, reasoning=reasoning)
            for word in words:
                yield Delta(index, text=word)
            yield Delta(index, usage=Usage(10, 5, 2), finish_reason="stop")

    return script


def calls_then_says(tool_call: ToolCall, answer: str) -> Script:
    """Asks for a tool until it has a result, then answers."""

    async def script(call: Call) -> AsyncIterator[Delta]:
        if call.messages[-1].role == "tool":
            yield Delta(text=answer)
            yield Delta(usage=Usage(20, 3, 0), finish_reason="stop")
        else:
            yield Delta(tool_call=tool_call)
            yield Delta(usage=Usage(10, 7, 0), finish_reason="tool_calls")

    return script


def says_and_waits(*words: str) -> Script:
    """Never ends by itself."""

    async def script(call: Call) -> AsyncIterator[Delta]:
        for word in words:
            yield Delta(reasoning=word)
        await asyncio.Event().wait()
        yield Delta()

    return script


def fails(error: Exception, *words: str) -> Script:
    """Raises after these words."""

    async def script(call: Call) -> AsyncIterator[Delta]:
        for word in words:
            yield Delta(text=word)
        raise error

    return script
