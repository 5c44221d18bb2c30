"""What the attributes of a span mean: every sender's convention becomes one model."""

from tidemill.traces.raw import RawSpan
from tidemill.traces.types import SpanPayload, SpanRecord

_STATUS = {0: "unset", 1: "ok", 2: "error"}


def map_span(raw: RawSpan) -> SpanRecord:
    """The span in our model. For now what OTLP itself says: the attributes are kept as they are."""
    scope = " ".join(part for part in (raw.scope_name, raw.scope_version) if part)
    service = raw.resource.get("service.name")
    return SpanRecord(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        parent_id=raw.parent_id,
        name=raw.name,
        start_ns=raw.start_ns,
        duration_ns=max(raw.end_ns - raw.start_ns, 0),
        status=_STATUS.get(raw.status, "unset"),
        status_message=raw.status_message,
        service=str(service) if service is not None else None,
        payload=SpanPayload(
            attributes=raw.attributes,
            events=raw.events,
            links=raw.links,
            resource=raw.resource,
            scope=scope or None,
        ),
    )
