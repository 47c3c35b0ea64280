"""The routes: `/v1/models`, `/v1/chat/completions`, `/health`.

One process, one model, no accounts: whoever reaches the port may ask. `serve` binds to this machine only
unless told otherwise.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from polymnia.agents.model import ChatModel, known_roles, known_tools
from polymnia.server.answering import Item, plan, respond, served_models
from polymnia.server.completions import Head, complete, stream
from polymnia.server.conversation import to_messages, to_tools
from polymnia.server.errors import ApiError, install_error_handlers
from polymnia.server.http import EventStream, Limits, Slots, read_json_body, while_connected
from polymnia.server.schema import parse_request
from polymnia.tools.backend import chosen


@runtime_checkable
class Closable(Protocol):
    """Models that hold threads or connections."""

    async def aclose(self) -> None: ...


def create_app(model: ChatModel, limits: Limits | None = None) -> FastAPI:
    """The application that serves one model, and closes it in the end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        if isinstance(model, Closable):
            await model.aclose()

    # FastAPI's own documentation pages load scripts from elsewhere.
    app = FastAPI(title="Polymnia", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    install_error_handlers(app)
    bounds = limits or Limits()
    slots = Slots(bounds.agents, bounds.retry_seconds)
    app.state.slots = slots
    python = chosen()  # at start, so that a setting that is wrong or does not work is known before the first call

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "version": version("polymnia"),
            "model": model.name,
            "weights": model.fingerprint,
            "agents": {"busy": slots.taken, "limit": bounds.agents},
            "sandbox": {"backend": python.sandbox.name, "setting": python.setting, "why": python.why},
        }

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        known = await _known(model)
        return {"object": "list", "data": [_model(name, known) for name in served_models(model.name)]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        if name not in served_models(model.name):
            raise ApiError(404, f"There is no model {name[:100]!r} here.", param="model", code="model_not_found")
        return _model(name, await _known(model))

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        asked = parse_request(await read_json_body(request, bounds))
        how = plan(asked, model.name)
        tools = to_tools(asked)

        async def items() -> AsyncGenerator[Item, None]:
            async with slots.take(how.agents):
                messages = await asyncio.to_thread(to_messages, asked)
                async with aclosing(respond(asked, how, model, messages, tools)) as answer:
                    async for item in answer:
                        yield item

        head = Head(asked.model, model.fingerprint)
        samples = how.agents if how.raw else 1
        if asked.stream:
            include_usage = asked.stream_options is not None and asked.stream_options.include_usage
            return EventStream(stream(items(), head, samples, include_usage=include_usage), bounds)
        done = await while_connected(request.receive, complete(items(), head, samples))
        return JSONResponse(done.body, headers=done.headers)

    return app


async def _known(model: ChatModel) -> dict[str, list[str]]:
    """Which of our tools and roles the model was trained with, where it says so."""
    told = {"known_tools": await known_tools(model), "known_roles": await known_roles(model)}
    return {field: list(names) for field, names in told.items() if names is not None}


def _model(name: str, known: dict[str, list[str]]) -> dict[str, Any]:
    """OpenAI's fields, and what the model was trained for."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "polymnia", **known}
