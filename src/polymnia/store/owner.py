"""Who works on a run: this start of this process, and whether another one still lives.

A process on the same host is known to be dead from its id and start time (a recycled id has another).
Elsewhere, and on systems without /proc, only the lease tells.
"""

import os
import platform
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    id: str
    host: str
    pid: int
    process_start: str


def this_process() -> Owner:
    """Another owner at each call."""
    return Owner(uuid.uuid4().hex, _host(), os.getpid(), _process_start(os.getpid()) or "")


def is_dead(host: str, pid: int, process_start: str) -> bool:
    """True only if it is certain."""
    if not process_start or host != _host():
        return False
    return _process_start(pid) != process_start


@cache
def _host() -> str:
    """The space of process ids: containers of one machine may share the host's name and have their own."""
    parts = [platform.node()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        pass
    return " ".join(parts)


def _process_start(pid: int) -> str | None:
    """Clock ticks since boot; None if there is no such process, or only what is left of one (a zombie)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command in parentheses may itself contain spaces and parentheses.
    state, *rest = status.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]
