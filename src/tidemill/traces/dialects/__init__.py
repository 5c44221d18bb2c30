"""Maps spans of every convention that senders follow to one model: `map_span(raw) -> SpanRecord`."""

from tidemill.traces.dialects.mapping import map_span

__all__ = ["map_span"]
