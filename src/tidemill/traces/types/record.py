"""A span before it is stored: made from OTLP by a dialect, or from a call by the gateway."""

from typing import Any

import msgspec


class EventRecord(msgspec.Struct):
    """An event of a span to be stored."""

    at: int = 0
    """Nanoseconds since 1970; 0 when the sender states no time."""
    name: str = ""
    attributes: dict[str, Any] = {}


class LinkRecord(msgspec.Struct):
    """A link of a span to be stored. Ids are hexadecimal."""

    trace_id: str = ""
    span_id: str = ""
    attributes: dict[str, Any] = {}


class SpanPayload(msgspec.Struct, omit_defaults=True):
    """The heavy part of a span, kept in a compressed block and read only when asked for.

    `input` and `output` are a list of messages (`{"role", "content", ...}`) or any JSON value. Attributes that
    were turned into `input`, `output` or a field of the record need not stand in `attributes` again.
    """

    input: Any = None
    output: Any = None
    attributes: dict[str, Any] = {}
    events: list[EventRecord] = []
    links: list[LinkRecord] = []
    resource: dict[str, Any] = {}
    scope: str | None = None


class SpanRecord(msgspec.Struct):
    """A span to be stored: `TraceWriter.submit(list[SpanRecord])`. Ids are bytes, times nanoseconds since 1970."""

    trace_id: bytes
    """16 bytes."""
    span_id: bytes
    """8 bytes."""
    name: str
    start_ns: int
    duration_ns: int
    parent_id: bytes | None = None
    kind: str = "other"
    """One of `KINDS`."""
    status: str = "unset"
    status_message: str | None = None
    service: str | None = None
    model: str | None = None
    provider: str | None = None
    operation: str | None = None
    response_id: str | None = None
    release_id: str | None = None
    environment: str | None = None
    deployment_id: str | None = None
    prompt: str | None = None
    key_id: str | None = None
    user: str | None = None
    session: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    ttft_ms: float | None = None
    cost_usd: float | None = None
    cost_source: str | None = None
    price_version: str | None = None
    dialect: str | None = None
    truncated: list[str] = []
    payload: SpanPayload = msgspec.field(default_factory=SpanPayload)
    packed: bytes | None = None
    """The payload as it will be stored; the writer sets it when nothing of the payload changes any more."""
