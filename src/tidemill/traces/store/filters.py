"""A filter as SQL over the spans of one day."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tidemill.traces.store import keys
from tidemill.traces.store.batch import KIND, STATUS
from tidemill.traces.store.days import Look
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
_OF_TRACE = {"user": ("user_id", keys.of_users), "session": ("session_id", keys.of_sessions)}
"""A user and a session belong to a whole trace, whichever span tells them."""


def microseconds(moment: datetime) -> int:
    """A moment as stored."""
    return round(moment.timestamp() * 1_000_000)


class Condition:
    """What a filter asks of the spans of one day."""

    def __init__(self, look: Look, where: TraceFilter) -> None:
        self.parts: list[str] = []
        self.values: list[Any] = []
        self.trace_parts: list[str] = []
        self.trace_values: list[Any] = []
        self.impossible = False
        """Whether nothing of this day can fit, since a value does not occur in it."""
        self._spans(look, where)
        self._of_trace(look, where)

    def _spans(self, look: Look, where: TraceFilter) -> None:
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
                number = keys.number_of(look, value)
                self.impossible = self.impossible or number is None
                self._add(f"{name} = ?", number)

    def _of_trace(self, look: Look, where: TraceFilter) -> None:
        for name, (column, found) in _OF_TRACE.items():
            value = getattr(where, name)
            if value is None:
                continue
            number = keys.number_of(look, value)
            numbers = found(look, [number]) if number is not None else []
            self.impossible = self.impossible or not numbers
            self.trace_parts.append(f"{column} = ?")
            self.trace_values.append(number)
            if 0 < len(numbers) <= keys.MOST:
                self.trace_parts.append(f"id IN ({keys.literal(numbers)})")

    def _add(self, part: str, value: Any) -> None:
        self.parts.append(part)
        self.values.append(value)

    def begin(self, since: int | None, until: int | None) -> None:
        """Only spans that began in [since, until), in microseconds."""
        if since is not None:
            self._add("start_us >= ?", since)
        if until is not None:
            self._add("start_us < ?", until)

    def spans(self) -> tuple[str, list[Any]]:
        """The condition on `spans`, for WHERE."""
        parts, values = list(self.parts), list(self.values)
        if self.trace_parts:
            parts.append(f"trace IN (SELECT id FROM traces WHERE {' AND '.join(self.trace_parts)})")
            values += self.trace_values
        return " AND ".join(parts) or "1 = 1", values


def asks_of_spans(where: TraceFilter) -> bool:
    """Whether a filter asks for more than what a trace itself has."""
    of_trace: Iterable[str] = ("since", "until", *_OF_TRACE)
    return any(value not in (None, False) for name, value in where if name not in of_trace)
