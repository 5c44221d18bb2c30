"""Middleware of the management API: request ids, and the limit on request bodies."""

from collections.abc import Callable

from tidemill.core.asgi import (
    Admission,
    AsgiApp,
    BodyLimit,
    BodyOverLimit,
    ByteBudget,
    Message,
    Receive,
    Scope,
    Send,
    limit_body,
    too_many_bytes,
)
from tidemill.core.wire import new_id
from tidemill.server.error_responses import error_response


class RequestMiddleware:
    """Sets request ids and refuses bodies over the limit. Paths under `unlimited` check their own limits."""

    def __init__(self, app: AsgiApp, max_body_bytes: int, unlimited: str, max_bytes_inside: int) -> None:
        self._app = app
        self._budget = ByteBudget(max_bytes_inside, too_many_bytes)
        self._unlimited = unlimited
        self._limit = BodyLimit(
            max_body_bytes, hint="Upload files through `client.blobs.put`, or raise TIDEMILL_MAX_BODY_BYTES."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request. Sets `tidemill.request_id` in the scope and `x-request-id` in the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        scope["tidemill.request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        with self._budget.admit() as admission:
            await self._answer(scope, receive, send_with_id, admission, lambda: started)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, admission: Admission, has_started: Callable[[], bool]
    ) -> None:
        if not scope["path"].startswith(self._unlimited):
            if self._limit.is_declared_over(scope["headers"]):
                await error_response(self._limit.exceeded())(scope, receive, send)
                return
            receive = limit_body(receive, self._limit, admission)
        try:
            await self._app(scope, receive, send)
        except Exception:
            # The framework raises again what its handler has already logged and answered.
            if not has_started():
                raise
        except BodyOverLimit as over_limit:
            if not has_started():
                await error_response(over_limit.error)(scope, receive, send)
