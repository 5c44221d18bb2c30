"""Responses of `/v1`: headers, JSON, server-sent events, and errors in OpenAI's shape."""

import time
from typing import Any

import msgspec

from tidemill.core.asgi import Send, encode_headers, error_headers
from tidemill.core.errors import ErrorReply, TidemillError


class ResponseWriter:
    """Writes one response. `started` tells whether its headers have gone out."""

    def __init__(self, send: Send, *, request_id: str, began: float) -> None:
        self._send = send
        self.request_id = request_id
        self.began = began
        self.started = False
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        """Further headers, set once the target that answers is known."""

    def elapsed_ms(self) -> float:
        """Return the milliseconds since the request came in."""
        return (time.perf_counter() - self.began) * 1000

    async def json(self, status: int, body: Any, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Send a whole response with `body` as JSON."""
        content = msgspec.json.encode(body)
        await self._start(status, b"application/json", ((b"content-length", str(len(content)).encode()), *headers))
        await self._send({"type": "http.response.body", "body": content})

    async def event(self, data: bytes) -> None:
        """Send one server-sent event; the first one sends the headers, too."""
        if not self.started:
            await self._start(200, b"text/event-stream; charset=utf-8", ((b"cache-control", b"no-cache"),))
        await self._send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

    async def end(self) -> None:
        """Send `[DONE]` and end the stream."""
        await self._send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def fail(self, error: TidemillError) -> None:
        """Send an error: as the response, or as the last event of a stream that has begun."""
        body = ErrorReply(error=error.body()).model_dump()
        if self.started:
            data = msgspec.json.encode(body)
            await self._send({"type": "http.response.body", "body": b"data: " + data + b"\n\n"})
            return
        await self.json(error.status, body, tuple(encode_headers(error_headers(error.status))))

    async def _start(self, status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self.started = True
        standard = (
            (b"content-type", content_type),
            (b"x-request-id", self.request_id.encode()),
            (b"openai-processing-ms", str(round(self.elapsed_ms())).encode()),
        )
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*standard, *self.headers, *headers]}
        )
