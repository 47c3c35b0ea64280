"""A real server on loopback for each test that asks for one."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest

from polymnia.agents.model import ChatModel
from polymnia.server.http import Limits
from polymnia.server.serve import base_url, bind, uvicorn_server


@dataclass(frozen=True)
class Served:
    url: str
    """Ends in /v1."""
    client: openai.OpenAI
    """Without retries."""
    http: httpx2.Client
    """Relative to the server's root."""

    def post(self, body: Any = None, **options: Any) -> httpx2.Response:
        if body is not None:
            options["json"] = body
        return self.http.post("/v1/chat/completions", **options)


@contextmanager
def served_on_loopback(model: ChatModel, limits: Limits | None) -> Iterator[Served]:
    listener = bind("127.0.0.1", 0)
    server = uvicorn_server(model, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = base_url(listener)
    try:
        with (
            openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=20) as client,
            httpx2.Client(base_url=url.removesuffix("/v1"), timeout=20) as http,
        ):
            yield Served(url, client, http)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
    assert not thread.is_alive(), "the server did not shut down"


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(model)` or `serve(model, limits)`; ends with the test."""
    with ExitStack() as stack:

        def start(model: ChatModel, limits: Limits | None = None) -> Served:
            return stack.enter_context(served_on_loopback(model, limits))

        yield start


def eventually(condition: Callable[[], bool], seconds: float = 2.0) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
