"""Runs a model's Python code without giving it anything: pydantic-monty in worker processes.

Monty is a Python interpreter in Rust with no files, network, environment or processes to reach; a
pool keeps workers warm (a call costs under a millisecond). Time, memory, sleep and output are
bounded. The synchronous pool is used, in threads: the asynchronous one of monty 1.4.0 aborts the
interpreter at exit when output overflowed. Does not run full CPython (no numpy): `bubblewrap.py` does.
"""

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pydantic_monty import Monty, MontyCrashedError, MontyError, MontyRuntimeError, MontySyntaxError, ResourceLimits

from polymnia.tools.execution import NO_OUTPUT, Execution, Output


@dataclass(frozen=True, slots=True)
class Limits:
    seconds: float = 2.0
    """Wall time in which the sandbox computes."""
    sleep_seconds: float = 0.5
    """All of its `sleep` calls together; not part of `seconds`."""
    memory_bytes: int = 128 * 2**20
    output_chars: int = 4000
    """What the model gets to read at most."""


class _Session:
    """The worker that runs one piece of code, so that a cancelled call can kill it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._killed = False

    def enter(self, pid: int | None) -> None:
        with self._lock:
            self._pid = pid
            if self._killed:
                self._kill()

    def leave(self) -> None:
        with self._lock:
            self._pid = None  # the worker goes back to the pool and is no longer ours to kill

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            self._kill()

    def _kill(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)


class Sandbox:
    """A pool of at most `workers` processes; more calls than that wait for a free one."""

    name = "monty"

    def __init__(self, limits: Limits | None = None, workers: int | None = None) -> None:
        self.limits = limits or Limits()
        self._workers = workers or min(4, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="sandbox")
        self._lock = threading.Lock()
        self._pool: Monty | None = None

    def run(self, code: str) -> Execution:
        """Run the code to its end or to a limit; blocks the calling thread."""
        return self._run(code, _Session())

    async def run_async(self, code: str) -> Execution:
        """Like `run`; cancelling kills the worker at once."""
        session = _Session()
        job = self._threads.submit(self._run, code, session)
        done = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not job.cancel():  # it has begun
                session.kill()
                await asyncio.wait([done])
            raise

    def close(self) -> None:
        """End the worker processes."""
        self._threads.shutdown()
        with self._lock:
            if self._pool is not None:
                self._pool.__exit__(None, None, None)
            self._pool = None

    def _started(self) -> Monty:
        with self._lock:
            if self._pool is None:
                limits = self.limits
                # Monty's own limits come first; this one catches a worker that no longer answers.
                backstop = limits.seconds + limits.sleep_seconds + 1.0
                self._pool = Monty(max_processes=self._workers, request_timeout=backstop).__enter__()
            return self._pool

    def _run(self, code: str, session: _Session) -> Execution:
        output = Output(self.limits.output_chars)
        limits = ResourceLimits(
            max_feed_duration_secs=self.limits.seconds,
            max_memory=self.limits.memory_bytes,
            max_total_sleep_secs=self.limits.sleep_seconds,
        )
        start = time.monotonic()
        try:
            # A fixed random state: the same code gives the same result in every run.
            with self._started().checkout(limits=limits, os_policy={"random_start": {"seed": 0}}) as worker:
                session.enter(worker.worker_pid)
                try:
                    value = worker.feed_run(code, print_callback=output.write)
                    shown = _shown(value, self.limits.output_chars)
                finally:
                    session.leave()
        except MontyError as error:
            late = time.monotonic() - start >= self.limits.seconds
            return Execution(output.joined(_failure(error, late, self.limits)), failed=True)
        return Execution(output.joined(shown) or NO_OUTPUT)


def _shown(value: Any, limit: int) -> str:
    if value is None:
        return ""
    try:
        text = repr(value[: limit + 1] if isinstance(value, str | bytes) else value)
    except (ValueError, RecursionError) as error:  # an integer of more than 4300 digits, or too deep a list
        return f"(the last value cannot be shown: {error})"
    return text if len(text) <= limit else f"{text[:limit]}... (value cut)"


def _failure(error: MontyError, late: bool, limits: Limits) -> str:
    if isinstance(error, MontyCrashedError):
        return "Error: the code was stopped: it took too long or too much memory"
    if not isinstance(error, MontyRuntimeError | MontySyntaxError):
        return f"Error: {error}"
    if late and isinstance(error.exception(), TimeoutError):
        # Monty's text names the time to the nanosecond, which would make runs differ.
        return f"TimeoutError: the code ran longer than {limits.seconds:g} s"
    frames = error.traceback()
    where = f" (line {frames[-1].line})" if frames else ""
    return f"{error.display('type-msg')}{where}"
