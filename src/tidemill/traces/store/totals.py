"""Sums of the roll-ups over a whole time: users, and what releases, deployments and prompts answered."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import add
from typing import Any, Literal

from tidemill.traces.sketch import Sketch
from tidemill.traces.store.rollups import HOUR, LEVEL, Sums
from tidemill.traces.store.schema import SUMS
from tidemill.traces.store.span_rows import moment
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.strings import chunks, number_of, numbers_of, texts_of
from tidemill.traces.store.trace_list import days_within
from tidemill.traces.types import AnsweredCalls, GroupBy, TraceFilter, UserSummary

_CALLS, _TRACES = SUMS.index("calls"), SUMS.index("traces")


def list_users(days: StoredDays, since: datetime, until: datetime | None, limit: int) -> list[UserSummary]:
    """Return the users with the most calls, to the hour, the busiest first."""
    busiest = _most_calls(days, "user", since, until, limit)
    traces = count_traces(days, "user_id", [user for user, _ in busiest], TraceFilter(since=since, until=until))
    return [
        UserSummary(
            user=user,
            first=moment(sums.first_us),
            last=moment(sums.last_us),
            traces=max(traces[user], sums.traces, 1),
            calls=sums.calls,
            errors=sums.errors,
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
            cost_usd=round(sums.cost, 9),
        )
        for user, sums in busiest
    ]


def _most_calls(
    days: StoredDays, level: str, since: datetime, until: datetime | None, limit: int
) -> list[tuple[str, Sums]]:
    by_key: dict[str, tuple[Any, ...]] = {}
    columns = ", ".join(f"sum({name})" for name in SUMS)
    for day in days_within(days, TraceFilter(since=since, until=until)):
        with days.read(day) as reader:
            if reader is None:
                continue
            parts, values = hours_within(since, until)
            sql = (
                f"SELECT key, {columns}, min(first_us), max(last_us) FROM rollups "
                f"WHERE grain = {HOUR} AND level = ?{parts} GROUP BY key"
            )
            rows = reader.rows(sql, (LEVEL[level], *values))
            names = texts_of(reader, [row[0] for row in rows], days.texts(reader))
            for row in rows:
                name, sums = names[row[0]], row[1:]
                before = by_key.get(name)
                if before is not None:
                    first, last = min(before[-2], sums[-2]), max(before[-1], sums[-1])
                    sums = (*map(add, before[:-2], sums), first, last)
                by_key[name] = sums
    busiest = heapq.nsmallest(limit, by_key.items(), key=lambda item: (-item[1][_CALLS], -item[1][_TRACES], item[0]))
    return [(name, sums_of(sums)) for name, sums in busiest]


def count_answered(
    days: StoredDays, by: GroupBy, keys: Sequence[str], since: datetime | None
) -> dict[str, AnsweredCalls]:
    """Return key -> its model calls over all days from a time on; keys without any are left out."""
    return {
        key: AnsweredCalls(
            calls=sums.calls, errors=sums.errors, first=moment(sums.first_us), newest=moment(sums.last_us)
        )
        for key, sums in _sums_by_key(days, by, keys, since).items()
        if sums.calls
    }


def _sums_by_key(days: StoredDays, level: str, keys: Sequence[str], since: datetime | None) -> dict[str, Sums]:
    by_key: dict[str, Sums] = {}
    columns = ", ".join(f"sum({name})" for name in SUMS)
    for day in days_within(days, TraceFilter(since=since)):
        with days.read(day) as reader:
            if reader is None:
                continue
            numbers = {number_of(reader, key): key for key in keys}
            numbers.pop(None, None)
            parts, values = hours_within(since, None)
            sql = (
                f"SELECT key, {columns}, min(first_us), max(last_us) FROM rollups WHERE grain = {HOUR} AND level = ? "
                f"AND key IN ({','.join('?' * len(numbers))}){parts} GROUP BY key"
            )
            for key, *sums in reader.rows(sql, (LEVEL[level], *numbers, *values)) if numbers else ():
                by_key.setdefault(numbers[key], Sums()).add(sums_of(sums))
    return by_key


def count_traces(
    days: StoredDays, column: Literal["session_id", "user_id"], names: Sequence[str], where: TraceFilter
) -> dict[str, int]:
    """Return name of a session or user -> its traces that began within the filter's time, to the hour.

    The roll-ups count roots. A trace whose root never came is one too: of a caller who sends the gateway a
    `traceparent` and no spans. What comes without a root in the first hour of a day may be the rest of a trace of the
    day before, and is not counted.
    """
    counts: dict[str, int] = defaultdict(int)
    parts, values = hours_within(where.since, where.until)
    times = parts.replace(" t ", " start_us / 1000000 ")
    for day in days_within(days, where):
        midnight_us = int(datetime.combine(day, datetime.min.time(), UTC).timestamp()) * 1_000_000
        with days.read(day) as reader:
            if reader is None:
                continue
            numbers = {number: name for name, number in numbers_of(reader, names).items()}
            for chunk in chunks(list(numbers)):
                sql = f"""SELECT {column}, count(*) FROM traces WHERE {column} IN ({",".join("?" * len(chunk))})
                    AND (root IS NOT NULL OR start_us >= ?){times} GROUP BY {column}"""
                rows = reader.rows(sql, (*chunk, midnight_us + HOUR * 1_000_000, *values))
                for number, count in rows:
                    counts[numbers[number]] += int(count)
    return counts


def sums_of(values: Sequence[Any], sketch: Sketch | None = None, trace_sketch: Sketch | None = None) -> Sums:
    """Return the columns SUMS, first_us and last_us of a row, with sketches of its latencies."""
    *counts, cost, first, last = values
    spans, traces, trace_errors, calls, errors, input_tokens, output_tokens = (int(count) for count in counts)
    return Sums(
        spans=spans,
        traces=traces,
        trace_errors=trace_errors,
        calls=calls,
        errors=errors,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost=float(cost),
        first_us=int(first),
        last_us=int(last),
        sketch=sketch or {},
        trace_sketch=trace_sketch or {},
    )


def hours_within(since: datetime | None, until: datetime | None) -> tuple[str, list[int]]:
    """Return what selects the roll-ups by hour of a time, to follow other conditions, and its values."""
    parts, values = "", []
    if since is not None:
        parts += " AND t >= ?"
        values.append(int(since.timestamp()) // HOUR * HOUR)
    if until is not None:
        parts += " AND t < ?"
        values.append(-int(-until.timestamp() // 1))
    return parts, values
