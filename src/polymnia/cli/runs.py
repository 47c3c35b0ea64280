"""`polymnia runs`: what the journal holds. Going on with a run and replaying it are not covered here yet."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from polymnia.cli.options import Debug, Json
from polymnia.cli.output import print_json, print_text
from polymnia.errors import InputError

if TYPE_CHECKING:
    from polymnia.store import Call, Run, Store

app = typer.Typer(
    help="Stored runs: list them, look into one, delete old ones. They live in POLYMNIA_HOME.",
    rich_markup_mode=None,
)
Result = TypeVar("Result")
DAY = 86_400
MAX_QUESTION = 60
"""Letters of the question in a list for people."""


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(help="At most so many, the newest first; 0 for all.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Name the stored runs, the newest first."""
    if limit < 0:
        raise InputError(f"--limit {limit} is not a number of runs: give one from 1 up, or 0 for all")
    for run in _with_store(lambda store: store.list_runs(limit=limit or None)):
        if json:
            print_json({"run": run.run, "state": run.state, "question": run.question, "created": run.created})
        else:
            print_text(f"{run.run}  {run.state:<11}  {_when(run.created)}  {_short(run.question)}")
    return 0


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `polymnia runs list` names it.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Show a run and the calls that it has finished."""

    async def find(store: "Store") -> "tuple[Run, list[Call]]":
        return await store.get_run(run), await store.load(run)

    found, calls = _with_store(find)
    if json:
        made = [{name: value for name, value in asdict(call).items() if name != "value"} for call in calls]
        print_json(asdict(found) | {"calls": made})
        return 0
    rows = {
        "run": found.run,
        "state": found.state,
        "question": found.question,
        "created": _when(found.created),
        "changed": _when(found.updated),
        "deadline": _when(found.deadline) if found.deadline else "none",
        "events": str(found.events),
        "calls": str(len(calls)),
    }
    print_text("\n".join(f"{name:<10}{value}" for name, value in rows.items()))
    for call in calls:
        print_text(f"  {_when(call.finished)}  {call.path}/{call.name}.{call.ordinal}")
    return 0


@app.command()
def prune(
    older_than: Annotated[float, typer.Option(metavar="DAYS", help="Delete what has not changed for so long.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Delete old runs with their pictures, except those that somebody works on."""
    if not older_than >= 0:
        raise InputError(f"--older-than {older_than} is not a number of days: give one from 0 up")
    count = _with_store(lambda store: store.prune(older_than * DAY))
    if json:
        print_json({"pruned": count})
    else:
        print_text(f"deleted {count} {'run' if count == 1 else 'runs'}")
    return 0


def _with_store(use: "Callable[[Store], Awaitable[Result]]") -> "Result":
    from polymnia.store import open_store

    async def run() -> "Result":
        async with await open_store() as store:
            return await use(store)

    return asyncio.run(run())


def _when(seconds: float) -> str:
    """In the time of this machine."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _short(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= MAX_QUESTION else f"{line[: MAX_QUESTION - 1]}…"
