"""The board folded from events, and both ways to draw it."""

import io
from typing import Any, get_args

import pytest
from PIL import Image
from rich.console import Console

from polymnia.agents import events
from polymnia.agents.events import Event
from polymnia.agents.model import Usage
from polymnia.agents.team import Level
from polymnia.cli import ask
from polymnia.cli.board import Board, one_line
from polymnia.cli.live import LiveView
from polymnia.cli.output import printable
from polymnia.cli.view import NoView, PlainView, open_view
from polymnia.data.chat import Effort


def event(kind: type[Event], *, agent: int | None = None, **fields: Any) -> Event:
    return kind(run="r", seq=0, time=0.0, agent=agent, **fields)


STARTED = event(
    events.RunStarted,
    mode="contemplating",
    question="How many?",
    model="nano",
    fingerprint="f",
    agents=8,
    seed=3,
    effort="medium",
    temperature=0.7,
    tools=("crop", "python"),
)
PICTURE = Image.new("RGB", (112, 56))
RUN = [
    STARTED,
    event(events.AgentStarted, agent=0, wave=1, strategy=""),
    event(events.AgentStarted, agent=1, wave=1, strategy="Go column by column."),
    event(events.ReasoningDelta, agent=0, text="b3 red\nc4 blue", step=0),
    event(events.ToolCall, agent=0, call="a", name="crop", arguments='{"image": 1, "x0": 0}'),
    event(events.ImageShown, agent=0, digest="d", index=2, width=112, height=56, call="a", image=PICTURE),
    event(events.ToolResult, agent=0, call="a", name="crop", text="", images=("d",), failed=False, seconds=0.1),
    event(events.UsageReported, agent=0, usage=Usage(10, 12), step=0, finish_reason="stop"),
    event(events.AgentFinished, agent=0, answer="7", usage=Usage(10, 12), steps=2, mean_logprob=None),
    event(events.Consensus, answer="7", count=4, second=0, posterior=31 / 32, distinct=1),
    event(events.AgentCancelled, agent=1),
]


def test_the_board_follows_the_events() -> None:
    board = Board()
    for one in RUN[:4]:
        board.apply(one)
    assert one_line(board.rows[0].doing) == "b3 red c4 blue"
    board.apply(RUN[4])
    assert board.rows[0].doing == "crop(image=1, x0=0)"
    for one in RUN[5:]:
        board.apply(one)
    first, second = board.rows[0], board.rows[1]
    assert (first.state, first.doing, first.tokens, first.tools) == ("answered", "7", 12, 1)
    assert second.state == "cancelled"
    assert board.verdict == "consensus: 4 agents say 7, sure enough to stop (97%)"


def plain(*happened: Event) -> str:
    out = io.StringIO()
    with PlainView(out) as view:
        for one in happened:
            view.show(one)
    return out.getvalue()


def test_plain_lines() -> None:
    assert plain(*RUN).splitlines() == [
        "nano: contemplating, up to 8 agents, seed 3",
        "agent 1: crop(image=1, x0=0)",
        "agent 1: crop -> picture 2 (112x56)",
        "agent 1: answers 7 (12 tokens)",
        "consensus: 4 agents say 7, sure enough to stop (97%)",
        "agent 2: cancelled",
    ]


ROUNDS = [
    *RUN[:4],
    event(events.AgentFinished, agent=0, answer="7", usage=Usage(10, 12), steps=1, mean_logprob=None),
    event(events.Disagreement, claim="?", sides=(events.Side("7", (0,), 1.0), events.Side("8", (1,), 1.0)), images=()),
    event(events.RoundStarted, round=2, agents=2),
    event(events.AgentStarted, agent=0, round=2, wave=1, strategy="", role="refine"),
    event(events.UsageReported, agent=0, round=2, usage=Usage(10, 5), step=0, finish_reason="stop"),
    event(events.BudgetWarning, resource="seconds", spent=8.0, limit=10.0),
    event(events.AgentStarted, agent=2, round=2, wave=1, strategy="", role="aggregate"),
]


def test_rounds_roles_and_warnings_are_shown() -> None:
    assert plain(*ROUNDS).splitlines()[-4:] == [
        "the agents differ: 7 (1); 8 (1)",
        "round 2: 2 agents look at each other's drafts",
        "running short: 8 of 10 seconds spent",
        "agent 3: writes the final answer from the drafts",
    ]
    shown = live(*ROUNDS, width=80)
    assert "nano: contemplating, up to 8 agents, seed 3, round 2" in shown
    assert "running short: 8 of 10 seconds spent" in shown
    assert "round 2, 5 tok" in shown
    assert "final, " in shown


def test_failures_are_lines_only_after_some_agent_did_something() -> None:
    failed = event(events.AgentFailed, agent=1, error="gone")
    assert plain(STARTED, RUN[1], RUN[2], failed) == ""
    shown = plain(STARTED, RUN[1], RUN[2], failed, RUN[3]).splitlines()
    assert shown == ["nano: contemplating, up to 8 agents, seed 3", "agent 2: failed: gone"]


def test_nothing_that_a_model_writes_steers_the_terminal() -> None:
    evil = "\x1b[2J\x07\u202e7\r\x9b31m"
    clean = printable(evil)
    assert not any(letter in clean for letter in "\x1b\x07\u202e\r\x9b")
    finished = event(events.AgentFinished, agent=0, answer=evil, usage=Usage(), steps=1, mean_logprob=None)
    shown = plain(
        STARTED, RUN[1], RUN[3], event(events.ToolCall, agent=0, call="a", name=evil, arguments=evil), finished
    )
    assert "\x1b" not in shown
    assert "\r" not in shown


def live(*happened: Event, width: int = 60) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=20, color_system=None, legacy_windows=False)
    with LiveView(console) as view:
        for one in happened:
            view.show(one)
    return out.getvalue()


def test_the_live_board_shows_agents_and_verdict() -> None:
    shown = live(*RUN)
    assert "nano: contemplating, up to 8 agents, seed 3" in shown
    assert "1 ✓ 7" in shown
    assert "1 tool, 12 tok" in shown
    assert "consensus: 4 agents say 7, sure enough to stop (97%)" in shown


def test_the_live_board_fits_a_narrow_terminal() -> None:
    long = event(events.ReasoningDelta, agent=1, text="word " * 100, step=0)
    assert live(*RUN[:3], long, width=20)


@pytest.mark.parametrize(
    ("settings", "variables", "terminal", "kind"),
    [
        ({}, {}, True, LiveView),
        ({}, {}, False, PlainView),
        ({}, {"NO_COLOR": "1"}, True, PlainView),
        ({}, {"TERM": "dumb"}, True, PlainView),
        ({"plain": True}, {}, True, PlainView),
        ({"silent": True}, {}, True, NoView),
    ],
)
def test_which_view_is_taken(
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, bool],
    variables: dict[str, str],
    terminal: bool,
    kind: type[object],
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert isinstance(open_view(**{"plain": False, "silent": False, **settings}), kind)


def test_the_commands_choices_are_those_of_the_agents() -> None:
    # Written twice, so that --help need not import the agents.
    assert get_args(ask.Mode) == get_args(events.Mode)
    assert get_args(ask.Level) == get_args(Level)
    assert get_args(ask.Effort) == get_args(Effort)
