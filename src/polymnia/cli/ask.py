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
    from polymnia.agents.events import Event, RunFinished
    from polymnia.agents.local import LocalModel
    from polymnia.agents.remote import RemoteModel
    from polymnia.data.chat import Message

Mode = Literal["instant", "thinking", "contemplating"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh"]
INTERRUPTED = 130


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    image: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A picture; give it again for more of them.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="One quick agent, one that thinks, or several.")] = "contemplating",
    agents: Annotated[int | None, typer.Option(help="The most agents that contemplate. [default: 8]")] = None,
    model: ModelName = "nano",
    effort: Annotated[
        Effort | None, typer.Option(help="How much to think. [default: minimal in instant mode, else medium]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same model in this process: same answer.")] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy. [default: the model's own; 0 for a single agent of nano]")
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
    settings = {"mode": mode, "effort": effort, "seed": seed, "temperature": temperature}
    if agents is not None:
        if mode != "contemplating":
            raise InputError(f"--agents {agents} has no meaning in {mode} mode: leave it out, or contemplate")
        settings["agents"] = agents
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


def _message(question: str, paths: Sequence[Path]) -> "Message":
    from polymnia.data.chat import message
    from polymnia.data.images import load_image

    return message("user", *[load_image(path) for path in paths], question)


async def _run(
    messages: "list[Message]",
    model: "LocalModel | RemoteModel",
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
        "votes": [{"answer": side.answer, "agents": len(side.agents)} for side in done.votes],
        "model": model,
        "fingerprint": fingerprint,
    }
