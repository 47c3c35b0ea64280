"""The live board on a terminal, with rich. Draws `board.Board`; knows nothing else of a run."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from polymnia.agents.events import Event
from polymnia.cli.board import Board, Row, headline, one_line

REDRAWS = 10
"""A second."""
MARKS = {
    "answered": ("\N{CHECK MARK}", "green"),
    "failed": ("\N{BALLOT X}", "red"),
    "cancelled": ("\N{EN DASH}", "dim"),
}
TEXT = {"working": "", "answered": "bold", "failed": "red", "cancelled": "dim"}


class LiveView:
    """Redraws in place; the last picture stays, unless the run failed before anything was answered."""

    def __init__(self, console: Console | None = None) -> None:
        self._board = Board()
        self._spinners: dict[int, Spinner] = {}
        self._live = Live(
            console=console or Console(stderr=True),
            get_renderable=self.draw,
            refresh_per_second=REDRAWS,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        answered = any(row.state == "answered" for row in self._board.rows.values())
        self._live.transient = not answered
        self._live.stop()

    def show(self, event: Event) -> None:
        self._board.apply(event)

    def draw(self) -> Group:
        """The board as it stands."""
        board = self._board
        parts: list[Text | Table] = []
        if board.started is not None:
            head = headline(board.started) + (f", round {board.round}" if board.round > 1 else "")
            parts.append(Text(head, style="bold cyan", no_wrap=True, overflow="ellipsis"))
        if board.rows:
            table = Table.grid(padding=(0, 1), expand=True)
            table.add_column(justify="right", width=3, style="dim")
            table.add_column(width=1)
            table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
            table.add_column(justify="right", style="dim", no_wrap=True)
            for row in list(board.rows.values()):  # rich draws in a thread of its own
                table.add_row(str(row.agent + 1), self._mark(row), _doing(row, self._live.console.width), _cost(row))
            parts.append(table)
        for line in list(board.warnings):
            parts.append(Text(line, style="yellow", no_wrap=True, overflow="ellipsis"))
        if board.verdict:
            parts.append(Text(board.verdict, style="cyan", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _mark(self, row: Row) -> Text | Spinner:
        if row.state == "working":
            return self._spinners.setdefault(row.agent, Spinner("dots"))
        letter, style = MARKS[row.state]
        return Text(letter, style=style)


def _doing(row: Row, width: int) -> Text:
    """While an agent writes, the end of its text counts; afterwards the beginning does."""
    room = max(width - 24, 10)
    text = one_line(row.doing)
    if row.state == "working" and len(text) > room:
        text = f"\N{HORIZONTAL ELLIPSIS}{text[-room:]}"
    return Text(text, style=TEXT[row.state])


def _cost(row: Row) -> str:
    role = {"aggregate": "final, ", "judge": "judge, "}.get(row.role, f"round {row.round}, " if row.round > 1 else "")
    tools = f"{row.tools} tool{'s' if row.tools > 1 else ''}, " if row.tools else ""
    return f"{role}{tools}{row.tokens} tok" if row.tokens or role else ""
