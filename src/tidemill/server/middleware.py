"""Middleware of the management API: request ids, and the limit on request bodies."""

from tidemill.core.asgi import AsgiApp, BodyLimit, BodyOverLimit, Message, Receive, Scope, Send, limit_body
from tidemill.core.wire import new_id
from tidemill.server.error_responses import error_response


class RequestMiddleware:
    """Sets request ids and refuses bodies over the limit. Paths under `unlimited` check their own limits."""

    def __init__(self, app: AsgiApp, max_body_bytes: int, unlimited: str) -> None:
        self._app = app
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

        if not scope["path"].startswith(self._unlimited):
            if self._limit.is_declared_over(scope["headers"]):
                await error_response(self._limit.exceeded())(scope, receive, send_with_id)
                return
            receive = limit_body(receive, self._limit)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # The framework raises again what its handler has already logged and answered.
            if not started:
                raise
        except BodyOverLimit:
            if not started:
                await error_response(self._limit.exceeded())(scope, receive, send_with_id)
