"""What the attributes of spans mean, in every dialect that senders speak: `map_span(raw) -> SpanRecord`."""

from tidemill.traces.dialects.mapping import map_span

__all__ = ["map_span"]
