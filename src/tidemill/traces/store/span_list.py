"""Spans in the order of time, of their commits, or of a search."""

import heapq
from collections.abc import Iterator, Sequence
from datetime import date

from tidemill.traces.store import search
from tidemill.traces.store.filters import SpanCondition, condition_within
from tidemill.traces.store.span_rows import SELECT, SpanReader
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.trace_list import days_within
from tidemill.traces.types import SpanDetail, TraceFilter

Position = dict[date, int]
"""The id of the last span that was read of each day."""
SpanPlace = tuple[date, int]
"""The day and the id of a span: where a page of a search ends."""

HASH, LOW, WHOLE = 2_654_435_761, 0x7FFFFFFF, 0xFFFFFFFF
"""Knuth's multiplier: spreads span ids evenly, so that a sample by it is even and stable."""


def list_spans(
    days: StoredDays, where: TraceFilter, *, limit: int, payload: bool, spread: bool, newest: bool = False
) -> list[SpanDetail]:
    """Return spans that began within the filter's time, oldest first.

    When there are more than `limit`: the oldest; with `spread` an even sample; with `newest` the newest.
    """
    spans: list[SpanDetail] = []
    within = sorted(days_within(days, where), reverse=newest)
    highest = _highest_hash(days, within, where, limit) if spread else None
    for day in within:
        with days.read(day) as reader:
            if reader is None:
                continue
            condition = condition_within(reader, where)
            if condition.impossible:
                continue
            sql, values = condition.spans()
            if highest is not None:
                sql, values = sql + f" AND ((span & {LOW}) * {HASH}) & {WHOLE} <= ?", [*values, highest]
            order = "s.start_us DESC, s.id DESC" if newest else "s.start_us, s.id"
            rule = f"WHERE s.id IN (SELECT id FROM spans WHERE {sql}) ORDER BY {order} LIMIT ?"
            span_reader = SpanReader(reader, days.texts(reader))
            spans += span_reader.query(rule, (*values, limit - len(spans)), payload=payload)
        if len(spans) >= limit:
            break
    return spans[::-1] if newest else spans


def _highest_hash(days: StoredDays, within: Sequence[date], where: TraceFilter, limit: int) -> int:
    """Return the hash at or below which `limit` of the spans are."""

    def hashes() -> Iterator[int]:
        for day in within:
            with days.read(day) as reader:
                if reader is None:
                    continue
                condition = condition_within(reader, where)
                if not condition.impossible:
                    sql, values = condition.spans()
                    yield from (hash_span(row[0]) for row in reader.rows(f"SELECT span FROM spans WHERE {sql}", values))

    return max(heapq.nsmallest(limit, hashes()), default=0)


def hash_span(number: int) -> int:
    """Return an evenly spread and stable 32-bit number of a span id."""
    return ((number & LOW) * HASH) & WHOLE


def read_tail(
    days: StoredDays, position: Position, where: TraceFilter, limit: int
) -> tuple[list[SpanDetail], Position, bool]:
    """Return spans after a position in commit order, the position behind them, and whether there are more."""
    spans: list[SpanDetail] = []
    reached = dict(position)
    stored_days = days.list_days()
    for day in stored_days:
        with days.read(day) as reader:
            if reader is None:
                continue
            last = reader.rows("SELECT coalesce(max(id), 0) FROM spans")[0][0]
            after = reached.get(day, 0)
            if last <= after:
                continue
            condition = condition_within(reader, where)
            if not condition.impossible:
                room = limit - len(spans)
                page, stopped_at = _spans_after(SpanReader(reader, days.texts(reader)), condition, after, room)
                spans += page
                last = stopped_at or last
            reached[day] = last
        if len(spans) >= limit:
            return spans, reached, True
    return spans, {day: last for day, last in reached.items() if day in stored_days}, False


def _spans_after(
    span_reader: SpanReader, condition: SpanCondition, after: int, room: int
) -> tuple[list[SpanDetail], int | None]:
    """Return at most `room` spans after an id, and the id of the last when there may be more."""
    sql, values = condition.spans()
    rule = f"SELECT id FROM spans WHERE id > ? AND {sql} ORDER BY id LIMIT ?"
    ids = [row[0] for row in span_reader.reader.rows(rule, (after, *values, room))]
    if not ids:
        return [], None
    fitting = set(ids)
    rows = span_reader.reader.rows(f"{SELECT} WHERE s.id BETWEEN ? AND ? ORDER BY s.id", (ids[0], ids[-1]))
    spans = span_reader.values([row for row in rows if row[0] in fitting], payload=True)
    return spans, ids[-1] if len(ids) >= room else None


def tail_end(days: StoredDays) -> Position:
    """Return the position behind everything that is stored."""
    position: Position = {}
    for day in days.list_days():
        with days.read(day) as reader:
            if reader is not None:
                position[day] = reader.rows("SELECT coalesce(max(id), 0) FROM spans")[0][0]
    return position


def search_spans(
    days: StoredDays, text: str, where: TraceFilter, *, before: SpanPlace | None, limit: int
) -> list[tuple[SpanPlace, SpanDetail]]:
    """Return spans with all words of a text, the latest stored first, each with its place."""
    spans: list[tuple[SpanPlace, SpanDetail]] = []
    for day in days_within(days, where):
        if before is not None and day > before[0]:
            continue
        below = before[1] if before is not None and day == before[0] else 1 << 62
        with days.read(day) as reader:
            if reader is None:
                continue
            condition = condition_within(reader, where)
            if condition.impossible:
                continue
            ids = search.find_spans(reader, condition, text, below, limit - len(spans))
            if ids:
                rule = f"WHERE s.id IN ({','.join('?' * len(ids))}) ORDER BY s.id DESC"
                values = SpanReader(reader, days.texts(reader)).query(rule, ids, payload=True)
                spans += [((day, number), value) for number, value in zip(ids, values, strict=True)]
        if len(spans) >= limit:
            break
    return spans
