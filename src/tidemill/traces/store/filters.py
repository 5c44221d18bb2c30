"""A filter as SQL over the spans of one day."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tidemill.traces.store.batch import KIND, STATUS
from tidemill.traces.store.days import DayReader
from tidemill.traces.store.strings import number_of
from tidemill.traces.types import TraceFilter

_STRINGS = (
    "name",
    "service",
    "model",
    "provider",
    "operation",
    "release_id",
    "environment",
    "deployment_id",
    "prompt",
    "key_id",
    "finish_reason",
)
_OF_TRACE = {"user": "user_id", "session": "session_id"}
"""Filters that match a whole trace, whichever span names the user or session."""


def microseconds(moment: datetime) -> int:
    """Return a moment as it is stored, in microseconds since 1970."""
    return round(moment.timestamp() * 1_000_000)


class SpanCondition:
    """A filter as conditions on the spans and the traces of one day."""

    def __init__(self, reader: DayReader, where: TraceFilter) -> None:
        self.parts: list[str] = []
        self.values: list[Any] = []
        self.trace_parts: list[str] = []
        self.trace_values: list[Any] = []
        self.impossible = False
        """Whether nothing of this day can fit, since a value does not occur in it."""
        self._spans(reader, where)
        self._of_trace(reader, where)

    def _spans(self, reader: DayReader, where: TraceFilter) -> None:
        if where.kind is not None:
            self._add("kind = ?", KIND[where.kind])
        if where.status is not None:
            # As a literal, so that the index of what failed can be used.
            self.parts.append(f"status = {STATUS[where.status]}")
        if where.calls:
            self._add("counted = ?", 1)
        if where.roots:
            self.parts.append("parent IS NULL")
        if where.min_ms is not None:
            self._add("duration_us >= ?", round(where.min_ms * 1000))
        if where.max_ms is not None:
            self._add("duration_us <= ?", round(where.max_ms * 1000))
        for name in _STRINGS:
            value = getattr(where, name)
            if value is not None:
                number = number_of(reader, value)
                self.impossible = self.impossible or number is None
                self._add(f"{name} = ?", number)

    def _of_trace(self, reader: DayReader, where: TraceFilter) -> None:
        for name, column in _OF_TRACE.items():
            value = getattr(where, name)
            if value is not None:
                number = number_of(reader, value)
                self.impossible = self.impossible or number is None
                self.trace_parts.append(f"{column} = ?")
                self.trace_values.append(number)

    def _add(self, part: str, value: Any) -> None:
        self.parts.append(part)
        self.values.append(value)

    def begin(self, since: int | None, until: int | None) -> None:
        """Add that a span began in [since, until), in microseconds."""
        if since is not None:
            self._add("start_us >= ?", since)
        if until is not None:
            self._add("start_us < ?", until)

    def spans(self) -> tuple[str, list[Any]]:
        """Return the condition on `spans` for WHERE, and its values."""
        parts, values = list(self.parts), list(self.values)
        if self.trace_parts:
            parts.append(f"trace IN (SELECT id FROM traces WHERE {' AND '.join(self.trace_parts)})")
            values += self.trace_values
        return " AND ".join(parts) or "1 = 1", values


def condition_within(reader: DayReader, where: TraceFilter) -> SpanCondition:
    """Return a filter's condition with its time."""
    condition = SpanCondition(reader, where)
    condition.begin(
        microseconds(where.since) if where.since is not None else None,
        microseconds(where.until) if where.until is not None else None,
    )
    return condition


def needs_spans(where: TraceFilter) -> bool:
    """Return whether a filter has a condition that the row of a trace cannot answer."""
    of_trace: Iterable[str] = ("since", "until", *_OF_TRACE)
    return any(value not in (None, False) for name, value in where if name not in of_trace)
