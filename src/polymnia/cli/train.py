"""`polymnia train`: a recipe is a Python file; this runs it with its own options."""

import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from polymnia.cli.options import Debug
from polymnia.errors import InputError, RunError


def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="Such as recipes/nano.py; its options follow it.")],
    debug: Debug = False,
) -> int:
    """Train a model by a recipe: polymnia train recipes/nano.py --resume."""
    if not recipe.is_file():
        raise InputError(f"there is no recipe {recipe}: name a Python file such as recipes/nano.py")
    before = sys.argv
    sys.argv = [str(recipe), *context.args]
    try:
        runpy.run_path(str(recipe), run_name="__main__")
    except SystemExit as done:  # what argparse and `sys.exit` end a script with
        if isinstance(done.code, str):
            raise RunError(done.code) from None
        return done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    finally:
        sys.argv = before
    return 0
