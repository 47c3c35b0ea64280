"""The sandbox against what a model may write, by mistake or on purpose. Each limit is hit for real."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from polymnia.tools.sandbox import Limits, Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    one = Sandbox(Limits(seconds=0.5, sleep_seconds=0.2, output_chars=200), workers=2)
    yield one
    one.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("2+3*4", "14"),
        ("print(2**100)", "1267650600228229401496703205376"),
        ("print('a')\nprint('b')\n3", "a\nb\n3"),
        ("import math\nmath.comb(52, 5)", "2598960"),
        ("'ab' * 2", "'abab'"),
        ("[n * n for n in range(4)]", "[0, 1, 4, 9]"),
        ("x = 3", "(no output: print a value or end with an expression)"),
        ("", "(no output: print a value or end with an expression)"),
    ],
)
def test_what_is_printed_and_the_last_value_come_back(sandbox: Sandbox, code: str, text: str) -> None:
    done = sandbox.run(code)
    assert (done.text, done.failed) == (text, False)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("a = 1\na / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("def f(:", "SyntaxError: Expected a parameter or the end of the parameter list (line 1)"),
        ("print('before')\nundefined", "before\nNameError: name 'undefined' is not defined (line 2)"),
    ],
)
def test_an_error_names_its_line_and_keeps_what_was_printed(sandbox: Sandbox, code: str, text: str) -> None:
    done = sandbox.run(code)
    assert (done.text, done.failed) == (text, True)


def test_what_monty_lacks_is_said_so_that_the_model_can_rewrite(sandbox: Sandbox) -> None:
    assert "class inheritance" in sandbox.run("class A(int): pass").text
    assert "yield" in sandbox.run("def g():\n  yield 1").text


def test_an_endless_loop_ends_at_the_time_limit(sandbox: Sandbox) -> None:
    start = time.monotonic()
    done = sandbox.run("while True: pass")
    assert (done.text, done.failed) == ("TimeoutError: the code ran longer than 0.5 s", True)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("code", ["time.sleep(60)", "while True: time.sleep(0.05)"])
def test_endless_sleep_ends_too(sandbox: Sandbox, code: str) -> None:
    start = time.monotonic()
    assert "sleep limit exceeded" in sandbox.run(f"import time\n{code}").text
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("code", ["'x' * 10**10", "l = []\nwhile True: l.append('x' * 100000)", "10**10**9"])
def test_a_memory_bomb_is_refused(sandbox: Sandbox, code: str) -> None:
    assert sandbox.run(code).text.startswith("MemoryError: memory limit exceeded")


def test_a_result_too_large_to_hand_over_does_not_break_the_pool(sandbox: Sandbox) -> None:
    assert sandbox.run("'x' * 100_000_000").failed
    assert sandbox.run("1 + 1").text == "2"


@pytest.mark.parametrize("call", ["open({path!r}).read()", "import pathlib\npathlib.Path({path!r}).read_text()"])
def test_files_cannot_be_read(sandbox: Sandbox, tmp_path: Path, call: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret", encoding="utf-8")
    done = sandbox.run(call.format(path=str(secret)))
    assert done.failed
    assert "the secret" not in done.text


def test_files_cannot_be_written(sandbox: Sandbox, tmp_path: Path) -> None:
    assert sandbox.run(f"open({str(tmp_path / 'new')!r}, 'w').write('x')").failed
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "code",
    [
        "import socket",
        "import urllib.request",
        "import http.client",
        "import subprocess",
        "import ctypes",
        "import os\nos.system('true')",
        "import os\nos.environ['PATH']",
        "__import__('socket')",
        "().__class__.__bases__[0].__subclasses__()",
    ],
)
def test_network_processes_and_environment_are_not_there(sandbox: Sandbox, code: str) -> None:
    assert sandbox.run(code).failed


@pytest.mark.parametrize("code", ["print('x' * 10_000_000)", "for n in range(100_000): print(n)", "'x' * 10_000"])
def test_huge_output_is_cut_and_says_so(sandbox: Sandbox, code: str) -> None:
    done = sandbox.run(code)
    assert "cut" in done.text
    assert len(done.text) < 300


def test_an_error_after_huge_output_stays_readable(sandbox: Sandbox) -> None:
    assert sandbox.run("print('x' * 10_000)\n1 / 0").text.endswith("ZeroDivisionError: division by zero (line 2)")


@pytest.mark.parametrize("code", ["2**1_000_000", "l = []\nfor n in range(50_000): l = [l]\nl"])
def test_a_value_that_cannot_be_written_out_is_said_to_be_so(sandbox: Sandbox, code: str) -> None:
    assert "cannot be shown" in sandbox.run(code).text


@pytest.mark.parametrize("code", ["(" * 50_000, "\x00", "'\ud800'", "def f(): return f()\nf()", "exit()"])
def test_odd_sources_are_errors_and_nothing_else(sandbox: Sandbox, code: str) -> None:
    assert sandbox.run(code).failed
    assert sandbox.run("1").text == "1"


def test_calls_share_nothing_and_repeat_exactly(sandbox: Sandbox) -> None:
    sandbox.run("x = 1")
    assert "NameError" in sandbox.run("x").text
    draw = "import random\nrandom.random()"
    assert sandbox.run(draw) == sandbox.run(draw)


async def cancelled(sandbox: Sandbox, calls: int) -> float:
    """Seconds until as many endless calls have ended after being cancelled."""
    tasks = [asyncio.create_task(sandbox.run_async("while True: pass")) for _ in range(calls)]
    await asyncio.sleep(0.1)
    start = time.monotonic()
    for task in tasks:
        task.cancel()
    assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*tasks, return_exceptions=True))
    return time.monotonic() - start


def test_cancelling_kills_the_workers_at_once_and_the_pool_goes_on() -> None:
    # A future of `run_in_executor` says that it was cancelled while its thread goes on to the time limit.
    sandbox = Sandbox(Limits(seconds=60), workers=2)
    try:
        assert asyncio.run(cancelled(sandbox, 5)) < 10
        assert sandbox.run("1 + 1").text == "2"
    finally:
        sandbox.close()


def test_closing_ends_the_worker_processes() -> None:
    sandbox = Sandbox(workers=1)
    sandbox.run("1")
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("this system does not list child processes")
    before = set(children.read_text().split())
    sandbox.close()
    assert len(set(children.read_text().split())) < len(before)
