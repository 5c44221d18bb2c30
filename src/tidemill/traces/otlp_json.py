"""OTLP's export request in JSON: ids are hexadecimal and not base64, and 64-bit numbers may be strings."""

import binascii
import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tidemill.core.text import storable_value
from tidemill.traces.otlp_decoded import MAX_ATTRIBUTES, MAX_DEPTH, OMITTED, Decoded, Window, check_span, unreadable
from tidemill.traces.raw import RawSpan
from tidemill.traces.types import EventRecord, LinkRecord, OtlpInvalid


def decode_json(body: bytes, window: Window) -> Decoded:
    """Return the spans in an export request in JSON. Raises OtlpInvalid."""
    decoded = Decoded()
    try:
        for of_resource in _list(_parse_json(body), "resourceSpans", required=True):
            for of_scope in _list(of_resource, "scopeSpans"):
                _json_spans(decoded, of_scope, of_resource.get("resource") or {}, window)
    except _UNREADABLE as error:
        raise OtlpInvalid(
            f"The body is not an OTLP export request in JSON: {error}.",
            hint='Send {"resourceSpans": [{"scopeSpans": [{"spans": […]}]}]} with ids in hexadecimal.',
        ) from error
    return decoded


_UNREADABLE = (AttributeError, TypeError, ValueError, OverflowError, RecursionError)
"""Raised by JSON that is no export request, or where a value has another type."""


def _parse_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # `json` takes halves of surrogate pairs too, as JavaScript leaves them where it cuts a text.
        return storable_value(json.loads(body.decode(errors="replace")))


def _json_spans(decoded: Decoded, of_scope: dict[str, Any], resource: Any, window: Window) -> None:
    """Add the spans of one scope; those that cannot be read are rejected each by itself."""
    spans = of_scope.get("spans") or []
    scope = of_scope.get("scope") or {}
    if not isinstance(spans, list):
        raise TypeError("'spans' is not a list of objects")
    try:
        attributes = _json_attributes(resource)
        scope_names = (_text(scope.get("name")), _text(scope.get("version")))
    except _UNREADABLE as error:
        decoded.reject(unreadable("resource", error), len(spans))
        return
    for span in spans:
        try:
            _check_json(decoded, span, attributes, scope_names, window)
        except _UNREADABLE as error:
            decoded.reject(unreadable("span", error))


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
    decoded: Decoded, span: dict[str, Any], resource: dict[str, Any], scope: tuple[Any, Any], window: Window
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
        end_ns=_nanoseconds(span.get("endTimeUnixNano")),
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
        status_message=_text(status.get("message")),
        resource=resource,
        scope_name=scope[0],
        scope_version=scope[1],
    )
    check_span(decoded, raw, window)


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


def _text(value: Any) -> str | None:
    return str(value) if value else None


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
