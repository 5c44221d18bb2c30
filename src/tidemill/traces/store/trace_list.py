"""Pages of traces, newest first, read day by day as far as a page needs."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from tidemill.traces.store import search
from tidemill.traces.store.days import DayReader, Row
from tidemill.traces.store.filters import SpanCondition, microseconds, needs_spans
from tidemill.traces.store.schema import TRACE_COLUMNS
from tidemill.traces.store.search import AT, COLUMNS
from tidemill.traces.store.span_rows import STATUSES, SpanReader, moment
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.types import TraceFilter, TraceSummary

PROBED = 2000
"""So many of the newest traces are tested one by one; only when they do not fill a page is the day scanned."""

TracePlace = tuple[int, str]
"""Start in microseconds and trace id: where a page of traces ends."""

_NAMES = ("name", "service", "model", "release_id", "environment", "user_id", "session_id")


def list_traces(
    days: StoredDays, where: TraceFilter, *, text: str | None, before: TracePlace | None, limit: int
) -> list[tuple[TracePlace, TraceSummary]]:
    """Return at most `limit` traces that began before a place, newest first, each with its place."""
    page: list[tuple[TracePlace, TraceSummary]] = []
    seen_ids: set[str] = set()
    for day in days_within(days, where, before):
        with days.read(day) as reader:
            if reader is None:
                continue
            rows = _of_day(reader, where, text=text, before=before, limit=limit - len(page) + 1)
            span_reader = SpanReader(reader, days.texts(reader))
            span_reader.load_texts([row[AT[name]] for row in rows for name in _NAMES])
            summaries = [
                ((row[AT["start_us"]], bytes(row[AT["trace"]]).hex()), _summary(span_reader, row)) for row in rows
            ]
        for place, value in summaries:
            summary = _with_next_day(days, value, day) if value.trace_id not in seen_ids else None
            if summary is not None:
                seen_ids.add(value.trace_id)
                page.append((place, summary))
        if len(page) >= limit:
            break
    return page[:limit]


def days_within(days: StoredDays, where: TraceFilter, before: TracePlace | None = None) -> Iterator[date]:
    """Yield the days a filter can reach, newest first."""
    last = moment(before[0]).date() if before is not None else None
    for day in reversed(days.list_days()):
        if last is not None and day > last:
            continue
        if where.until is not None and day > where.until.date():
            continue
        if where.since is not None and day < where.since.date():
            break
        yield day


def _of_day(
    reader: DayReader, where: TraceFilter, *, text: str | None, before: TracePlace | None, limit: int
) -> list[Row]:
    condition = SpanCondition(reader, where)
    if condition.impossible:
        return []
    parts, values = list(condition.trace_parts), list(condition.trace_values)
    if where.since is not None:
        parts.append("t.start_us >= ?")
        values.append(microseconds(where.since))
    if where.until is not None:
        parts.append("t.start_us < ?")
        values.append(microseconds(where.until))
    if before is not None:
        parts += ["(t.start_us < ? OR t.trace < ?)", "t.start_us <= ?"]  # an index can begin with the second
        values += [before[0], bytes.fromhex(before[1]), before[0]]
    if text is not None:
        return search.find_traces(reader, condition, parts, values, text, limit)
    if not needs_spans(where):
        return search.list_newest(reader, parts, values, limit)
    return _with_spans(reader, condition, parts, values, limit)


def _with_spans(
    reader: DayReader, condition: SpanCondition, parts: list[str], values: list[Any], limit: int
) -> list[Row]:
    """Return traces with a span that fits: the newest are tested, then the day is scanned."""
    fits = " AND ".join(condition.parts)
    probe = f"""SELECT {COLUMNS} FROM (SELECT * FROM traces t WHERE {" AND ".join(parts) or "1 = 1"}
        ORDER BY t.start_us DESC, t.trace DESC LIMIT {PROBED}) t
        WHERE EXISTS (SELECT 1 FROM spans s WHERE s.trace = t.id AND {fits})
        ORDER BY t.start_us DESC, t.trace DESC LIMIT ?"""
    rows = reader.rows(probe, (*values, *condition.values, limit))
    if len(rows) >= limit:
        return rows
    in_trace = f"t.id IN (SELECT trace FROM spans WHERE {fits})"
    return search.list_newest(reader, [*parts, in_trace], (*values, *condition.values), limit)


def _summary(span_reader: SpanReader, row: Row) -> TraceSummary:
    at = dict(zip(TRACE_COLUMNS, row, strict=True))
    return TraceSummary.model_construct(
        trace_id=bytes(at["trace"]).hex(),
        name=span_reader.text(at["name"]) or "",
        complete=at["root"] is not None,
        start=moment(at["start_us"]),
        duration_ms=(at["end_us"] - at["start_us"]) / 1000,
        spans=at["spans"],
        errors=at["errors"],
        status=STATUSES[at["status"]],
        input_tokens=at["input_tokens"],
        output_tokens=at["output_tokens"],
        cost_usd=at["cost"],
        service=span_reader.text(at["service"]),
        model=span_reader.text(at["model"]),
        release_id=span_reader.text(at["release_id"]),
        environment=span_reader.text(at["environment"]),
        user=span_reader.text(at["user_id"]),
        session=span_reader.text(at["session_id"]),
        input=at["input"],
        output=at["output"],
    )


def _with_next_day(days: StoredDays, value: TraceSummary, day: date) -> TraceSummary | None:
    """Return the trace with what the next day has of it; None when it is listed under the day before."""
    if not value.complete:
        earlier = read_summary(days, value.trace_id, day - timedelta(days=1))
        if earlier is not None:
            return None
    later = read_summary(days, value.trace_id, day + timedelta(days=1)) if _near_midnight(value) else None
    return merge_parts(value, later) if later is not None else value


def _near_midnight(value: TraceSummary) -> bool:
    end = value.start + timedelta(milliseconds=value.duration_ms)
    return end.date() != value.start.date() or end.hour == 23


def read_summary(days: StoredDays, trace_id: str, day: date) -> TraceSummary | None:
    """Return what one day has of a trace; None when it has nothing."""
    with days.read(day) as reader:
        if reader is None:
            return None
        rows = reader.rows(f"SELECT {COLUMNS} FROM traces t WHERE t.trace = ?", (bytes.fromhex(trace_id),))
        if not rows:
            return None
        span_reader = SpanReader(reader, days.texts(reader))
        span_reader.load_texts([rows[0][AT[name]] for name in _NAMES])
        return _summary(span_reader, rows[0])


def merge_parts(one: TraceSummary, other: TraceSummary) -> TraceSummary:
    """Return two days' parts of one trace as one."""
    first = one if one.complete or not other.complete else other
    second = other if first is one else one
    start = min(one.start, other.start)
    end = max(v.start + timedelta(milliseconds=v.duration_ms) for v in (one, other))
    costs = [v.cost_usd for v in (one, other) if v.cost_usd is not None]
    filled = {
        name: getattr(first, name) if getattr(first, name) is not None else getattr(second, name)
        for name in ("service", "model", "release_id", "environment", "user", "session", "input", "output")
    }
    return first.model_copy(
        update={
            "start": start,
            "duration_ms": (end - start) / timedelta(milliseconds=1),
            "spans": one.spans + other.spans,
            "errors": one.errors + other.errors,
            "input_tokens": one.input_tokens + other.input_tokens,
            "output_tokens": one.output_tokens + other.output_tokens,
            "cost_usd": sum(costs) if costs else None,
            **filled,
        }
    )
