"""Errors in OpenAI's shape, on every path: `{"error": {"message", "type", "param", "code"}}`.

`ApiError` is what the server itself raises; `as_api_error` translates everything else once, at the edge.
No traceback, no Python repr and no value of a secret ever reaches a client.
"""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from polymnia.errors import ContextError, EndpointError, InputError, PolymniaError

log = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""What proxies log for a client that left; nobody receives it."""


class ApiError(Exception):
    """An answer that is an error: `status` is the HTTP status, `param` the path of the field at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after
        """Seconds; sent as a header."""

    @property
    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": error_type(self.status), "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> JSONResponse:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return JSONResponse(self.body, self.status, headers)


def error_type(status: int) -> str:
    """OpenAI's `type` for a status."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"


def as_api_error(error: Exception) -> ApiError:
    """What the client is told of `error`; the unexpected is logged and told as a bare 500."""
    match error:
        case ApiError():
            return error
        case ContextError():
            return ApiError(400, str(error), param="messages", code="context_length_exceeded")
        case InputError():
            return ApiError(400, str(error))
        case EndpointError():
            return ApiError(502, str(error), code="upstream_error")
        case PolymniaError():
            return ApiError(500, str(error), code="run_failed")
        case HTTPException():
            return ApiError(error.status_code, str(error.detail))
        case _:
            log.error("unexpected error", exc_info=error)
            return ApiError(500, "The server failed on this request; its log says why.", code="internal_error")


def install_error_handlers(app: FastAPI) -> None:
    """Every way in which a request can fail answers in the same shape, unknown paths and methods included."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:
            error = ApiError(404, f"There is no {request.method} {request.url.path} here.", code="unknown_url")
        elif isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response = ApiError(405, f"{request.url.path} does not take {request.method}.").response()
            response.headers.update(error.headers or {})
            return response
        return as_api_error(error).response()

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    app.add_exception_handler(ClientDisconnect, gone)
    for kind in (ApiError, PolymniaError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)
