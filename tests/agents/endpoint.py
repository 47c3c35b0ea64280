"""A real HTTP server on loopback that speaks OpenAI's chat completions as a test tells it to."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from polymnia.agents.remote import CHECK_TOKENS

Json = dict[str, Any]


@dataclass
class Endpoint:
    """`reply(body, number of the request)` gives the response; set it before asking."""

    url: str = ""
    reply: Callable[[Json, int], Response] = lambda body, number: stream(says("7"))
    bodies: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)
    """Set when a client has left a `hanging` stream."""
    models: tuple[str, ...] = ("m",)
    """What `/v1/models` lists."""
    hands_tools_on: bool = True
    """Answers by itself when asked whether it does (`RemoteModel._check_tools`), which is not counted as a request."""
    most_at_once: int = 0
    _now: int = 0

    async def handle(self, request: Request) -> Response:
        body = await request.json()
        if self.hands_tools_on and body.get("max_tokens") == CHECK_TOKENS and len(body["messages"]) == 1:
            return stream([*says("Hi")[:2], usage(200 if "tools" in body else 9, 1)])
        self.times.append(time.monotonic())
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        return self.reply(self.bodies[-1], len(self.bodies) - 1)

    async def list_models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    def slow(self, chunks: list[Json], seconds: float = 0.1) -> Response:
        """The chunks after a while; counts in `most_at_once` how many such answers are under way."""

        async def events() -> AsyncIterator[str]:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            await asyncio.sleep(seconds)
            self._now -= 1
            for chunk in chunks:
                yield sse(chunk)
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    def hanging(self, *chunks: Json) -> Response:
        """Sends the chunks and then nothing, without ending."""

        async def events() -> AsyncIterator[str]:
            try:
                for chunk in chunks:
                    yield sse(chunk)
                await asyncio.sleep(60)
            finally:
                self.hung_up.set()

        return StreamingResponse(events(), media_type="text/event-stream")


def chunk(delta: Json | None = None, *, index: int = 0, finish: str | None = None, **fields: Any) -> Json:
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": choices, **fields}


def usage(prompt: int, completion: int, reasoning: int | None = None) -> Json:
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return chunk(usage={**counts, **details})


def says(text: str) -> list[Json]:
    return [chunk({"role": "assistant", "content": text}), chunk({}, finish="stop"), usage(3, 2)]


def sse(data: Json) -> str:
    return f"data: {json.dumps(data)}\n\n"


def stream(chunks: list[Json]) -> Response:
    async def events() -> AsyncIterator[str]:
        for one in chunks:
            yield sse(one)
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def raw(text: str, content_type: str = "text/event-stream", **headers: str) -> Response:
    """Exactly these characters."""
    return Response(text, media_type=content_type, headers=headers)


def error(status: int, message: str, code: str | None = None, **headers: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "t", "code": code}}, status, headers)


@contextmanager
def serving() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    routes = [
        Route("/v1/chat/completions", endpoint.handle, methods=["POST"]),
        Route("/v1/models", endpoint.list_models),
    ]
    app = Starlette(routes=routes)
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    endpoint.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield endpoint
    finally:
        server.should_exit = True
        thread.join()
