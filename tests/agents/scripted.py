"""A `ChatModel` that says what a script tells it, one turn a call; for tests of what lies above a model."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from polymnia.agents.model import UNATTESTED, Delta, FinishReason, Sampling, Usage
from polymnia.data.chat import Message, ToolCall, ToolSpec


@dataclass(frozen=True)
class Turn:
    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    tokens: int = 10
    logprob: float | None = None
    seconds: float = 0.0
    """Before the first delta."""
    hangs: bool = False
    """Never ends after its deltas."""
    error: Exception | None = None
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class Asked:
    """One call that the model got."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    sampling: Sampling


@dataclass
class ScriptedModel:
    """`script(number of the call, what was asked)` gives the turn; `ScriptedModel.saying(...)` for lists."""

    script: Callable[[int, Asked], Turn]
    name: str = "scripted"
    fingerprint: str = UNATTESTED
    asked: list[Asked] = field(default_factory=list)
    running: int = 0
    most: int = 0
    cancelled: int = 0

    @staticmethod
    def saying(*turns: Turn | str) -> "ScriptedModel":
        given = [Turn(turn) if isinstance(turn, str) else turn for turn in turns]
        return ScriptedModel(lambda number, _: given[min(number, len(given) - 1)])

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), sampling: Sampling, n: int = 1
    ) -> AsyncIterator[Delta]:
        asked = Asked(tuple(messages), tuple(tools), sampling)
        turn = self.script(len(self.asked), asked)
        self.asked.append(asked)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(turn.seconds)
            if turn.error is not None:
                raise turn.error
            for letter in turn.reasoning:
                yield Delta(reasoning=letter)
            for letter in turn.text:
                yield Delta(text=letter)
            for call in turn.calls:
                yield Delta(tool_call=call)
            if turn.hangs:
                await asyncio.Event().wait()
            reason: FinishReason = turn.finish_reason or ("tool_calls" if turn.calls else "stop")
            usage = Usage(100, turn.tokens, len(turn.reasoning))
            yield Delta(usage=usage, finish_reason=reason, mean_logprob=turn.logprob)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


def tool_call(name: str, arguments: str, identity: str = "") -> ToolCall:
    return ToolCall(identity, name, arguments)
