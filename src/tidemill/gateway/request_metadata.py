"""What the headers of a request say about it: the trace it belongs to, its user and its session."""

import os
from collections.abc import Iterable
from typing import NamedTuple

USER = b"x-tidemill-user"
SESSION = b"x-tidemill-session"
TRACEPARENT = b"traceparent"
_HEADERS = frozenset({USER, SESSION, TRACEPARENT})
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)


class RequestMetadata(NamedTuple):
    """Trace context, user and session of one request."""

    trace_id: bytes
    """16 bytes: the caller's trace, or a new one."""
    parent_id: bytes | None = None
    """8 bytes: the caller's span that this call is a part of."""
    user: str | None = None
    session: str | None = None


def read_metadata(headers: Iterable[tuple[bytes, bytes]]) -> RequestMetadata:
    """Return what the headers say. An invalid `traceparent` counts as none, as W3C Trace Context requires."""
    values = {name: value for name, value in headers if name in _HEADERS}
    if not values:
        return RequestMetadata(os.urandom(16))
    trace_id, parent_id = _parent(values.get(TRACEPARENT, b""))
    return RequestMetadata(trace_id or os.urandom(16), parent_id, _text(values.get(USER)), _text(values.get(SESSION)))


def _parent(value: bytes) -> tuple[bytes | None, bytes | None]:
    """Parse `00-<trace id>-<span id>-<flags>`; later versions may add fields at the end."""
    parts = value.strip().split(b"-")
    if len(parts) < 4 or (parts[0] == b"00" and len(parts) > 4):
        return None, None
    version, trace, span, flags = parts[:4]
    if (len(version), len(trace), len(span), len(flags)) != (2, 32, 16, 2) or version == b"ff":
        return None, None
    if value != value.lower():
        return None, None
    try:
        trace_id, span_id = bytes.fromhex(trace.decode("ascii")), bytes.fromhex(span.decode("ascii"))
        bytes.fromhex((version + flags).decode("ascii"))
    except ValueError:
        return None, None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN or len(trace_id) != 16 or len(span_id) != 8:
        return None, None
    return trace_id, span_id


def _text(value: bytes | None) -> str | None:
    """Decode a header in UTF-8, as most clients write one that is not plain ASCII, else in Latin-1, as HTTP has it."""
    if not value:
        return None
    try:
        return value.decode().strip() or None
    except UnicodeDecodeError:
        return value.decode("latin-1").strip() or None
