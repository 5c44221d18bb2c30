"""The error handlers of the management API: every error becomes a response in the one shape of `ErrorReply`."""

import logging
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match

from tidemill.core.asgi import error_headers
from tidemill.core.errors import (
    BadRequest,
    ErrorReply,
    Failed,
    Invalid,
    MethodNotAllowed,
    NotFound,
    TidemillError,
    error_type,
)
from tidemill.core.value_faults import fault, field_path

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "model": ErrorReply,
        "description": "The request cannot be met: `error.code` says why, `error.hint` what to do.",
    },
    422: {"model": ErrorReply, "description": "A field is missing or wrong: `error.param` names it."},
    "5XX": {"model": ErrorReply, "description": "The server failed or is not ready; 503 says when to try again."},
}
"""What every operation may answer besides its success, for the OpenAPI document."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

log = logging.getLogger("tidemill.server")


def error_response(error: TidemillError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response for an error, with `headers` beside those that its status asks for."""
    content = ErrorReply(error=error.body()).model_dump()
    return JSONResponse(content, error.status, {**(headers or {}), **error_headers(error.status)})


def _validation_error(error: RequestValidationError) -> TidemillError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return BadRequest(f"The body is not JSON: {first['ctx']['error']}.", hint="Send one JSON object.")
    path_text = field_path(tuple(part for part in first["loc"] if part not in ("body", "query", "path")))
    message = fault(first)
    text = f"{path_text}: {message}." if path_text else f"{message}."
    errors = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()[:20]]
    return Invalid(text, param=path_text or None, details={"errors": errors})


def _allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that the path of a request takes. The framework's own list is that of one route only."""
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


def register_handlers(app: FastAPI) -> None:
    """Register the exception handlers, which give every error the same JSON shape."""

    @app.exception_handler(TidemillError)
    def ours(_request: Request, error: TidemillError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(_validation_error(error))

    @app.exception_handler(StarletteHTTPException)
    def other(request: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.status_code == 404:
            return error_response(
                NotFound(f"There is nothing at {request.method} {request.url.path}.", hint="See /api/openapi.json.")
            )
        if error.status_code == 405:
            allowed = ", ".join(_allowed_methods(app, request))
            return error_response(
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
        return error_response(Failed(text, hint="The server's log has the details under this request id."))
