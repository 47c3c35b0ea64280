"""Where a run's events are numbered, coalesced and handed to the one who iterates.

A model's deltas come faster than anyone reads: those of an agent are joined until 50 ms have passed
since its last one (at most 20 a second), and flushed before any other event of that agent, so that the
order within an agent stays true.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from polymnia.agents.events import Event, ReasoningDelta, TextDelta
from polymnia.agents.model import Usage

DELTA_SECONDS = 0.05


@dataclass(slots=True)
class _Pending:
    """An agent's delta that has not been emitted yet."""

    kind: type[TextDelta] | type[ReasoningDelta] = TextDelta
    fields: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    last: float = 0.0
    """Loop time of the agent's last delta event."""
    timer: asyncio.TimerHandle | None = None


class EventStream:
    """One run's events. `emit` from anywhere on the loop; iterate once; `close` ends the iteration."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.started = time.time()
        self.usage: dict[int, Usage] = {}
        """By agent, as far as model calls have reported."""
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._seq = 0
        self._pending: dict[int, _Pending] = {}

    @property
    def seconds(self) -> float:
        return time.time() - self.started

    @property
    def total_usage(self) -> Usage:
        return sum(self.usage.values(), Usage())

    def emit(self, kind: type[Event], *, agent: int | None = None, round: int | None = None, **fields: Any) -> None:
        if agent is not None:
            self._flush(agent)
        self._put(kind, agent=agent, round=round, **fields)

    def delta(self, kind: type[TextDelta] | type[ReasoningDelta], text: str, *, agent: int, **fields: Any) -> None:
        """Emit the text now or with what follows within 50 ms."""
        pending = self._pending.setdefault(agent, _Pending())
        if pending.text and (pending.kind is not kind or pending.fields != fields):
            self._flush(agent)
        pending.kind, pending.fields = kind, fields
        pending.text += text
        loop = asyncio.get_running_loop()
        wait = pending.last + DELTA_SECONDS - loop.time()
        if wait <= 0:
            self._flush(agent)
        elif pending.timer is None:
            pending.timer = loop.call_later(wait, self._flush, agent)

    def close(self) -> None:
        for agent in self._pending:
            self._flush(agent)
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event

    def _flush(self, agent: int) -> None:
        pending = self._pending.get(agent)
        if pending is None:
            return
        if pending.timer is not None:
            pending.timer.cancel()
            pending.timer = None
        if pending.text:
            text, pending.text = pending.text, ""
            pending.last = asyncio.get_running_loop().time()
            self._put(pending.kind, agent=agent, text=text, **pending.fields)

    def _put(self, kind: type[Event], **fields: Any) -> None:
        self._queue.put_nowait(kind(run=self.run, seq=self._seq, time=time.time(), **fields))
        self._seq += 1


@dataclass(frozen=True, slots=True)
class Voice:
    """One agent's side of the stream."""

    stream: EventStream
    agent: int
    round: int = 1

    @property
    def path(self) -> str:
        """Names this agent's work within its run: `3`, and `2/3` in the second round."""
        return str(self.agent) if self.round == 1 else f"{self.round}/{self.agent}"

    def emit(self, kind: type[Event], **fields: Any) -> None:
        self.stream.emit(kind, agent=self.agent, round=self.round, **fields)

    def delta(self, kind: type[TextDelta] | type[ReasoningDelta], text: str, *, step: int) -> None:
        self.stream.delta(kind, text, agent=self.agent, round=self.round, step=step)

    def spend(self, usage: Usage) -> None:
        """Add a call's cost to the run's account."""
        self.stream.usage[self.agent] = self.stream.usage.get(self.agent, Usage()) + usage

    @property
    def spent(self) -> Usage:
        return self.stream.usage.get(self.agent, Usage())
