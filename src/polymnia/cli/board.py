"""The state of a run as a person wants to see it, folded from its events and from nothing else."""

import json
from dataclasses import dataclass, field
from typing import Literal

from polymnia.agents import events
from polymnia.agents.events import Event
from polymnia.cli.output import printable

State = Literal["working", "answered", "failed", "cancelled"]
CONSENSUS = "consensus"
RESOURCES: dict[events.Resource, str] = {
    "seconds": "seconds",
    "tokens": "tokens",
    "tool_calls": "tool calls",
    "agents": "agents",
    "cost": "dollars",
}
TAIL = 400
"""Characters of an agent's current text that are kept for showing."""


@dataclass(slots=True)
class Row:
    """One agent."""

    agent: int
    strategy: str = ""
    role: events.Role = "propose"
    round: int = 1
    state: State = "working"
    doing: str = ""
    """The end of what it writes, its last tool call, its answer or its error; `one_line` shows it."""
    tokens: int = 0
    tools: int = 0


@dataclass(slots=True)
class Board:
    started: events.RunStarted | None = None
    rows: dict[int, Row] = field(default_factory=dict)
    verdict: str = ""
    """How the vote stands, once it does."""
    round: int = 1
    warnings: list[str] = field(default_factory=list)
    pictures: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Index, width and height by digest."""

    def apply(self, event: Event) -> None:
        row = self.rows.get(event.agent) if event.agent is not None else None
        match event:
            case events.RunStarted():
                self.started = event
            case events.ImageShown():
                self.pictures[event.digest] = (event.index, event.width, event.height)
            case events.RoundStarted():
                self.round = event.round or 1
            case events.AgentStarted() if event.agent is not None:
                before = self.rows.get(event.agent)
                self.rows[event.agent] = Row(event.agent, event.strategy, event.role, event.round or 1)
                if before is not None:  # a further round of the same agent
                    self.rows[event.agent].tokens, self.rows[event.agent].tools = before.tokens, before.tools
            case events.Consensus():
                self.verdict = consensus(event)
            case events.Disagreement() if not self.verdict.startswith(CONSENSUS):
                self.verdict = disagreement(event)
            case events.BudgetWarning():
                self.warnings.append(warning(event))
            case _ if row is not None:
                _apply_to_agent(row, event, self)

    def result(self, event: events.ToolResult) -> str:
        """A tool's result in a line."""
        shown = [self.pictures[digest] for digest in event.images if digest in self.pictures]
        pictures = [f"picture {index} ({width}x{height})" for index, width, height in shown]
        return one_line(" ".join([event.text, *pictures]))


def _apply_to_agent(row: Row, event: Event, board: Board) -> None:
    match event:
        case events.TextDelta() | events.ReasoningDelta():
            row.doing = (row.doing + event.text)[-TAIL:]
        case events.ToolCall():
            row.tools += 1
            row.doing = call(event)
        case events.ToolResult():
            row.doing = f"{event.name} -> {board.result(event)} "
        case events.UsageReported():
            row.tokens += event.usage.completion_tokens
        case events.AgentFinished():
            row.state, row.doing = "answered", one_line(event.answer)
        case events.AgentFailed():
            row.state, row.doing = "failed", one_line(event.error)
        case events.AgentCancelled():
            row.state = "cancelled"


def headline(event: events.RunStarted) -> str:
    several = f", up to {event.agents} agents" if event.agents > 1 else ""
    return f"{event.model}: {event.mode}{several}, seed {event.seed}"


def call(event: events.ToolCall) -> str:
    """`crop(image=1, x0=0, ...)`, or the arguments as they are where they are no JSON object."""
    try:
        given = json.loads(event.arguments)
        text = ", ".join(f"{name}={value}" for name, value in given.items())
    except (ValueError, AttributeError, RecursionError):
        text = event.arguments
    return one_line(f"{event.name}({text})")


def consensus(event: events.Consensus) -> str:
    against = f" against {event.second}" if event.second else ""
    said = f"{CONSENSUS}: {event.count} agents{against} say {one_line(event.answer)}"
    return f"{said}, sure enough to stop ({event.posterior:.0%})"


def disagreement(event: events.Disagreement) -> str:
    sides = "; ".join(f"{one_line(side.answer)} ({len(side.agents)})" for side in event.sides)
    return f"the agents differ: {sides}"


def round_line(event: events.RoundStarted) -> str:
    return f"round {event.round}: {event.agents} agents look at each other's drafts"


def role_line(event: events.AgentStarted) -> str:
    """What an agent beside the vote is there for; empty for all others."""
    return {"aggregate": "writes the final answer from the drafts", "judge": "judges the answers"}.get(event.role, "")


def warning(event: events.BudgetWarning) -> str:
    what = RESOURCES[event.resource]
    return f"running short: {event.spent:g} of {event.limit:g} {what} spent"


def one_line(text: str) -> str:
    return printable(" ".join(text.split()))
