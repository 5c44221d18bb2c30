"""OTLP/HTTP: export requests in protobuf and in JSON become raw spans.

Source: opentelemetry-proto 1.x, `trace_service.proto` and "OTLP/HTTP" of the OpenTelemetry specification. In JSON, ids
are hexadecimal and not base64, and 64-bit numbers may be strings.
"""

import base64
import zlib
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tidemill.traces.otlp_decoded import MAX_ATTRIBUTES, MAX_DEPTH, OMITTED, Decoded, Window, check_span, unreadable
from tidemill.traces.otlp_json import decode_json
from tidemill.traces.otlp_proto import ExportRequest, replace_invalid_text
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
        return decode_json(body, window)
    raise OtlpMediaTypeUnknown(
        f"The content type {media_type[:80]!r} is not OTLP's.", hint=f"Send {PROTOBUF} or {JSON}, by HTTP/protobuf."
    )


def _protobuf(body: bytes, window: Window) -> Decoded:
    decoded = Decoded()
    request = _parse_request(body)
    for of_resource in request.resource_spans:
        try:
            resource = _attributes(of_resource.resource.attributes)
        except DecodeError as error:
            decoded.reject(unreadable("resource", error), sum(len(scope.spans) for scope in of_resource.scope_spans))
            continue
        for of_scope in of_resource.scope_spans:
            name, version = of_scope.scope.name or None, of_scope.scope.version or None
            for span in of_scope.spans:
                try:
                    raw = _span(span, resource, name, version)
                except DecodeError as error:
                    decoded.reject(unreadable("span", error))
                else:
                    check_span(decoded, raw, window)
    if body and not request.resource_spans:
        raise OtlpInvalid("The body holds no resource spans.", hint="Send an ExportTraceServiceRequest.")
    return decoded


def _parse_request(body: bytes) -> Any:
    try:
        return ExportRequest.FromString(body)
    except DecodeError:  # for one text that is no UTF-8 as well
        try:
            return ExportRequest.FromString(replace_invalid_text(body))
        except DecodeError as error:
            raise OtlpInvalid(
                f"The body is not an OTLP export request in protobuf: {error}.",
                hint="Was it cut off on the way? Send ExportTraceServiceRequest.",
            ) from error


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
                    return str(data[2:], "utf-8", "replace")
            elif data[2] < 0x80 and size == (length & 0x7F | data[2] << 7) + 3:
                return str(data[3:], "utf-8", "replace")
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
