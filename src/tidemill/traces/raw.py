"""A span as it was decoded from OTLP, before its attributes are mapped."""

from typing import Any

import msgspec

from tidemill.traces.types import EventRecord, LinkRecord


class RawSpan(msgspec.Struct):
    """One decoded span, whose ids have been checked. `dialects.map_span` makes a SpanRecord of it."""

    trace_id: bytes
    """16 bytes."""
    span_id: bytes
    """8 bytes."""
    name: str
    start_ns: int
    end_ns: int
    parent_id: bytes | None = None
    kind: int = 0
    """OTLP's SpanKind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer."""
    attributes: dict[str, Any] = {}
    """Values are str, bool, int, float, bytes, list or dict, or None."""
    events: list[EventRecord] = []
    links: list[LinkRecord] = []
    status: int = 0
    """0 unset, 1 ok, 2 error."""
    status_message: str | None = None
    resource: dict[str, Any] = {}
    """Attributes of the resource, such as `service.name`; shared by all spans of one sender: do not change it."""
    scope_name: str | None = None
    scope_version: str | None = None
