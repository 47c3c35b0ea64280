"""`--trace FILE` and `polymnia replay`: a run kept as its events, and as a page that shows what was looked at."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from polymnia.cli.options import Debug
from polymnia.cli.output import print_text
from polymnia.errors import InputError

if TYPE_CHECKING:
    from polymnia.agents.events import Event

Record = Callable[["Event"], None]


@contextlib.contextmanager
def recording(trace: Path | None) -> Iterator[Record]:
    """What keeps each event: a line of `.jsonl` at once, or a page of `.html` at the end, whatever that is.

    Raises `InputError` when the file cannot be written or is of another kind.
    """
    if trace is None:
        yield lambda event: None
        return
    if trace.suffix not in (".jsonl", ".html"):
        raise InputError(f"--trace {trace} is of no known kind: name a .jsonl or an .html file")
    from polymnia.agents.events import to_json
    from polymnia.agents.replay import replay_page

    # Line by line, so that a killed run leaves what it had done.
    with _opened("--trace", trace) as out:
        if trace.suffix == ".jsonl":

            def write(event: "Event") -> None:
                out.write(to_json(event) + "\n")

            yield write
            return
        happened: list[Event] = []
        try:
            yield happened.append
        finally:
            if happened:
                out.write(replay_page(happened))


def replay(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="What ask --trace FILE.jsonl has written.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page. [default: beside the trace, ending in .html]")
    ] = None,
    debug: Debug = False,
) -> int:
    """Make a page of a stored trace that shows step by step what the agents looked at."""
    from polymnia.agents.replay import read_trace, replay_page

    target = out or trace.with_suffix(".html")
    page = replay_page(read_trace(trace))
    with _opened("--out", target) as file:
        file.write(page)
    print_text(str(target))
    return 0


def _opened(option: str, path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", errors="replace", buffering=1)
    except OSError as error:
        raise InputError(f"{option} {path} cannot be written ({error.strerror}): name another file") from None
