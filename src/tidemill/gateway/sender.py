"""Who sends a request and what it is a part of, as its headers tell."""

import os
from collections.abc import Iterable
from typing import NamedTuple

USER = b"x-tidemill-user"
SESSION = b"x-tidemill-session"
TRACEPARENT = b"traceparent"
_WANTED = frozenset({USER, SESSION, TRACEPARENT})
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)


class Sender(NamedTuple):
    """What the headers of a request say about it."""

    trace_id: bytes
    """16 bytes: the caller's trace, or a new one."""
    parent_id: bytes | None = None
    """8 bytes: the caller's span that this call is a part of."""
    user: str | None = None
    session: str | None = None


def read(headers: Iterable[tuple[bytes, bytes]]) -> Sender:
    """The sender of a request. A `traceparent` that is not one counts as none, as W3C's Trace Context wants it."""
    found = {name: value for name, value in headers if name in _WANTED}
    if not found:
        return Sender(os.urandom(16))
    trace_id, parent_id = _parent(found.get(TRACEPARENT, b""))
    return Sender(trace_id or os.urandom(16), parent_id, _text(found.get(USER)), _text(found.get(SESSION)))


def _parent(value: bytes) -> tuple[bytes | None, bytes | None]:
    """`00-<trace id>-<span id>-<flags>`; later versions may add fields at the end."""
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
    """A header in UTF-8, as most senders write one that is not plain ASCII, else in Latin-1, as HTTP has it."""
    if not value:
        return None
    try:
        return value.decode().strip() or None
    except UnicodeDecodeError:
        return value.decode("latin-1").strip() or None
