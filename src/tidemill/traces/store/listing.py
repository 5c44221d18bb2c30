"""Listing traces: newest first, day by day, with as little read as a page needs."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tidemill.traces.store import hits, keys
from tidemill.traces.store.days import Look, Row
from tidemill.traces.store.filters import Condition, asks_of_spans, microseconds
from tidemill.traces.store.hits import AT, COLUMNS
from tidemill.traces.store.schema import TRACE_COLUMNS
from tidemill.traces.store.spans import STATUSES, Reader, moment
from tidemill.traces.types import TraceFilter, TraceSummary

if TYPE_CHECKING:
    from tidemill.traces.store import TraceStore

PROBED = 2000
"""So many of the newest traces are looked at one by one; only when they do not fill a page is the day scanned."""

Place = tuple[int, str]
"""Start in microseconds and trace id: where a listing stands."""

_NAMES = ("name", "service", "model", "release_id", "environment", "user_id", "session_id")


def traces(
    store: "TraceStore", where: TraceFilter, *, text: str | None, before: Place | None, limit: int
) -> list[tuple[Place, TraceSummary]]:
    """At most `limit` traces that began before a place, newest first."""
    found: list[tuple[Place, TraceSummary]] = []
    seen: set[str] = set()
    for day in days_within(store, where, before):
        with store.days.look(day) as look:
            if look is None:
                continue
            rows = _of_day(look, where, text=text, before=before, limit=limit - len(found) + 1)
            reader = Reader(look, store.texts(day))
            reader.learn([row[AT[name]] for row in rows for name in _NAMES])
            made = [((row[AT["start_us"]], bytes(row[AT["trace"]]).hex()), row) for row in rows]
            summaries = [(place, summary(reader, row)) for place, row in made]
        for place, value in summaries:
            whole = across(store, value, day) if value.trace_id not in seen else None
            if whole is not None:
                seen.add(value.trace_id)
                found.append((place, whole))
        if len(found) >= limit:
            break
    return found[:limit]


def days_within(store: "TraceStore", where: TraceFilter, before: Place | None = None) -> Iterator[date]:
    """The days a filter can reach, newest first."""
    last = moment(before[0]).date() if before is not None else None
    for day in reversed(store.days.listing()):
        if last is not None and day > last:
            continue
        if where.until is not None and day > where.until.date():
            continue
        if where.since is not None and day < where.since.date():
            break
        yield day


def _of_day(look: Look, where: TraceFilter, *, text: str | None, before: Place | None, limit: int) -> list[Row]:
    condition = Condition(look, where)
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
        return hits.traces(look, condition, parts, values, text, limit)
    if not asks_of_spans(where):
        return hits.newest(look, parts, values, limit)
    return _with_spans(look, condition, parts, values, limit)


def _with_spans(look: Look, condition: Condition, parts: list[str], values: list[Any], limit: int) -> list[Row]:
    """Traces with a span that fits: the newest are probed, then the day is scanned."""
    asked = " AND ".join(condition.parts)
    probe = f"""SELECT {COLUMNS} FROM (SELECT * FROM traces t WHERE {" AND ".join(parts) or "1 = 1"}
        ORDER BY t.start_us DESC, t.trace DESC LIMIT {PROBED}) t
        WHERE EXISTS (SELECT 1 FROM spans s WHERE s.trace = t.id AND {asked})
        ORDER BY t.start_us DESC, t.trace DESC LIMIT ?"""
    rows = look.rows(probe, (*values, *condition.values, limit))
    if len(rows) >= limit:
        return rows
    whole = f"t.id IN (SELECT trace FROM spans WHERE {asked})"
    return hits.newest(look, [*parts, whole], (*values, *condition.values), limit)


def summary(reader: Reader, row: Row) -> TraceSummary:
    """A row of `traces` as a value."""
    at = dict(zip(TRACE_COLUMNS, row, strict=True))
    return TraceSummary.model_construct(
        trace_id=bytes(at["trace"]).hex(),
        name=reader.text(at["name"]) or "",
        complete=at["root"] is not None,
        start=moment(at["start_us"]),
        duration_ms=(at["end_us"] - at["start_us"]) / 1000,
        spans=at["spans"],
        errors=at["errors"],
        status=STATUSES[at["status"]],
        input_tokens=at["input_tokens"],
        output_tokens=at["output_tokens"],
        cost_usd=at["cost"],
        service=reader.text(at["service"]),
        model=reader.text(at["model"]),
        release_id=reader.text(at["release_id"]),
        environment=reader.text(at["environment"]),
        user=reader.text(at["user_id"]),
        session=reader.text(at["session_id"]),
        input=at["input"],
        output=at["output"],
    )


def across(store: "TraceStore", value: TraceSummary, day: date) -> TraceSummary | None:
    """The trace with what the day after has of it; None when it is to be listed under the day before."""
    if not value.complete:
        earlier = of_day(store, value.trace_id, day - timedelta(days=1))
        if earlier is not None:
            return None
    later = of_day(store, value.trace_id, day + timedelta(days=1)) if _near_midnight(value) else None
    return merged(value, later) if later is not None else value


def _near_midnight(value: TraceSummary) -> bool:
    end = value.start + timedelta(milliseconds=value.duration_ms)
    return end.date() != value.start.date() or end.hour == 23


def of_day(store: "TraceStore", trace_id: str, day: date) -> TraceSummary | None:
    """What one day has of a trace."""
    with store.days.look(day) as look:
        if look is None:
            return None
        numbers = keys.traces(look, [bytes.fromhex(trace_id)])
        if not numbers:
            return None
        rows = look.rows(f"SELECT {COLUMNS} FROM traces t WHERE t.id = ?", tuple(numbers.values()))
        reader = Reader(look, store.texts(day))
        reader.learn([rows[0][AT[name]] for name in _NAMES])
        return summary(reader, rows[0])


def merged(one: TraceSummary, other: TraceSummary) -> TraceSummary:
    """Two days' parts of one trace as one."""
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
