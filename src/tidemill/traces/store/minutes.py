"""Exact counts by minute, for objectives whose thresholds no roll-up has."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from tidemill.traces.store.batch import ERROR
from tidemill.traces.store.filters import condition_within
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.trace_list import days_within
from tidemill.traces.types import TraceFilter

MINUTE_US = 60_000_000


@dataclass(frozen=True)
class MinuteCount:
    """The spans that began in one minute."""

    minute: int
    """Minutes since 1970."""
    calls: int
    errors: int
    slow: int
    """Calls without error that took longer than `slow_us`."""


def count_by_minute(days: StoredDays, where: TraceFilter, *, slow_us: int | None) -> list[MinuteCount]:
    """Return counts of the spans that fit by the minute they began in, oldest first; without empty minutes."""
    counts: list[MinuteCount] = []
    for day in days_within(days, where):
        with days.read(day) as reader:
            if reader is None:
                continue
            condition = condition_within(reader, where)
            if condition.impossible:
                continue
            fits, values = condition.spans()
            sql = f"""SELECT start_us / {MINUTE_US} AS minute, count(*),
                sum(CASE WHEN status = {ERROR} THEN 1 ELSE 0 END),
                sum(CASE WHEN status <> {ERROR} AND duration_us > ? THEN 1 ELSE 0 END)
                FROM spans WHERE {fits} GROUP BY 1"""
            rows = reader.rows(sql, (slow_us if slow_us is not None else 1 << 62, *values))
            counts += [MinuteCount(*(int(figure) for figure in row)) for row in rows]
    return sorted(counts, key=lambda count: count.minute)


def touched_minutes(days: StoredDays, position: Mapping[date, int], where: TraceFilter) -> list[int]:
    """Return the minutes in which spans began that fit and were stored after a position, oldest first."""
    minutes: set[int] = set()
    for day in days_within(days, where):
        with days.read(day) as reader:
            if reader is None:
                continue
            condition = condition_within(reader, where)
            if condition.impossible:
                continue
            fits, values = condition.spans()
            sql = f"SELECT DISTINCT start_us / {MINUTE_US} FROM spans WHERE id > ? AND {fits}"
            minutes |= {int(row[0]) for row in reader.rows(sql, (position.get(day, 0), *values))}
    return sorted(minutes)
