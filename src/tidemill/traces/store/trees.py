"""Whole traces, single spans, and spans in the order of time or of their commits."""

import heapq
from collections.abc import Iterator, Sequence
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING, Any

from tidemill.traces.store import hits, keys
from tidemill.traces.store.batch import signed
from tidemill.traces.store.filters import Condition, microseconds
from tidemill.traces.store.listing import days_within, merged, of_day
from tidemill.traces.store.spans import SELECT, Reader, moment
from tidemill.traces.store.strings import chunks
from tidemill.traces.types import SpanDetail, TraceFilter, TraceSummary, TraceTree, TreeNode

if TYPE_CHECKING:
    from tidemill.traces.store import TraceStore

Position = dict[date, int]
"""The last span that was read of each day."""

HASH, LOW, WHOLE = 2_654_435_761, 0x7FFFFFFF, 0xFFFFFFFF
"""Knuth's multiplier: spreads span ids evenly, so that a sample by it is even and stable."""


def tree(store: "TraceStore", trace_id: bytes, *, payload: bool, limit: int) -> TraceTree | None:
    """A whole trace; None when no day has it."""
    found: list[SpanDetail] = []
    parts: list[TraceSummary] = []
    for day in store.days.listing():
        with store.days.look(day) as look:
            number = keys.traces(look, [trace_id]).get(trace_id) if look is not None else None
            if look is None or number is None:
                continue
            reader = Reader(look, store.texts(day))
            condition = "WHERE s.trace = ? ORDER BY s.start_us, s.id LIMIT ?"
            found += reader.query(condition, (number, limit - len(found)), payload=payload)
        part = of_day(store, trace_id.hex(), day)
        if part is not None:
            parts.append(part)
    if not parts:
        return None
    whole = reduce(merged, parts)
    return TraceTree(summary=whole, payload=payload, nodes=walk(found), left_out=max(whole.spans - len(found), 0))


def beginning(store: "TraceStore", digits: str) -> list[bytes]:
    """At most two traces whose ids begin so."""
    first, last = bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))
    found: set[bytes] = set()
    for day in store.days.listing():
        with store.days.look(day) as look:
            if look is None:
                continue
            for numbers in keys.beginning(look, digits):
                for chunk in chunks(numbers):
                    sql = f"SELECT trace FROM traces WHERE id IN ({keys.literal(chunk)}) AND trace BETWEEN ? AND ?"
                    found.update(bytes(row[0]) for row in look.rows(f"{sql} LIMIT 2", (first, last)))
                if len(found) > 1:
                    return sorted(found)[:2]
    return sorted(found)


def walk(spans: Sequence[SpanDetail]) -> list[TreeNode]:
    """Spans in the order of a walk through the tree. One whose parent is not there, or part of a ring, is a root."""
    here = {span.span_id for span in spans}
    children: dict[str | None, list[SpanDetail]] = {}
    for span in spans:
        parent = span.parent_id if span.parent_id in here and span.parent_id != span.span_id else None
        children.setdefault(parent, []).append(span)
    nodes: list[TreeNode] = []
    seen: set[str] = set()
    for start in (children.get(None, []), spans):
        stack = [(0, span) for span in reversed(start) if span.span_id not in seen]
        while stack:
            depth, span = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            nodes.append(TreeNode.model_construct(depth=depth, span=span))
            stack += [(depth + 1, child) for child in reversed(children.get(span.span_id, []))]
    return nodes


def span(store: "TraceStore", trace_id: bytes, span_id: bytes) -> SpanDetail | None:
    """One span with its payload."""
    for day in reversed(store.days.listing()):
        with store.days.look(day) as look:
            if look is None:
                continue
            number = keys.traces(look, [trace_id]).get(trace_id)
            if number is None:
                continue
            condition = "WHERE s.trace = ? AND s.span = ?"
            found = Reader(look, store.texts(day)).query(condition, (number, signed(span_id)), payload=True)
        if found:
            return found[0]
    return None


def response(store: "TraceStore", response_id: str, likely: date | None) -> SpanDetail | None:
    """The span of a reply: the one that was counted, else any other. `likely` is looked through first."""
    days = list(reversed(store.days.listing()))
    if likely in days:
        days.remove(likely)
        days.insert(0, likely)
    for day in days:
        with store.days.look(day) as look:
            if look is None:
                continue
            numbers = keys.replies(look, [response_id])
            if not numbers:
                continue
            condition = f"""WHERE s.id IN ({keys.literal(numbers)}) AND s.response_id = ?
                ORDER BY s.counted DESC, s.id LIMIT 1"""
            found = Reader(look, store.texts(day)).query(condition, (response_id,), payload=True)
        if found:
            return found[0]
    return None


def between(
    store: "TraceStore", where: TraceFilter, *, limit: int, payload: bool, spread: bool, newest: bool = False
) -> list[SpanDetail]:
    """Spans that began within the filter's time, oldest first.

    When there are more than `limit`: the oldest; with `spread` an even sample; with `newest` the newest.
    """
    found: list[SpanDetail] = []
    days = sorted(days_within(store, where), reverse=newest)
    kept = _lowest(store, days, where, limit) if spread else None
    for day in days:
        with store.days.look(day) as look:
            if look is None:
                continue
            condition = _within(look, where)
            if condition.impossible:
                continue
            asked, values = condition.spans()
            if kept is not None:
                asked, values = asked + f" AND ((span & {LOW}) * {HASH}) & {WHOLE} <= ?", [*values, kept]
            order = "s.start_us DESC, s.id DESC" if newest else "s.start_us, s.id"
            rule = f"WHERE s.id IN (SELECT id FROM spans WHERE {asked}) ORDER BY {order} LIMIT ?"
            found += Reader(look, store.texts(day)).query(rule, (*values, limit - len(found)), payload=payload)
        if len(found) >= limit:
            break
    return found[::-1] if newest else found


def _within(look: Any, where: TraceFilter) -> Condition:
    condition = Condition(look, where)
    condition.begin(
        microseconds(where.since) if where.since is not None else None,
        microseconds(where.until) if where.until is not None else None,
    )
    return condition


def _lowest(store: "TraceStore", days: Sequence[date], where: TraceFilter, limit: int) -> int:
    """The hash below which `limit` of the spans lie."""

    def hashes() -> Iterator[int]:
        for day in days:
            with store.days.look(day) as look:
                if look is None:
                    continue
                condition = _within(look, where)
                if not condition.impossible:
                    asked, values = condition.spans()
                    yield from (hashed(row[0]) for row in look.rows(f"SELECT span FROM spans WHERE {asked}", values))

    return max(heapq.nsmallest(limit, hashes()), default=0)


def hashed(number: int) -> int:
    """An even and stable 32-bit number of a span id."""
    return ((number & LOW) * HASH) & WHOLE


def tail(
    store: "TraceStore", position: Position, where: TraceFilter, limit: int
) -> tuple[list[SpanDetail], Position, bool]:
    """Spans after a position in the order of their commits, the position behind them, and whether there are more."""
    found: list[SpanDetail] = []
    moved = dict(position)
    days = store.days.listing()
    for day in days:
        with store.days.look(day) as look:
            if look is None:
                continue
            last = look.rows("SELECT coalesce(max(id), 0) FROM spans")[0][0]
            after = moved.get(day, 0)
            if last <= after:
                continue
            condition = _within(look, where)
            fresh: list[SpanDetail] = []
            if not condition.impossible:
                fresh, reached = _after(Reader(look, store.texts(day)), condition, after, limit - len(found))
                last = reached or last
            found += fresh
            moved[day] = last
        if len(found) >= limit:
            return found, moved, True
    return found, {day: at for day, at in moved.items() if day in days}, False


def _after(reader: Reader, condition: Condition, after: int, room: int) -> tuple[list[SpanDetail], int | None]:
    """At most `room` spans after an id, and the id of the last when there may be more."""
    asked, values = condition.spans()
    rule = f"SELECT id FROM spans WHERE id > ? AND {asked} ORDER BY id LIMIT ?"
    ids = [row[0] for row in reader.look.rows(rule, (after, *values, room))]
    if not ids:
        return [], None
    wanted = set(ids)
    rows = reader.look.rows(f"{SELECT} WHERE s.id BETWEEN ? AND ? ORDER BY s.id", (ids[0], ids[-1]))
    values_ = reader.values([row for row in rows if row[0] in wanted], payload=True)
    return values_, ids[-1] if len(ids) >= room else None


def ends(store: "TraceStore") -> Position:
    """The position behind everything."""
    found: Position = {}
    for day in store.days.listing():
        with store.days.look(day) as look:
            if look is not None:
                found[day] = look.rows("SELECT coalesce(max(id), 0) FROM spans")[0][0]
    return found


def search(
    store: "TraceStore", text: str, where: TraceFilter, *, before: tuple[date, int] | None, limit: int
) -> list[tuple[tuple[date, int], SpanDetail]]:
    """Spans with all words of a text, the latest stored first, each with its place."""
    found: list[tuple[tuple[date, int], SpanDetail]] = []
    for day in days_within(store, where):
        if before is not None and day > before[0]:
            continue
        below = before[1] if before is not None and day == before[0] else 1 << 62
        with store.days.look(day) as look:
            if look is None:
                continue
            condition = _within(look, where)
            if condition.impossible:
                continue
            ids = hits.spans(look, condition, text, below, limit - len(found))
            if ids:
                rule = f"WHERE s.id IN ({','.join('?' * len(ids))}) ORDER BY s.id DESC"
                values = Reader(look, store.texts(day)).query(rule, ids, payload=True)
                found += [((day, number), value) for number, value in zip(ids, values, strict=True)]
        if len(found) >= limit:
            break
    return found


__all__ = ["beginning", "between", "ends", "moment", "response", "search", "span", "tail", "tree"]
