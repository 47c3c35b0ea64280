"""Options that several commands share, and what a model is opened with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polymnia.errors import InputError

if TYPE_CHECKING:
    from polymnia.agents.models import OpenModel

KEY_VARIABLE = "POLYMNIA_API_KEY"

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help=f"nano, a checkpoint folder, an endpoint http://host:port/v1#name (key: ${KEY_VARIABLE}), or a model of "
        "config.toml.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and log lines.")]
"""Read by `main.run`, which sees the arguments before any command does."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, and nothing else.")]


def opened(name: str) -> "OpenModel":
    from polymnia.agents.models import open_model

    return open_model(name, api_key=os.environ.get(KEY_VARIABLE))


def checkpoint_folder(name: str) -> Path:
    """The folder of `nano` or of a checkpoint; InputError where there is none."""
    from polymnia.agents.models import NANO, nano_folder

    folder = nano_folder() if name == NANO else Path(name)
    if not folder.is_dir():
        raise InputError(f"there is no folder {name}: name a checkpoint folder, or {NANO}")
    return folder
