"""The server as a process: binds, says where, runs until Ctrl-C."""

import logging
import socket
import sys
from collections.abc import Callable

import uvicorn

from polymnia.agents.model import ChatModel
from polymnia.errors import InputError
from polymnia.server.app import create_app
from polymnia.server.http import Limits, Slots

MAX_PORT = 65535
SHUTDOWN_SECONDS = 2
"""What answers under way get to finish after Ctrl-C; then they end with an error."""


def serve(
    host: str,
    port: int,
    model: ChatModel,
    *,
    limits: Limits | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve `model` until Ctrl-C or SIGTERM, then close it. Port 0 takes a free one.

    `announce` is given the base URL once connections are accepted; by default it is printed.
    Raises `InputError` where host or port cannot be had.
    """
    listener = bind(host, port)
    (announce or _print)(base_url(listener))
    try:
        uvicorn_server(model, limits).run(sockets=[listener])
    except KeyboardInterrupt:
        # uvicorn has shut down in good order and raises the signal once more.
        return
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """Ends what still runs some seconds after it was told to stop, with an error that clients can read."""

    def __init__(self, config: uvicorn.Config, slots: Slots) -> None:
        super().__init__(config)
        self._slots = slots

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._slots.close(SHUTDOWN_SECONDS)
        await super().shutdown(sockets)


def uvicorn_server(model: ChatModel, limits: Limits | None = None) -> uvicorn.Server:
    app = create_app(model, limits)
    config = uvicorn.Config(
        app,
        log_level=logging.WARNING,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS + 2,  # only for what the slots do not cover
    )
    return _Server(config, app.state.slots)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; clients that connect before the server runs wait in its queue."""
    if not 0 <= port <= MAX_PORT:
        raise InputError(f"cannot listen on port {port}: choose one from 1 to {MAX_PORT}, or 0 for a free one.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot listen on host {host!r} ({error}): give a name or address of this machine.") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot listen on {host} port {port} ({error.strerror}); --port 0 takes a free one."
        ) from None
    listener.setblocking(False)
    return listener


def base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def _print(url: str) -> None:
    sys.stdout.write(f"Polymnia serves at {url}\n")
    sys.stdout.flush()
