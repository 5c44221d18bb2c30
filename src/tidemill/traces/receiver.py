"""`/v1/traces` as bare ASGI: OTLP/HTTP in, and 200 only when every span is committed."""

import asyncio
import functools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tidemill.access.service import require
from tidemill.core.asgi import (
    Authenticator,
    BodyLimit,
    ByteBudget,
    ClientDisconnected,
    Receive,
    Scope,
    Send,
    authenticate,
    encode_headers,
    error_headers,
    read_body,
)
from tidemill.core.errors import ErrorReply, Failed, MethodNotAllowed, TidemillError
from tidemill.traces import otlp
from tidemill.traces.dialects import map_span
from tidemill.traces.otlp_decoded import Decoded, Window, unreadable
from tidemill.traces.otlp_proto import RpcStatus
from tidemill.traces.types import OtlpTooLarge, SpanRecord, TraceQueueFull
from tidemill.traces.writer import TraceWriter

log = logging.getLogger("tidemill.traces")

T = TypeVar("T")

INLINE_BYTES = 16_384
"""Bodies up to this size are decoded on the event loop; larger ones in a thread, so that other requests go on."""


class OtlpReceiver:
    """The application behind `/v1/traces`."""

    def __init__(self, keys: Authenticator, writer: TraceWriter) -> None:
        settings = writer.store.settings
        self._keys = keys
        self._writer = writer
        self._body_limit = BodyLimit(
            settings.trace_max_request_bytes,
            hint="Send smaller batches, or raise TIDEMILL_TRACE_MAX_REQUEST_BYTES.",
            error=OtlpTooLarge,
        )
        self._budget = ByteBudget(settings.trace_queue_bytes, _too_many_bytes)
        self._retention = settings.trace_retention_days
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="otlp-receiver")

    async def start(self) -> None:
        """Do nothing: the writer starts with the first span."""

    async def stop(self) -> None:
        """Write the spans that are queued, and stop the writer."""
        await asyncio.to_thread(self._writer.close)
        self._threads.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        media_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()
        try:
            decoded = await self._receive(scope, headers, media_type, receive)
        except TidemillError as error:
            await _send_error(send, error, media_type)
        except ClientDisconnected:
            log.debug("a sender disconnected")
        except Exception:
            log.exception("an export request failed")
            text = "Something went wrong inside the server."
            await _send_error(send, Failed(text, hint="The server's log has the details."), media_type)
        else:
            await _send_success(send, decoded, media_type)

    async def _receive(self, scope: Scope, headers: dict[bytes, str], media_type: str, receive: Receive) -> Decoded:
        require(await authenticate(scope, self._keys), "developer")
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['method']} is not for {scope['path']}.", hint="Send spans by POST.")
        encoding = headers.get(b"content-encoding", "").strip().lower()
        with self._budget.admit() as admission:  # until the spans are stored
            content = await read_body(scope, receive, self._body_limit, admission)
            if encoding not in ("", "identity"):
                compressed_bytes = len(content)
                content = await self._run(compressed_bytes, self._decompress, content, encoding)
                admission.grow(max(len(content) - compressed_bytes, 0))
            decoded, records = await self._run(len(content), self._decode, content, media_type)
            size = len(content)
            del content
            if records:
                await self._writer.submit(records, size)
            return decoded

    async def _run(self, size: int, function: Callable[..., T], *args: Any) -> T:
        """Call a function: in a thread when it has more than INLINE_BYTES to do with."""
        if size <= INLINE_BYTES:
            return function(*args)
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(function, *args))

    def _decompress(self, body: bytes, encoding: str) -> bytes:
        return otlp.decompress(body, encoding, self._body_limit.max_bytes)

    def _decode(self, content: bytes, media_type: str) -> tuple[Decoded, list[SpanRecord]]:
        decoded = otlp.decode(content, media_type, Window.now(self._retention))
        records = []
        for span in decoded.spans:
            try:
                records.append(map_span(span))
            except Exception as error:  # one span that nobody foresaw costs the others nothing
                log.exception("a span cannot be read")
                decoded.reject(unreadable("span", error))
        return decoded, records


def _too_many_bytes() -> TraceQueueFull:
    return TraceQueueFull("Too many bytes of spans wait to be stored already.", hint="Send them again in a second.")


async def _send_success(send: Send, decoded: Decoded, media_type: str) -> None:
    """Send 200; spans that were rejected are named as a partial success, which a sender does not repeat."""
    reason = "; ".join(f"{count} refused: {why}" for why, count in decoded.rejected.items())
    if media_type == otlp.JSON:
        partial = {"rejectedSpans": str(decoded.rejected_count), "errorMessage": reason}
        await _send(send, 200, msgspec.json.encode({"partialSuccess": partial} if reason else {}), media_type)
        return
    response = ExportTraceServiceResponse()
    if reason:
        response.partial_success.rejected_spans = decoded.rejected_count
        response.partial_success.error_message = reason
    await _send(send, 200, response.SerializeToString(), otlp.PROTOBUF)


_GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 413: 3, 415: 3, 503: 14, 507: 8}


async def _send_error(send: Send, error: TidemillError, media_type: str) -> None:
    """Send an error: to JSON senders in the shape of this API, to protobuf senders as google.rpc.Status."""
    headers = encode_headers(error_headers(error.status))
    if error.status == 405:
        headers.append((b"allow", b"POST"))
    headers.append((b"x-tidemill-error", error.code.encode()))
    code = _GRPC_CODES.get(error.status, 13)
    if media_type == otlp.PROTOBUF:
        text = " ".join(part for part in (f"{error.message} [{error.code}]", error.hint) if part)
        await _send(send, error.status, RpcStatus(code=code, message=text).SerializeToString(), otlp.PROTOBUF, headers)
        return
    body = {"code": code, "message": error.message}
    body |= ErrorReply(error=error.body()).model_dump()
    await _send(send, error.status, msgspec.json.encode(body), otlp.JSON, headers)


async def _send(
    send: Send, status: int, body: bytes, media_type: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    content_headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*content_headers, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
