"""Calls counted minute by minute, exactly: for objectives, whose thresholds no roll-up knows beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from tidemill.traces.store.batch import ERROR
from tidemill.traces.store.filters import Condition, microseconds
from tidemill.traces.store.listing import days_within
from tidemill.traces.types import TraceFilter

if TYPE_CHECKING:
    from tidemill.traces.store import TraceStore

MINUTE_US = 60_000_000


@dataclass(frozen=True)
class MinuteCount:
    """What began in one minute."""

    minute: int
    """Minutes since 1970."""
    calls: int
    errors: int
    slow: int
    """Calls without error that took longer than asked for."""


def by_minute(store: "TraceStore", where: TraceFilter, *, slow_us: int | None) -> list[MinuteCount]:
    """Spans that fit, by the minute they began in, oldest first; minutes without any are left out."""
    found: list[MinuteCount] = []
    for day in days_within(store, where):
        with store.days.look(day) as look:
            if look is None:
                continue
            condition = Condition(look, where)
            if condition.impossible:
                continue
            condition.begin(
                microseconds(where.since) if where.since is not None else None,
                microseconds(where.until) if where.until is not None else None,
            )
            asked, values = condition.spans()
            sql = f"""SELECT start_us / {MINUTE_US} AS minute, count(*),
                sum(CASE WHEN status = {ERROR} THEN 1 ELSE 0 END),
                sum(CASE WHEN status <> {ERROR} AND duration_us > ? THEN 1 ELSE 0 END)
                FROM spans WHERE {asked} GROUP BY 1"""
            rows = look.rows(sql, (slow_us if slow_us is not None else 1 << 62, *values))
            found += [MinuteCount(*(int(figure) for figure in row)) for row in rows]
    return sorted(found, key=lambda count: count.minute)


def touched(store: "TraceStore", position: Mapping[date, int], where: TraceFilter) -> list[int]:
    """Minutes in which spans began that fit and were stored after a position, oldest first."""
    found: set[int] = set()
    for day in days_within(store, where):
        with store.days.look(day) as look:
            if look is None:
                continue
            condition = Condition(look, where)
            if condition.impossible:
                continue
            condition.begin(
                microseconds(where.since) if where.since is not None else None,
                microseconds(where.until) if where.until is not None else None,
            )
            asked, values = condition.spans()
            sql = f"SELECT DISTINCT start_us / {MINUTE_US} FROM spans WHERE id > ? AND {asked}"
            found |= {int(row[0]) for row in look.rows(sql, (position.get(day, 0), *values))}
    return sorted(found)
