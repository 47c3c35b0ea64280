"""Parts of HTTP that the routes share: bounded bodies, bounded work, clients that leave, event streams.

A client that leaves cancels the work at once, not at the next chunk: a listener runs beside the work and
whichever ends first ends the other. Not covered: what is in the bodies and events.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from polymnia.server.errors import ApiError, as_api_error

T = TypeVar("T")

MIB = 1024 * 1024
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
DRAIN_FACTOR = 4
"""Of a body that is too large so many times the limit is read and thrown away, so that the client sees the
answer instead of a broken pipe; who sends even more is cut off."""


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 32 * MIB
    body_seconds: float = 60.0
    """For the whole body to arrive."""
    agents: int = 64
    """At work at the same time, over all requests; a request that would exceed it is told to come back."""
    retry_seconds: int = 2
    """What such a request is told."""
    first_piece_seconds: float = 5.0
    """A stream's status waits for the first piece of the answer, at most so long."""
    ping_seconds: float = 15.0
    """A silent stream sends a comment so often, or proxies close it."""


class Slots:
    """The agents at work: counted, refused when too many, ended when the server stops."""

    def __init__(self, capacity: int, retry_seconds: int) -> None:
        self._capacity = capacity
        self._retry_seconds = retry_seconds
        self._deadlines: set[asyncio.Timeout] = set()
        self.taken = 0

    @asynccontextmanager
    async def take(self, count: int) -> AsyncIterator[None]:
        """Raises `ApiError` 429, at once; and 503 within, when the server stops before the work is done.

        A request larger than the whole server runs when nothing else does.
        """
        count = min(count, self._capacity)
        if self.taken + count > self._capacity:
            raise ApiError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"All {self._capacity} agents are at work; try again in {self._retry_seconds} s.",
                code="rate_limit_exceeded",
                retry_after=self._retry_seconds,
            )
        deadline = asyncio.timeout(None)
        self._deadlines.add(deadline)
        self.taken += count
        try:
            async with deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "The server is stopping.", code="stopping") from None
        finally:
            self.taken -= count
            self._deadlines.remove(deadline)

    def close(self, seconds: float) -> None:
        """End what is not done in so many seconds."""
        for deadline in self._deadlines:
            deadline.reschedule(asyncio.get_running_loop().time() + seconds)


async def read_json_body(request: Request, limits: Limits) -> bytes:
    """The body, at most `limits.body_bytes`; raises `ApiError` 408, 413 or 415.

    Only `application/json` is taken: a browser then asks before it lets another site's page post here.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body as JSON, with Content-Type: application/json.")
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                size += len(piece)
                if size <= limits.body_bytes:
                    body += piece
                elif size > DRAIN_FACTOR * limits.body_bytes:
                    break
    except TimeoutError:
        raise ApiError(
            HTTPStatus.REQUEST_TIMEOUT, f"The body did not arrive within {limits.body_seconds:g} s."
        ) from None
    if size > limits.body_bytes:
        message = f"The body is larger than {limits.body_bytes / MIB:g} MiB; send smaller or fewer pictures."
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, code="request_too_large")
    return bytes(body)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves; raises `ClientDisconnect` then.

    The request's body must have been read, or its pieces would be taken for the client's silence.
    """
    job, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise ClientDisconnect
    finally:
        job.cancel()
        gone.cancel()
        await asyncio.gather(job, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event(data: Mapping[str, Any]) -> bytes:
    """One server-sent event. Only ASCII: characters that some clients take for line ends are escaped."""
    return b"data: " + json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n\n"


@dataclass(frozen=True, slots=True)
class Raised:
    error: Exception


Item = Mapping[str, str] | bytes
"""Of an event stream: its headers, once and first, then its events."""


class EventStream(Response):
    """Server-sent events from a generator whose first item is the headers, the others bytes.

    An error before the first bytes is answered with its own status; a later one ends the stream with an
    error event and without `[DONE]`, so that no client takes half an answer for a whole one.
    """

    media_type = "text/event-stream"

    def __init__(self, items: AsyncGenerator[Item, None], limits: Limits) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._items = items
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientDisconnect):
            await while_connected(receive, self._respond(scope, receive, send))

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        queue: asyncio.Queue[Item | Raised | None] = asyncio.Queue(maxsize=1)
        source = asyncio.create_task(self._fill(queue))
        try:
            piece = await queue.get()
            if isinstance(piece, Mapping):
                self.headers.update(piece)
                piece = await _next(queue, self._limits.first_piece_seconds)
            if isinstance(piece, Raised):
                await as_api_error(piece.error).response()(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while isinstance(piece, bytes):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await _next(queue, self._limits.ping_seconds)
            last = event(as_api_error(piece.error).body) if isinstance(piece, Raised) else DONE
            await send({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            source.cancel()
            await asyncio.gather(source, return_exceptions=True)

    async def _fill(self, queue: "asyncio.Queue[Item | Raised | None]") -> None:
        """One task drives the generator from first to last: the task groups within it need that."""
        try:
            async with aclosing(self._items) as items:
                async for item in items:
                    await queue.put(item)
            await queue.put(None)
        except Exception as error:
            await queue.put(Raised(error))


async def _next(queue: "asyncio.Queue[Item | Raised | None]", seconds: float) -> Item | Raised | None:
    """The next item, or a ping after so many seconds of silence."""
    try:
        async with asyncio.timeout(seconds):
            return await queue.get()
    except TimeoutError:
        return PING
