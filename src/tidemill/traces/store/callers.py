"""Who called a release, a model or a deployment."""

import heapq
from collections.abc import Iterator
from typing import Any

from tidemill.traces.store.day_cache import CachedStrings
from tidemill.traces.store.days import DayReader
from tidemill.traces.store.filters import microseconds
from tidemill.traces.store.span_rows import moment
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.strings import number_of, texts_of
from tidemill.traces.store.trace_list import days_within
from tidemill.traces.types import Caller, TraceFilter

Identity = tuple[str | None, ...]
"""Key, user, service and environment of a call."""


def list_callers(days: StoredDays, where: TraceFilter, limit: int) -> list[Caller]:
    """Return who made the calls that fit: the busiest `limit`, the busiest first."""
    counts: dict[Identity, tuple[int, int, int]] = {}
    for day in days_within(days, where):
        with days.read(day) as reader:
            for identity, (calls, first, last) in (
                _callers_of(reader, days.texts(reader), where) if reader is not None else ()
            ):
                before = counts.get(identity)
                if before is not None:
                    calls, first, last = calls + before[0], min(first, before[1]), max(last, before[2])
                counts[identity] = calls, first, last
    busiest = heapq.nlargest(limit, counts.items(), key=lambda item: item[1][0])
    return [
        Caller.model_construct(
            key_id=key_id, user=user, service=service, environment=environment,
            requests=calls, first=moment(first), last=moment(last),
        )
        for (key_id, user, service, environment), (calls, first, last) in busiest
    ]  # fmt: skip


def _callers_of(
    reader: DayReader, texts: CachedStrings[int, str], where: TraceFilter
) -> Iterator[tuple[Identity, tuple[int, int, int]]]:
    condition = _calls(reader, where)
    if condition is None:
        return
    sql_of_calls, values = condition
    sql = f"""SELECT key_id, user_id, service, environment, count(*), min(start_us), max(start_us) FROM spans
        WHERE {sql_of_calls} GROUP BY key_id, user_id, service, environment"""
    rows = reader.rows(sql, values)
    names = texts_of(reader, {number for row in rows for number in row[:4]}, texts)
    for *identity, calls, first, last in rows:
        yield tuple(None if number is None else names[number] for number in identity), (calls, first, last)


def _calls(reader: DayReader, where: TraceFilter) -> tuple[str, list[Any]] | None:
    """Return what selects the calls of a release, a model or a deployment; None when the day has none."""
    parts, values = ["counted = 1"], list[Any]()
    for name in ("release_id", "model", "deployment_id"):
        value = getattr(where, name)
        if value is not None:
            number = number_of(reader, value)
            if number is None:
                return None
            parts.append(f"{name} = ?")
            values.append(number)
    if where.since is not None:
        parts.append("start_us >= ?")
        values.append(microseconds(where.since))
    return " AND ".join(parts), values
