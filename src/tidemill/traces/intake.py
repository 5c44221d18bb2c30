"""`/v1/traces` as bare ASGI: OTLP/HTTP in, and 200 only when every span is committed."""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from tidemill.access.service import require
from tidemill.core.actors import OWNER, Actor
from tidemill.core.errors import ErrorReply, Failed, MethodNotAllowed, TidemillError
from tidemill.core.http import LOCAL_SCOPE
from tidemill.traces import otlp
from tidemill.traces.dialects import map_span
from tidemill.traces.types import IntakeTooLarge, SpanRecord
from tidemill.traces.writer import TraceWriter

log = logging.getLogger("tidemill.traces")

INLINE = 16_384
"""Bodies up to this size are read on the event loop; larger ones beside it, so that other requests go on."""


class Keys(Protocol):
    """Knows whose a key is."""

    def authenticate(self, token: str | None) -> Actor:
        """Who calls; may ask the database."""
        ...

    def remembered(self, token: str) -> Actor | None:
        """Who calls, when that is known without asking."""
        ...


class HungUp(Exception):
    """The sender closed the connection before its request was whole."""


class Intake:
    """The application behind `/v1/traces`."""

    def __init__(self, keys: Keys, writer: TraceWriter) -> None:
        settings = writer.store.settings
        self._keys = keys
        self._writer = writer
        self._most = settings.trace_max_request_bytes
        self._retention = settings.trace_retention_days
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="traces-intake")

    async def start(self) -> None:
        """Nothing to do: the writer starts with the first span."""

    async def stop(self) -> None:
        """Write what waits."""
        await asyncio.to_thread(self._writer.close)
        self._threads.shutdown()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle one request."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        media_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()
        try:
            decoded = await self._take(scope, headers, media_type, receive)
        except TidemillError as error:
            await _fail(send, error, media_type)
        except HungUp:
            log.debug("a sender hung up")
        except Exception:
            log.exception("an export request failed")
            text = "Something went wrong inside the server."
            await _fail(send, Failed(text, hint="The server's log has the details."), media_type)
        else:
            await _accept(send, decoded, media_type)

    async def _take(
        self, scope: MutableMapping[str, Any], headers: dict[bytes, str], media_type: str, receive: Any
    ) -> otlp.Decoded:
        require(await self._caller(scope, headers), "developer")
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['method']} is not for {scope['path']}.", hint="Send spans by POST.")
        body = await self._body(receive, headers)
        encoding = headers.get(b"content-encoding", "").strip().lower()
        if len(body) <= INLINE:
            decoded, records = self._read(body, encoding, media_type)
        else:
            loop = asyncio.get_running_loop()
            decoded, records = await loop.run_in_executor(self._threads, self._read, body, encoding, media_type)
        if records:
            await self._writer.submit(records)
        return decoded

    def _read(self, body: bytes, encoding: str, media_type: str) -> tuple[otlp.Decoded, list[SpanRecord]]:
        content = otlp.unpack(body, encoding, self._most)
        decoded = otlp.decode(content, media_type, otlp.Window.now(self._retention))
        records = [map_span(span) for span in decoded.spans]
        return decoded, records

    async def _caller(self, scope: MutableMapping[str, Any], headers: dict[bytes, str]) -> Actor:
        scheme, _, rest = headers.get(b"authorization", "").partition(" ")
        token = rest.strip() if scheme.lower() == "bearer" else None
        if scope.get(LOCAL_SCOPE) and token is None:
            return OWNER
        known = self._keys.remembered(token) if token else None
        if known is not None:
            return known
        find: Callable[[str | None], Actor] = self._keys.authenticate
        return await asyncio.to_thread(find, token)

    async def _body(self, receive: Any, headers: dict[bytes, str]) -> bytes:
        error = IntakeTooLarge(
            f"The body is larger than {self._most} bytes.",
            hint="Send smaller batches, or raise TIDEMILL_TRACE_MAX_REQUEST_BYTES.",
        )
        length = headers.get(b"content-length", "")
        if length.isdigit() and int(length) > self._most:
            raise error
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HungUp
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._most:
                raise error
            if not message.get("more_body"):
                return b"".join(parts)


async def _accept(send: Any, decoded: otlp.Decoded, media_type: str) -> None:
    """Say that all is stored, or which spans never will be: «partial success», which a sender does not repeat."""
    reason = "; ".join(f"{count} refused: {why}" for why, count in decoded.refused.items())
    if media_type == otlp.JSON:
        partial = {"rejectedSpans": str(decoded.refusals), "errorMessage": reason}
        await _reply(send, 200, msgspec.json.encode({"partialSuccess": partial} if reason else {}), media_type)
        return
    said = _field(1, decoded.refusals) + _field(2, reason.encode())
    await _reply(send, 200, _field(1, said) if reason else b"", otlp.PROTOBUF)


_GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 413: 3, 415: 3, 503: 14, 507: 8}


async def _fail(send: Any, error: TidemillError, media_type: str) -> None:
    """An error: to JSON senders in our shape, to protobuf senders as google.rpc.Status, as OTLP wants it."""
    headers = []
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    elif error.status == 503:
        headers.append((b"retry-after", b"1"))
    elif error.status == 405:
        headers.append((b"allow", b"POST"))
    headers.append((b"x-tidemill-error", error.code.encode()))
    if media_type == otlp.PROTOBUF:
        text = " ".join(part for part in (f"{error.message} [{error.code}]", error.hint) if part)
        status = _field(1, _GRPC_CODES.get(error.status, 13)) + _field(2, text.encode())
        await _reply(send, error.status, status, otlp.PROTOBUF, headers)
        return
    body = {"code": _GRPC_CODES.get(error.status, 13), "message": error.message}
    body |= ErrorReply(error=error.body()).model_dump()
    await _reply(send, error.status, msgspec.json.encode(body), otlp.JSON, headers)


async def _reply(
    send: Any, status: int, body: bytes, media_type: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    ours = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*ours, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: a varint or bytes."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value
