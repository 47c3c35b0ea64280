"""Which sandbox runs the `python` tool: `POLYMNIA_SANDBOX=monty|bubblewrap|auto`, monty unless set.

Monty is the default because it behaves the same on every machine, needs no privileges, answers in under a
millisecond and is what nano was trained with; bubblewrap gives full Python with numpy where the machine lets
it run. One that is asked for and does not work is replaced by Monty, never by code without a sandbox.
"""

import atexit
import logging
import os
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from polymnia.errors import InputError
from polymnia.tools import bubblewrap
from polymnia.tools.execution import CodeRunner
from polymnia.tools.sandbox import Sandbox

Setting = Literal["auto", "monty", "bubblewrap"]
VARIABLE = "POLYMNIA_SANDBOX"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    sandbox: CodeRunner
    setting: Setting
    why: str = ""
    """Why it is not bubblewrap, where that was tried."""


def setting() -> Setting:
    """As the environment says; raises `InputError` for a word that is none."""
    given = os.environ.get(VARIABLE, "").strip() or "monty"
    for known in get_args(Setting):
        if given == known:
            found: Setting = known
            return found
    raise InputError(f"{VARIABLE}={given!r} is no sandbox: set it to {', '.join(get_args(Setting))}, or not at all")


@cache
def chosen() -> Chosen:
    """The process's one sandbox, probed the first time; its workers end with the process."""
    wanted = setting()
    found = "" if wanted == "monty" else bubblewrap.probe()
    sandbox: CodeRunner = Sandbox() if isinstance(found, str) else found
    why = found if isinstance(found, str) else ""
    if why:
        level = logging.WARNING if wanted == "bubblewrap" else logging.INFO
        log.log(level, "python runs in monty, bubblewrap does not work here: %s", why)
    atexit.register(sandbox.close)
    return Chosen(sandbox, wanted, why)
