"""The agents at work, drawn on stderr from the events: live on a terminal, plain lines elsewhere."""

import os
import sys
from types import TracebackType
from typing import Protocol, Self, TextIO

from polymnia.agents import events
from polymnia.agents.events import Event
from polymnia.cli.board import (
    Board,
    call,
    consensus,
    disagreement,
    headline,
    one_line,
    role_line,
    round_line,
    warning,
)


class View(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, event: Event) -> None: ...


def open_view(*, plain: bool, silent: bool) -> View:
    """Live only where it can be: on a terminal that moves its cursor, with colours allowed."""
    if silent:
        return NoView()
    dumb = os.environ.get("TERM", "") in ("", "dumb")
    if plain or dumb or os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return PlainView(sys.stderr)
    from polymnia.cli.live import LiveView

    return LiveView()


class NoView:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        pass


class PlainView:
    """A line for each thing worth one. Lines are held back until an agent has done something, so that an
    error which hits every agent at once stays the one line that the command prints for it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._board = Board()
        self._held: list[str] | None = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        self._board.apply(event)
        if self._held is not None and isinstance(event, _SIGNS_OF_LIFE):
            for held in self._held:
                self._write(held)
            self._held = None
        line = self._line(event)
        if line is None:
            return
        if self._held is None:
            self._write(line)
        else:
            self._held.append(line)

    def _write(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()

    def _line(self, event: Event) -> str | None:
        who = "" if event.agent is None else f"agent {event.agent + 1}: "
        match event:
            case events.RunStarted():
                return headline(event)
            case events.RoundStarted() if event.round != 1:
                return round_line(event)
            case events.AgentStarted() if role_line(event):
                return who + role_line(event)
            case events.BudgetWarning():
                return warning(event)
            case events.RunFinished() if event.reason in ("deadline", "budget"):
                return f"out of {'time' if event.reason == 'deadline' else 'means'}: this is the best answer so far"
            case events.ToolCall():
                return who + call(event)
            case events.ToolResult():
                return f"{who}{event.name} -> {self._board.result(event)}"
            case events.AgentFinished():
                return f"{who}answers {one_line(event.answer)} ({event.usage.completion_tokens} tokens)"
            case events.AgentFailed():
                return f"{who}failed: {one_line(event.error)}"
            case events.AgentCancelled():
                return f"{who}cancelled"
            case events.Consensus():
                return consensus(event)
            case events.Disagreement():
                return disagreement(event)
        return None


_SIGNS_OF_LIFE = (events.TextDelta, events.ReasoningDelta, events.ToolCall, events.UsageReported)
