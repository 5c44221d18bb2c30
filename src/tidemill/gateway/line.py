"""The way back to the caller: headers, JSON, server-sent events, and errors in OpenAI's shape."""

import time
from typing import Any

import msgspec

from tidemill.core.asgi import Send, encode_headers, error_headers
from tidemill.core.errors import ErrorReply, TidemillError


class Line:
    """One reply on its way out."""

    def __init__(self, send: Send, *, request_id: str, began: float) -> None:
        self._send = send
        self.request_id = request_id
        self.began = began
        self.started = False
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        """What the reply carries besides, known once it is known who answers."""

    def elapsed_ms(self) -> float:
        """Milliseconds since the request came in."""
        return (time.perf_counter() - self.began) * 1000

    async def json(self, status: int, body: Any, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """A whole reply."""
        content = msgspec.json.encode(body)
        await self._start(status, b"application/json", ((b"content-length", str(len(content)).encode()), *headers))
        await self._send({"type": "http.response.body", "body": content})

    async def event(self, data: bytes) -> None:
        """One server-sent event; the first one sends the headers."""
        if not self.started:
            await self._start(200, b"text/event-stream; charset=utf-8", ((b"cache-control", b"no-cache"),))
        await self._send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

    async def end(self) -> None:
        """Close a stream that is complete."""
        await self._send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def fail(self, error: TidemillError) -> None:
        """An error: as the reply, or as the last event when the reply has begun."""
        body = ErrorReply(error=error.body()).model_dump()
        if self.started:
            data = msgspec.json.encode(body)
            await self._send({"type": "http.response.body", "body": b"data: " + data + b"\n\n"})
            return
        await self.json(error.status, body, tuple(encode_headers(error_headers(error.status))))

    async def _start(self, status: int, kind: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self.started = True
        ours = (
            (b"content-type", kind),
            (b"x-request-id", self.request_id.encode()),
            (b"openai-processing-ms", str(round(self.elapsed_ms())).encode()),
        )
        await self._send({"type": "http.response.start", "status": status, "headers": [*ours, *self.headers, *headers]})
