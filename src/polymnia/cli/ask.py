"""`polymnia ask`: one question, its agents on screen, one answer."""

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from polymnia.cli.options import Debug, Json, ModelName, opened
from polymnia.cli.output import print_json, print_text
from polymnia.cli.trace import Record, recording
from polymnia.errors import InputError

if TYPE_CHECKING:
    from polymnia.agents.budget import Limits
    from polymnia.agents.events import Event, RunFinished
    from polymnia.agents.models import OpenModel
    from polymnia.data.chat import Message

Mode = Literal["instant", "thinking", "contemplating"]
Level = Literal["quick", "normal", "deep"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh"]
INTERRUPTED = 130


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    image: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A picture; give it again for more of them.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="One quick agent, one that thinks, or several.")] = "contemplating",
    level: Annotated[
        Level | None,
        typer.Option(help="How much to contemplate: 4 agents; 8, in 2 rounds; 16, in up to 5. [default: normal]"),
    ] = None,
    agents: Annotated[
        int | None, typer.Option(help="The most agents that contemplate. [default: the level's number]")
    ] = None,
    model: ModelName = "nano",
    effort: Annotated[
        Effort | None, typer.Option(help="How much to think. [default: minimal in instant mode, else medium]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same model in this process: same answer.")] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy. [default: the model's own; 0 for a single agent of nano]")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Answer by then, as well as can be done.")
    ] = None,
    max_tokens_total: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens that all agents may read and write together.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="DOLLARS", help="At the prices in config.toml, for all agents together.")
    ] = None,
    json: Json = False,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep the run: every event in a .jsonl file, or a page to replay it in .html."
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines in place of the live view.")] = False,
    debug: Debug = False,
) -> int:
    """Ask a question, about pictures if you like."""
    for option, value in (("--agents", agents), ("--level", level)):
        if value is not None and mode != "contemplating":
            raise InputError(f"{option} {value} has no meaning in {mode} mode: leave it out, or contemplate")
    settings: dict[str, Any] = {"mode": mode, "effort": effort, "seed": seed, "temperature": temperature}
    settings |= {"level": level or "normal", "agents": agents}
    settings["limits"] = _limits(deadline, max_tokens_total, max_cost)
    messages = [_message(question, image or [])]
    with recording(trace) as record:
        opened_model = opened(model)
        done = asyncio.run(_run(messages, opened_model, settings, record, plain=plain, silent=json))
    if done is None:
        typer.echo("polymnia: interrupted", err=True)
        return INTERRUPTED
    if json:
        print_json(_summary(done, mode, opened_model.name, opened_model.fingerprint))
    else:
        print_text(done.answer)
    return 0


def _limits(seconds: float | None, tokens: int | None, cost: float | None) -> "Limits":
    from polymnia.agents.budget import Limits

    return Limits(seconds=seconds, tokens=tokens, cost=cost)


def _message(question: str, paths: Sequence[Path]) -> "Message":
    from polymnia.data.chat import message
    from polymnia.data.images import load_image

    return message("user", *[load_image(path) for path in paths], question)


async def _run(
    messages: "list[Message]",
    model: "OpenModel",
    settings: dict[str, Any],
    record: Record,
    *,
    plain: bool,
    silent: bool,
) -> "RunFinished | None":
    """The run's end; None when it was interrupted."""
    from polymnia.agents.events import RunFinished
    from polymnia.agents.run import answer
    from polymnia.cli.view import open_view

    cancel = asyncio.Event()
    last: Event | None = None
    try:
        with _interrupting(cancel.set), open_view(plain=plain, silent=silent) as view:
            async with contextlib.aclosing(answer(messages, model=model, cancel=cancel, **settings)) as happened:
                async for event in happened:
                    view.show(event)
                    record(event)
                    last = event
    finally:
        await model.aclose()
    return last if isinstance(last, RunFinished) else None


@contextlib.contextmanager
def _interrupting(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C ends the run in good order; a second one ends the process."""
    loop = asyncio.get_running_loop()

    def once() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop()

    try:
        loop.add_signal_handler(signal.SIGINT, once)
    except (NotImplementedError, RuntimeError):  # Windows, or not the main thread: Ctrl-C ends the process
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _summary(done: "RunFinished", mode: str, model: str, fingerprint: str) -> dict[str, Any]:
    usage = dataclasses.asdict(done.usage)
    usage |= {"total_tokens": done.usage.total_tokens, "critical_path_tokens": done.critical_path_tokens}
    return {
        "answer": done.answer,
        "run": done.run,
        "mode": mode,
        "seconds": round(done.seconds, 3),
        "usage": usage,
        "reason": done.reason,
        "tool_calls": done.tool_calls,
        "cost": done.cost,
        "votes": [{"answer": side.answer, "agents": len(side.agents)} for side in done.votes],
        "model": model,
        "fingerprint": fingerprint,
    }
