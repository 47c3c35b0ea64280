"""The server as a process: a free port, its address printed, Ctrl-C, ports that cannot be had."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from polymnia.errors import InputError
from polymnia.server.serve import base_url, bind

SOURCE = Path(__file__).resolve().parents[2] / "src"
TESTS = Path(__file__).resolve().parents[1]
PROGRAM = f"""
import sys
sys.path[:0] = [{str(SOURCE)!r}, {str(TESTS)!r}]
from polymnia.server import serve
from server.scripted import ScriptedModel, says, says_and_waits
serve("127.0.0.1", 0, ScriptedModel(says_and_waits("hm") if sys.argv[1] == "waits" else says("3")))
"""


@pytest.mark.parametrize("script", ["says", "waits"])
def test_port_0_prints_its_address_and_ctrl_c_ends_it(script: str) -> None:
    command = [sys.executable, "-c", PROGRAM, script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert url.startswith("http://127.0.0.1:")
        body = {"model": "nano", "messages": [{"role": "user", "content": "?"}], "stream": True}
        with httpx2.stream("POST", f"{url}/chat/completions", json=body, timeout=20) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGINT)
            last = [line for line in lines if line][-1]
        if script == "says":
            assert last == "data: [DONE]"
        else:
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "stopping"
        assert process.wait(timeout=10) == 0
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_port_that_cannot_be_had() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(InputError, match="--port 0"):
        bind("127.0.0.1", taken.getsockname()[1])
    for host, port in (("no-such-host.invalid", 0), ("127.0.0.1", 99999), ("203.0.113.1", 0)):
        with pytest.raises(InputError, match="cannot listen"):
            bind(host, port)


def test_the_address_of_ipv6_has_brackets() -> None:
    try:
        listener = bind("::1", 0)
    except InputError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        assert base_url(listener).startswith("http://[::1]:")
