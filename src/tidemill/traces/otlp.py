"""OTLP/HTTP: export requests in protobuf and in JSON become raw spans.

Source: opentelemetry-proto 1.x, `trace_service.proto` and "OTLP/HTTP" of the OpenTelemetry specification. In JSON, ids
are hexadecimal and not base64, and 64-bit numbers may be strings.
"""

import base64
import binascii
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tidemill.traces.otlp_proto import ExportRequest
from tidemill.traces.raw import RawSpan
from tidemill.traces.types import (
    EventRecord,
    LinkRecord,
    OtlpEncodingUnknown,
    OtlpInvalid,
    OtlpMediaTypeUnknown,
    OtlpTooLarge,
)

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_ATTRIBUTES = 2048
"""Attributes of one span, event or resource that are kept."""
MAX_DEPTH = 32
"""Levels of lists and maps in one value that are kept."""
MAX_AHEAD_NS = 24 * 3600 * 1_000_000_000
"""A clock may be fast by a day, not more: a span from next year would be kept a year too long."""


_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


@dataclass
class Decoded:
    """The spans of a request, and why others of it were rejected."""

    spans: list[RawSpan] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    """Reason -> spans."""

    def reject(self, reason: str) -> None:
        """Count a span that cannot be stored."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    @property
    def rejected_count(self) -> int:
        """Return how many spans were rejected."""
        return sum(self.rejected.values())


@dataclass(frozen=True)
class Window:
    """The times that a span may begin in, in nanoseconds."""

    first_ns: int
    last_ns: int

    @classmethod
    def now(cls, retention_days: int) -> "Window":
        """Return the window from the oldest day that retention keeps (1980 when it keeps all) to a day ahead."""
        now = time.time_ns()
        day = 24 * 3600 * 1_000_000_000
        oldest = (now // day - retention_days) * day if retention_days else 10 * 365 * day
        return cls(oldest, now + MAX_AHEAD_NS)


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the body without its compression. Raises OtlpEncodingUnknown, OtlpInvalid, OtlpTooLarge."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise OtlpEncodingUnknown(f"The content encoding {encoding!r} is not known.", hint="Send gzip, or no encoding.")
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        content = decompressor.decompress(body, max_bytes)
    except zlib.error as error:
        raise OtlpInvalid(f"The body is not {encoding}: {error}.", hint="Was it cut off on the way?") from error
    if decompressor.unconsumed_tail:
        raise OtlpTooLarge(
            f"Unpacked, the body is larger than {max_bytes} bytes.",
            hint="Send smaller batches, or raise TIDEMILL_TRACE_MAX_REQUEST_BYTES.",
        )
    if not decompressor.eof:
        raise OtlpInvalid(f"The {encoding} body ends too early.", hint="It was cut off on the way; send it again.")
    return content


def decode(body: bytes, media_type: str, window: Window) -> Decoded:
    """Return the spans in an export request. Raises OtlpMediaTypeUnknown, OtlpInvalid."""
    if media_type == PROTOBUF:
        return _protobuf(body, window)
    if media_type == JSON:
        return _json(body, window)
    raise OtlpMediaTypeUnknown(
        f"The content type {media_type[:80]!r} is not OTLP's.", hint=f"Send {PROTOBUF} or {JSON}, by HTTP/protobuf."
    )


def _check(decoded: Decoded, span: RawSpan, window: Window) -> None:
    if len(span.trace_id) != 16 or span.trace_id == _NO_TRACE:
        decoded.reject("a trace id is not 16 bytes, or zero")
    elif len(span.span_id) != 8 or span.span_id == _NO_SPAN:
        decoded.reject("a span id is not 8 bytes, or zero")
    elif span.parent_id is not None and len(span.parent_id) != 8:
        decoded.reject("a parent span id is not 8 bytes")
    elif span.start_ns > window.last_ns:
        decoded.reject("a span begins more than a day in the future: check the sender's clock")
    elif span.start_ns < window.first_ns:
        decoded.reject("a span is older than what is kept: check the sender's clock")
    else:
        decoded.spans.append(span)


# Protobuf


def _protobuf(body: bytes, window: Window) -> Decoded:
    decoded = Decoded()
    try:
        request = ExportRequest.FromString(body)
        for of_resource in request.resource_spans:
            resource = _attributes(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                name, version = of_scope.scope.name or None, of_scope.scope.version or None
                for span in of_scope.spans:
                    _check(decoded, _span(span, resource, name, version), window)
    except (DecodeError, UnicodeDecodeError) as error:
        raise OtlpInvalid(
            f"The body is not an OTLP export request in protobuf: {error}.",
            hint="Was it cut off on the way? Send ExportTraceServiceRequest.",
        ) from error
    if body and not request.resource_spans:
        raise OtlpInvalid("The body holds no resource spans.", hint="Send an ExportTraceServiceRequest.")
    return decoded


def _span(span: Any, resource: dict[str, Any], scope: str | None, version: str | None) -> RawSpan:
    events, links, status = span.events, span.links, span.status
    return RawSpan(
        span.trace_id,
        span.span_id,
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.parent_span_id or None,
        span.kind,
        _attributes(span.attributes),
        [_event(event) for event in events] if events else [],
        [_link(link) for link in links] if links else [],
        status.code,
        status.message or None,
        resource,
        scope,
        version,
    )


def _event(event: Any) -> EventRecord:
    return EventRecord(event.time_unix_nano, event.name, _attributes(event.attributes))


def _link(link: Any) -> LinkRecord:
    return LinkRecord(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes))


OMITTED = "…"
"""Key of the attribute that says how many were left out."""


def _attributes(pairs: Any) -> dict[str, Any]:
    if len(pairs) > MAX_ATTRIBUTES:
        attributes = {pair.key: _decode_value(pair.value) for pair in pairs[:MAX_ATTRIBUTES]}
        return attributes | {OMITTED: f"{len(pairs) - MAX_ATTRIBUTES} more attributes were left out"}
    return {pair.key: _decode_value(pair.value) for pair in pairs}


_STRING, _INT = 0x0A, 0x18
"""How the bytes of a text and of a whole number begin: number and wire type of the field in `AnyValue`."""


def _decode_value(data: bytes) -> Any:
    """Return an attribute's value. Texts under 16 KB and small numbers, nearly all there are, need no `AnyValue`."""
    size = len(data)
    if size > 3:
        if data[0] == _STRING:
            length = data[1]
            if length < 0x80:
                if size == length + 2:
                    return str(data[2:], "utf-8")
            elif data[2] < 0x80 and size == (length & 0x7F | data[2] << 7) + 3:
                return str(data[3:], "utf-8")
    elif size > 1 and data[0] == _INT:
        if size == 2 and data[1] < 0x80:
            return data[1]
        if size == 3 and data[1] >= 0x80 > data[2]:
            return data[1] & 0x7F | data[2] << 7
    return _value(AnyValue.FromString(data))


def _value(value: Any, depth: int = 0) -> Any:
    which = value.WhichOneof("value")
    if which is None or depth > MAX_DEPTH:
        return None
    content = getattr(value, which)
    if which == "array_value":
        return [_value(item, depth + 1) for item in content.values]
    if which == "kvlist_value":
        return {pair.key: _value(pair.value, depth + 1) for pair in content.values}
    return base64.b64encode(content).decode() if which == "bytes_value" else content


# JSON


def _json(body: bytes, window: Window) -> Decoded:
    try:
        request = msgspec.json.decode(body)
        decoded = Decoded()
        for of_resource in _list(request, "resourceSpans", required=True):
            resource = _json_attributes(of_resource.get("resource") or {})
            for of_scope in _list(of_resource, "scopeSpans"):
                scope = of_scope.get("scope") or {}
                for span in _list(of_scope, "spans"):
                    _check_json(decoded, span, resource, scope, window)
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise OtlpInvalid(
            f"The body is not an OTLP export request in JSON: {error}.",
            hint='Send {"resourceSpans": [{"scopeSpans": [{"spans": […]}]}]} with ids in hexadecimal.',
        ) from error
    return decoded


def _list(holder: Any, name: str, *, required: bool = False) -> Iterable[dict[str, Any]]:
    if not isinstance(holder, dict):
        raise TypeError(f"there is a {type(holder).__name__} where an object with {name!r} should be")
    items = holder.get(name)
    if items is None and not required:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise TypeError(f"{name!r} is not a list of objects")
    return items


def _check_json(
    decoded: Decoded, span: dict[str, Any], resource: dict[str, Any], scope: dict[str, Any], window: Window
) -> None:
    try:
        ids = [_hex(span.get(name)) for name in ("traceId", "spanId", "parentSpanId")]
    except (ValueError, TypeError):
        decoded.reject("an id is not hexadecimal")
        return
    status = span.get("status") or {}
    raw = RawSpan(
        trace_id=ids[0],
        span_id=ids[1],
        name=str(span.get("name") or ""),
        start_ns=int(span.get("startTimeUnixNano") or 0),
        end_ns=int(span.get("endTimeUnixNano") or 0),
        parent_id=ids[2] or None,
        kind=_number(span.get("kind"), "SPAN_KIND_", _KINDS),
        attributes=_json_attributes(span),
        events=[
            EventRecord(
                at=_nanoseconds(event.get("timeUnixNano")),
                name=str(event.get("name") or ""),
                attributes=_json_attributes(event),
            )
            for event in _list(span, "events")
        ],
        links=[
            LinkRecord(
                trace_id=str(link.get("traceId") or ""),
                span_id=str(link.get("spanId") or ""),
                attributes=_json_attributes(link),
            )
            for link in _list(span, "links")
        ],
        status=_number(status.get("code"), "STATUS_CODE_", _STATUSES),
        status_message=status.get("message") or None,
        resource=resource,
        scope_name=scope.get("name") or None,
        scope_version=scope.get("version") or None,
    )
    _check(decoded, raw, window)


_LEAST, _MOST = -(2**63), 2**63 - 1
_KINDS = {name: number for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER",
                                                      "CONSUMER"))}  # fmt: skip
_STATUSES = {"UNSET": 0, "OK": 1, "ERROR": 2}


def _number(value: Any, prefix: str, names: dict[str, int]) -> int:
    if isinstance(value, str):
        return names.get(value.removeprefix(prefix), 0)
    return value if isinstance(value, int) else 0


def _integer(value: Any) -> int | str:
    """Return a whole number of 64 bits; what is none stays the text that it is, and costs no other span anything."""
    try:
        number = int(value)
    except (ValueError, TypeError):
        return str(value)
    return number if _LEAST <= number <= _MOST else str(value)


def _nanoseconds(value: Any) -> int:
    """Return a moment in Unix nanoseconds; 0 for what is none."""
    number = _integer(value or 0)
    return number if isinstance(number, int) and number >= 0 else 0


def _hex(value: Any) -> bytes:
    return binascii.unhexlify(value) if value else b""


def _json_attributes(holder: dict[str, Any]) -> dict[str, Any]:
    pairs = list(_list(holder, "attributes"))
    attributes = {str(pair.get("key")): _json_value(pair.get("value")) for pair in pairs[:MAX_ATTRIBUTES]}
    if len(pairs) > MAX_ATTRIBUTES:
        attributes[OMITTED] = f"{len(pairs) - MAX_ATTRIBUTES} more attributes were left out"
    return attributes


def _json_value(value: Any, depth: int = 0) -> Any:
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        return None
    for name, content in value.items():
        read = _READERS.get(name)
        if read is not None:
            return read(content, depth)
    return None


_READERS: dict[str, Callable[[Any, int], Any]] = {
    "stringValue": lambda value, _: str(value),
    "boolValue": lambda value, _: bool(value),
    "intValue": lambda value, _: _integer(value),
    "doubleValue": lambda value, _: float(value),
    "bytesValue": lambda value, _: str(value),
    "arrayValue": lambda value, depth: [_json_value(item, depth + 1) for item in value.get("values") or []],
    "kvlistValue": lambda value, depth: {
        str(pair.get("key")): _json_value(pair.get("value"), depth + 1) for pair in value.get("values") or []
    },
}
