"""The one error handler, request ids and the limit on bodies."""

import logging
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match

from tidemill.core.errors import (
    BadRequest,
    ErrorReply,
    Failed,
    Invalid,
    MethodNotAllowed,
    NotFound,
    TidemillError,
    TooLarge,
    error_type,
    fault,
)
from tidemill.core.http import Asgi
from tidemill.core.wire import new_id

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

log = logging.getLogger("tidemill.server")


def reply(error: TidemillError, more: Mapping[str, str] | None = None) -> JSONResponse:
    """The reply for an error."""
    headers = dict(more or {})
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status == 503:
        headers["retry-after"] = "1"
    return JSONResponse(ErrorReply(error=error.body()).model_dump(), error.status, headers)


def _validation(error: RequestValidationError) -> TidemillError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return BadRequest(f"The body is not JSON: {first['ctx']['error']}.", hint="Send one JSON object.")
    path = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    where = ".".join(path)
    message = "there is no such field" if first["type"] == "extra_forbidden" else fault(first)
    text = f"{where}: {message}." if where else f"{message}."
    shown = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()[:20]]
    return Invalid(text, param=where or None, details={"errors": shown})


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """The methods that the path of a request takes. The framework's own list is that of one route only."""
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


def install(app: FastAPI) -> None:
    """Turn every error into the one shape."""

    @app.exception_handler(TidemillError)
    def ours(_request: Request, error: TidemillError) -> JSONResponse:
        return reply(error)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return reply(_validation(error))

    @app.exception_handler(StarletteHTTPException)
    def other(request: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.status_code == 404:
            return reply(
                NotFound(f"There is nothing at {request.method} {request.url.path}.", hint="See /api/openapi.json.")
            )
        if error.status_code == 405:
            allowed = ", ".join(_allowed(app, request))
            return reply(
                MethodNotAllowed(
                    f"{request.url.path} does not take {request.method}.", hint=f"It takes {allowed}.", param="method"
                ),
                {"allow": allowed},
            )
        body = (
            Failed(str(error.detail))
            .body()
            .model_copy(update={"type": error_type(error.status_code), "code": f"http_{error.status_code}"})
        )
        return JSONResponse(ErrorReply(error=body).model_dump(), error.status_code, error.headers)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        number = request.scope.get("tidemill.request_id", "-")
        log.error("request %s failed\n%s", number, "".join(traceback.format_exception(error)))
        text = f"Something went wrong inside the server (request {number})."
        return reply(Failed(text, hint="The server's log has the details under this request id."))


class Frame:
    """Around every request: an id, and a refusal of bodies over the limit (blobs have their own)."""

    def __init__(self, app: Asgi, max_body_bytes: int, unlimited: str) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.unlimited = unlimited

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        number = new_id("req")
        scope["tidemill.request_id"] = number
        started = False

        async def framed(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {
                    **message,
                    "headers": [*message.get("headers", []), (b"x-request-id", number.encode())],
                }
            await send(message)

        limited = receive if scope["path"].startswith(self.unlimited) else self._limited(receive)
        try:
            await self.app(scope, limited, framed)
        except Exception:
            # The framework raises again what its handler has already logged and answered.
            if not started:
                raise
        except _TooMuch:
            if not started:
                await reply(self._too_large())(scope, receive, framed)

    def _too_large(self) -> TidemillError:
        return TooLarge(
            f"The body is larger than {self.max_body_bytes} bytes.",
            hint="Upload files through `client.blobs.put`, or raise TIDEMILL_MAX_BODY_BYTES.",
        )

    def _limited(self, receive: Any) -> Any:
        seen = 0

        async def counting() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body_bytes:
                raise _TooMuch
            return message

        return counting


class _TooMuch(BaseException):
    """Passes through the framework's own handlers, which would answer it as a bad request."""
