"""Escapes tried for real against both sandboxes, and what models get to read from the one on bubblewrap.

Where bubblewrap does not run, its tests are skipped and say why; Monty's run everywhere.
"""

import asyncio
import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from polymnia.errors import InputError
from polymnia.tools import backend, bubblewrap, default_tools, seccomp
from polymnia.tools.backend import chosen
from polymnia.tools.bubblewrap import Bounds, Bubblewrap
from polymnia.tools.execution import CodeRunner
from polymnia.tools.sandbox import Sandbox
from tools.escapes import ESCAPES, Escape

ROOT = Path(__file__).resolve().parent.parent.parent
FOUND = bubblewrap.probe(Bounds(cpu_seconds=1, wall_seconds=4, output_chars=200))
needs_bubblewrap = pytest.mark.skipif(isinstance(FOUND, str), reason=f"bubblewrap: {FOUND}")


@pytest.fixture(scope="module", params=["monty", pytest.param("bubblewrap", marks=needs_bubblewrap)])
def sandbox(request: pytest.FixtureRequest) -> Iterator[CodeRunner]:
    one: CodeRunner = Sandbox(workers=1)
    if request.param == "bubblewrap":
        assert isinstance(FOUND, Bubblewrap)
        one = Bubblewrap(FOUND.interpreter, FOUND.bounds)
    yield one
    one.close()


@pytest.fixture
def full() -> Iterator[Bubblewrap]:
    if isinstance(FOUND, str):
        pytest.skip(f"bubblewrap: {FOUND}")
    one = Bubblewrap(FOUND.interpreter, FOUND.bounds, workers=2)
    yield one
    one.close()


@pytest.fixture
def fresh_choice() -> Iterator[None]:
    chosen.cache_clear()
    yield
    chosen.cache_clear()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A service of this machine that the code must not reach."""
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


# --- escapes


@pytest.mark.parametrize("escape", ESCAPES, ids=[one.name for one in ESCAPES])
def test_an_escape_fails(
    sandbox: CodeRunner, escape: Escape, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    monkeypatch.setenv("POLYMNIA_API_KEY", "secret")
    code = escape.code
    for name, value in {"port": port, "secret": secret, "parent": os.getpid()}.items():
        code = code.replace(f"{{{name}}}", str(value))
    done = sandbox.run(code)
    wanted = escape.bubblewrap if sandbox.name == "bubblewrap" else escape.monty
    assert re.search(wanted, done.text), done.text
    assert "hidden" not in done.text
    assert sandbox.run("6 * 7").text == "42"  # and the next one runs as if nothing had been


def test_the_document_lists_every_escape() -> None:
    text = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
    table = text[text.index("| tried |") :]
    listed = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:]
    assert listed == [one.name for one in ESCAPES]


def test_nothing_is_left_running(full: Bubblewrap) -> None:
    """The limit on output is the last word of the command line, and so a mark to find the processes by."""
    marked = Bubblewrap(full.interpreter, Bounds(output_chars=19_871), workers=1)
    stays = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\n'done'"
    assert marked.run(stays).text == "'done'"
    deadline = time.monotonic() + 5
    while found := processes("19871"):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def processes(last_word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += [str(path)] if path.read_bytes().split(b"\0")[-2:-1] == [last_word.encode()] else []
    return found


# --- what models get to read


@pytest.mark.parametrize(
    ("code", "text", "failed"),
    [
        ("2+3*4", "14", False),
        ("print('a')\nprint('b')\n3", "a\nb\n3", False),
        ("x = 3", "(no output: print a value or end with an expression)", False),
        ("", "(no output: print a value or end with an expression)", False),
        ("a = 1\na / 0", "ZeroDivisionError: division by zero (line 2)", True),
        ("def f(:", "SyntaxError: invalid syntax (line 1)", True),
        ("print('before')\nundefined", "before\nNameError: name 'undefined' is not defined (line 2)", True),
        ("class A: pass\nclass B(A):\n    def f(self): yield 1\nlist(B().f())", "[1]", False),
        ("import statistics, fractions\nfractions.Fraction(1, 3) + 1", "Fraction(4, 3)", False),
        ("import sys\nprint('careful', file=sys.stderr)", "careful", False),
        ("print('x' * 10_000)\n1 / 0", "ZeroDivisionError: division by zero (line 2)", True),
        ("'x' * 10_000", "(value cut)", False),
        ("'\\ud800'", "'\\ud800'", False),
        ("raise SystemExit(3)", "SystemExit: 3 (line 1)", True),
    ],
)
def test_what_is_printed_and_the_last_value_come_back(full: Bubblewrap, code: str, text: str, failed: bool) -> None:
    done = full.run(code)
    assert done.failed == failed
    assert done.text == text or (len(code) > 10 and done.text.endswith(text) and len(done.text) < 400)


def test_calls_share_nothing_and_repeat_exactly(full: Bubblewrap) -> None:
    full.run("open('/tmp/kept', 'w').write('x')")
    assert "FileNotFoundError" in full.run("open('/tmp/kept')").text
    draw = "import random\nrandom.random(), hash('x')"
    assert full.run(draw) == full.run(draw)


def test_numpy_is_there_when_it_is_promised(full: Bubblewrap) -> None:
    done = full.run("import numpy\nint(numpy.linalg.det(numpy.eye(3) * 2).round())")
    assert (done.text == "8") == ("numpy" in full.description) == bool(full.interpreter.packages)


def test_cancelling_kills_at_once(full: Bubblewrap) -> None:
    slow = Bubblewrap(full.interpreter, Bounds(cpu_seconds=100, wall_seconds=100), workers=1)

    async def cancelled() -> float:
        tasks = [asyncio.create_task(slow.run_async("while True: pass")) for _ in range(3)]
        await asyncio.sleep(0.2)
        start = time.monotonic()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return time.monotonic() - start

    assert asyncio.run(cancelled()) < 20  # of 300 without it
    assert slow.run("1 + 1").text == "2"
    slow.close()


# --- the choice


def test_monty_unless_told_otherwise(fresh_choice: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYMNIA_SANDBOX", raising=False)
    assert (chosen().sandbox.name, chosen().why) == ("monty", "")


@pytest.mark.parametrize("setting", ["auto", "bubblewrap"])
def test_a_machine_without_bubblewrap_gets_monty_and_the_reason(
    setting: str, fresh_choice: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POLYMNIA_SANDBOX", setting)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chosen().sandbox.name == "monty"
    assert "not installed" in chosen().why or "needs Linux" in chosen().why


def test_one_that_starts_nothing_is_not_chosen(
    fresh_choice: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container that forbids namespaces: the program is there and fails."""
    for name in bubblewrap.TOOLS:
        (tmp_path / name).write_text("#!/bin/sh\necho 'no permissions to create a new namespace' >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("POLYMNIA_SANDBOX", "auto")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chosen().sandbox.name == "monty"
    assert "no permissions to create a new namespace" in chosen().why or "needs Linux" in chosen().why


@needs_bubblewrap
def test_the_tool_says_what_the_chosen_sandbox_can_do(fresh_choice: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMNIA_SANDBOX", "bubblewrap")
    assert chosen().sandbox.name == "bubblewrap"
    (spec,) = [one for one in default_tools().specs if one.name == "python"]
    assert "Full Python" in spec.description
    assert list(spec.parameters["properties"]) == ["code"]


def test_montys_tool_names_what_it_lacks(fresh_choice: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMNIA_SANDBOX", "monty")
    assert "no class inheritance" in default_tools().specs[-1].description


def test_a_word_that_is_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMNIA_SANDBOX", "docker")
    with pytest.raises(InputError, match="POLYMNIA_SANDBOX='docker' is no sandbox: set it to auto, monty, bubblewrap"):
        backend.setting()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filters_jumps_stay_within_it(machine: str) -> None:
    rules = seccomp.program(machine)
    assert len(rules) % 8 == 0
    assert len(rules) // 8 < 4096  # the kernel's limit
