"""The spans of an export request that are taken, and those that are not, whatever form they came in."""

import time
from dataclasses import dataclass, field

from tidemill.core.text import shorten, storable
from tidemill.traces.raw import RawSpan

MAX_ATTRIBUTES = 2048
"""Attributes of one span, event or resource that are kept."""
MAX_DEPTH = 32
"""Levels of lists and maps in one value that are kept."""
MAX_REASONS = 20
MAX_AHEAD_NS = 24 * 3600 * 1_000_000_000
"""A clock may be fast by a day, not more: a span from next year would be kept a year too long."""
OMITTED = "…"
"""Key of the attribute that says how many were left out."""

_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


@dataclass
class Decoded:
    """The spans of a request, and why others of it were rejected."""

    spans: list[RawSpan] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    """Reason -> spans."""

    def reject(self, reason: str, count: int = 1) -> None:
        """Count spans that cannot be stored, for one of at most MAX_REASONS reasons and `other reasons`."""
        if reason not in self.rejected and len(self.rejected) >= MAX_REASONS:
            reason = "other reasons"
        self.rejected[reason] = self.rejected.get(reason, 0) + count

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


def check_span(decoded: Decoded, span: RawSpan, window: Window) -> None:
    """Add a span to those that are taken, or reject it for its ids or its time."""
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


def unreadable(what: str, error: Exception) -> str:
    """Return the reason for what cannot be read."""
    return f"a {what} cannot be read: {shorten(storable(str(error)), 100)}"
