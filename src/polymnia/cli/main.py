"""`polymnia`: the commands, and the edge where errors become one line and an exit code.

Exit codes: 0 an answer, 1 the run failed, 2 bad input or an endpoint that cannot be reached, 130
interrupted. Tracebacks only with `--debug`. Nothing heavy is imported before a command is called.
"""

import logging
import sys
from collections.abc import Sequence

import typer

from polymnia.cli import ask, doctor, export, model, runs, serve, tasks, trace, train
from polymnia.errors import EndpointError, InputError, PolymniaError

app = typer.Typer(
    name="polymnia",
    help="Ask about a picture: several agents look, crop and compute in parallel, and give one answer.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(ask.ask)
app.command()(trace.replay)
app.command()(serve.serve)
app.add_typer(runs.app, name="runs")
app.command()(doctor.doctor)
app.add_typer(tasks.app, name="tasks")
app.add_typer(model.app, name="model")
app.add_typer(export.app, name="export")
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train.train)

# What typer raises for a wrong command line; it publishes only the subclass.
UsageError = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and leave the process with the exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    debug = "--debug" in arguments
    _set_up_output(debug)
    try:
        code = app(args=list(arguments) or ["--help"], prog_name="polymnia", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:  # the process's edge: everything ends as one line and a code
        if debug:
            logging.getLogger(__name__).exception("the command failed")
        if isinstance(error, UsageError):
            return _fail(f"{error.format_message()} (polymnia --help tells more)", 2)  # type: ignore[attr-defined]
        if isinstance(error, PolymniaError):
            return _fail(str(error), 2 if isinstance(error, InputError | EndpointError) else 1)
        hint = "" if debug else "; --debug shows where"
        return _fail(f"internal error, {type(error).__name__}: {error}{hint}", 1)


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"polymnia: {' '.join(text.split())}\n")
    return code


def _set_up_output(debug: bool) -> None:
    # A terminal that cannot show a character gets a question mark, not an exception.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if debug:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    else:
        # Without any handler Python would print warnings, tracebacks included, to stderr.
        logging.getLogger("polymnia").addHandler(logging.NullHandler())


if __name__ == "__main__":
    main()
