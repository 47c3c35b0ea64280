"""Runs a model's Python code in full CPython behind bubblewrap: namespaces, seccomp, limits (Linux only).

Each call is a fresh process tree without network, files of this machine (but a read-only /usr), environment or
privileges; the parent kills it by wall clock, by memory of the whole tree and by output. What each fence is for
and what was tried against it: docs/sandbox.md. `probe` runs a program for real before anyone relies on it.
"""

import asyncio
import codecs
import importlib.util
import inspect
import json
import os
import platform
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from polymnia.tools import inside, seccomp
from polymnia.tools.execution import NO_OUTPUT, Execution, Output

NOBODY = 65534
"""Who runs it when we are root: limits on processes do not hold for root."""
READ_BYTES = 65536
WATCH_SECONDS = 0.05
"""So often memory is looked at."""
PAGE_BYTES = 4096
TOOLS = ("setpriv", "bwrap", "prlimit")


@dataclass(frozen=True, slots=True)
class Bounds:
    cpu_seconds: int = 5
    """Of each process."""
    wall_seconds: float = 10.0
    """Of the whole call, its start and its sleep included."""
    process_bytes: int = 512 * 2**20
    """Address space of each process."""
    total_bytes: int = 768 * 2**20
    """Resident, all processes together; looked at every 50 ms."""
    processes: int = 16
    """Threads included."""
    disk_bytes: int = 32 * 2**20
    """Of /tmp; half as much of /dev/shm. Both are memory and gone after the call."""
    open_files: int = 64
    output_chars: int = 4000
    """What the model gets to read at most."""
    flood_bytes: int = 2**20
    """Whoever prints more is stopped."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What is run inside."""

    python: Path
    prefix: Path | None = None
    """Its installation where that is not in /usr."""
    packages: tuple[Path, ...] = ()
    """Folders of numpy, where the interpreter can import it."""


class _Job:
    """The process that runs one piece of code, so that a cancelled call can kill it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def enter(self, process: "subprocess.Popen[bytes]") -> None:
        with self._lock:
            self._process = process
            if self._killed:
                self._kill()

    def leave(self) -> None:
        """Kill what is left and wait for it; its number is free for others afterwards."""
        with self._lock:
            if self._process is not None:
                self._kill()
                self._process.wait()
                self._process = None

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            self._kill()

    def _kill(self) -> None:
        # bubblewrap's process; those inside die with it (--die-with-parent, and the end of their namespace).
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)


class Bubblewrap:
    """At most `workers` pieces of code at once; more than that wait."""

    name = "bubblewrap"

    def __init__(self, interpreter: Interpreter, bounds: Bounds | None = None, workers: int | None = None) -> None:
        self.interpreter = interpreter
        self.bounds = bounds or Bounds()
        self._threads = ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1), thread_name_prefix="bubblewrap")

    @property
    def description(self) -> str:
        bounds = self.bounds
        numpy = "numpy and the whole standard library" if self.interpreter.packages else "the whole standard library"
        return (
            "Run Python code and read what it prints and the value of its last expression.\n\n"
            f"Full Python {'with ' + numpy}, in a sandbox that is fresh for every call. There is no network, and no "
            "file but what the code writes to /tmp, which is gone afterwards. "
            f"Limits: {bounds.cpu_seconds} seconds of computing, {bounds.wall_seconds:g} seconds in all, "
            f"{bounds.process_bytes // 2**20} MiB of memory, {bounds.output_chars} characters of output."
        )

    def run(self, code: str) -> Execution:
        """Run the code to its end or to a limit; blocks the calling thread."""
        return self._run(code, _Job())

    async def run_async(self, code: str) -> Execution:
        """Like `run`; cancelling kills the processes at once."""
        job = _Job()
        future = self._threads.submit(self._run, code, job)
        done = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not future.cancel():  # it has begun
                job.kill()
                await asyncio.wait([done])
            raise

    def close(self) -> None:
        self._threads.shutdown()

    def _run(self, code: str, job: _Job) -> Execution:
        with _started(code, self.interpreter, self.bounds, job) as process:
            output, ending, stopped = _watch(process, self.bounds)
        if stopped:
            return Execution(output.joined(f"Error: {stopped}"), failed=True)
        try:
            said = json.loads(ending.split(b"\n")[0])
            failed, text = bool(said["failed"]), str(said["text"])
        except (ValueError, KeyError, TypeError):
            why = ending.decode(errors="replace").strip()[:200]
            text = "Error: the code was stopped: it took too long or too much memory, or ended its process"
            return Execution(output.joined(f"{text} ({why})" if why else text), failed=True)
        return Execution(output.joined(text) or NO_OUTPUT, failed)


def probe(bounds: Bounds | None = None) -> Bubblewrap | str:
    """The sandbox, if it runs a program here and its fences hold; else why not, in one line."""
    if sys.platform != "linux" or not seccomp.supported():
        return f"bubblewrap needs Linux on x86_64 or aarch64, this is {sys.platform} on {platform.machine()}"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install bubblewrap util-linux)"
    why = "no Python interpreter was found for it"
    for interpreter in _interpreters():
        sandbox = Bubblewrap(interpreter, bounds, workers=1)
        done = sandbox.run(_PROBE)
        sandbox.close()
        if done == Execution("42"):
            return Bubblewrap(interpreter, bounds)
        why = f"its test program did not run: {' '.join(done.text.split())[:300]}"
    return why


# Threads must work (numpy needs them to be importable), the network, root and this machine's files must not.
_PROBE = """
import importlib.util, os, socket, threading
box = []
thread = threading.Thread(target=lambda: box.append(6 * 7))
thread.start()
thread.join()
if importlib.util.find_spec("numpy"):
    import numpy
    assert numpy.arange(3).sum() == 3
try:
    socket.socket(socket.AF_INET)
    raise SystemExit("a network socket could be made")
except PermissionError:
    pass
assert os.getuid() and not os.access("/usr", os.W_OK) and not os.path.exists("/etc/passwd")
box[0]
"""


def _interpreters() -> Iterator[Interpreter]:
    """Candidates, the best first: this Python, then the system's, each with numpy and without."""
    found = importlib.util.find_spec("numpy")
    folder = Path(found.origin).parent if found and found.origin else None
    beside = folder.with_name("numpy.libs") if folder else None  # libraries that came in numpy's wheel
    packages = tuple(one for one in (folder, beside) if one and one.is_dir())
    prefix, version = Path(sys.base_prefix).resolve(), f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = prefix / "bin" / version
    candidates = [(own, None if prefix.is_relative_to("/usr") else prefix)] if own.is_file() else []
    system = Path("/usr/bin/python3")
    if system.is_file() and not prefix.is_relative_to("/usr"):
        candidates.append((system.resolve(), None))
    for python, outside in candidates:
        if packages and python.name == version:
            yield Interpreter(python, outside, packages)
        yield Interpreter(python, outside)


@contextmanager
def _started(code: str, interpreter: Interpreter, bounds: Bounds, job: _Job) -> "Iterator[subprocess.Popen[bytes]]":
    """The running process, killed in the end."""
    rules = seccomp.open_program()
    source = seccomp.memory_file("code", code.encode("utf-8", "surrogatepass"))
    try:
        process = subprocess.Popen(
            command(interpreter, bounds, rules),
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(rules,),
            start_new_session=True,
            env={},  # /proc/1/environ inside shows it, whatever --clearenv says
        )
    finally:
        os.close(rules)
        os.close(source)
    with process:
        job.enter(process)
        try:
            yield process
        finally:
            job.leave()


def command(interpreter: Interpreter, bounds: Bounds, rules: int) -> list[str]:
    """The whole command line; `rules` is the descriptor of the seccomp program."""
    nobody = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"] if os.geteuid() == 0 else []
    fences = "--unshare-all --unshare-user --disable-userns --die-with-parent --new-session --clearenv --cap-drop ALL"
    identity = "--uid 1000 --gid 1000 --hostname sandbox"
    environment = {
        "PATH": "/usr/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    setpriv, bwrap, prlimit = (shutil.which(tool) or tool for tool in TOOLS)
    return [
        *[setpriv, "--no-new-privs", *nobody, bwrap],
        *fences.split(),
        *identity.split(),
        *[word for name, value in environment.items() for word in ("--setenv", name, value)],
        *_mounts(interpreter, bounds),
        *["--chdir", "/tmp", "--seccomp", str(rules), "--", prlimit],
        # Within the namespace, so that processes are counted there and not over all of the user's.
        *[f"--as={bounds.process_bytes}", f"--cpu={bounds.cpu_seconds}", f"--nproc={bounds.processes}"],
        *[f"--fsize={bounds.disk_bytes}", f"--nofile={bounds.open_files}", "--core=0", "--"],
        *[str(interpreter.python), "-s", "-S", "-B", "-c", inspect.getsource(inside), str(bounds.output_chars)],
    ]


def _mounts(interpreter: Interpreter, bounds: Bounds) -> list[str]:
    """The file system inside: /usr and the interpreter to read, two small memory disks to write."""
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    if interpreter.prefix is not None:
        words += ["--ro-bind", str(interpreter.prefix), str(interpreter.prefix)]
    for package in interpreter.packages:
        words += ["--ro-bind", str(package), f"{inside.SITE}/{package.name}"]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(bounds.disk_bytes), "--tmpfs", "/tmp"]
    words += ["--size", str(bounds.disk_bytes // 2), "--tmpfs", "/dev/shm"]
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/"]


def _watch(process: "subprocess.Popen[bytes]", bounds: Bounds) -> tuple[Output, bytes, str]:
    """What was printed, how the code says that it ended, and why it had to be stopped (empty: it had not)."""
    output, ending, printed = Output(bounds.output_chars), bytearray(), 0
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    deadline = time.monotonic() + bounds.wall_seconds
    with selectors.DefaultSelector() as pipes:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipes.register(pipe, selectors.EVENT_READ)
        while pipes.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                return output, b"", f"the code ran longer than {bounds.wall_seconds:g} s"
            if resident_bytes(process.pid) > bounds.total_bytes:
                return output, b"", f"the code used more than {bounds.total_bytes // 2**20} MiB of memory"
            for key, _ in pipes.select(min(left, WATCH_SECONDS)):
                piece = os.read(key.fd, READ_BYTES)
                if not piece:
                    pipes.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    printed += len(piece)
                    output.write("stdout", decoder.decode(piece))
                elif len(ending) < bounds.flood_bytes:
                    ending += piece
            if printed > bounds.flood_bytes:
                return output, b"", f"the code printed more than {bounds.flood_bytes // 1024} KiB"
    return output, bytes(ending), ""


def resident_bytes(pid: int) -> int:
    """Of a process and all below it; those that have ended count nothing."""
    total, waiting = 0, [str(pid)]
    while waiting:
        process = Path("/proc", waiting.pop())
        try:
            total += int((process / "statm").read_text().split()[1]) * PAGE_BYTES
            for task in (process / "task").iterdir():
                waiting += (task / "children").read_text().split()
        except (OSError, IndexError):
            continue
    return total
