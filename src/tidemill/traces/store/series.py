"""Reading the sums: time series, sessions, users and callers."""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import add
from typing import TYPE_CHECKING, Any

from tidemill.traces.sketch import Sketch, decode, percentiles
from tidemill.traces.store.days import Look
from tidemill.traces.store.filters import microseconds
from tidemill.traces.store.keys import MOST, literal, number_of, of_sessions, of_users, strings
from tidemill.traces.store.listing import days_within
from tidemill.traces.store.rollups import HOUR, LEVELS, MINUTE, Sums
from tidemill.traces.store.schema import SUMS
from tidemill.traces.store.spans import moment
from tidemill.traces.store.strings import chunks, texts_of
from tidemill.traces.types import Caller, Grain, Measure, SeriesPoint, TraceFilter

if TYPE_CHECKING:
    from tidemill.traces.store import TraceStore

LEVEL = {name: number for number, name in enumerate(LEVELS)}
STEP = {"minute": MINUTE, "hour": HOUR, "day": 86_400}
_SUMS = ", ".join(SUMS)
_CALLS, _TRACES = SUMS.index("calls"), SUMS.index("traces")


@dataclass(frozen=True)
class Stretch:
    """The time of a series: its steps, and the grain of the sums it is made of."""

    since: datetime
    until: datetime
    grain: Grain

    def condition(self, level: str) -> tuple[str, list[int]]:
        """What selects the sums."""
        kept = MINUTE if self.grain == "minute" else HOUR
        first, last = int(self.since.timestamp()), math.ceil(self.until.timestamp())
        return "grain = ? AND level = ? AND t >= ? AND t < ?", [kept, LEVEL[level], first - first % kept, last]


def series(
    store: "TraceStore", time: Stretch, *, level: str, keys: Sequence[str] | None, measure: Measure
) -> dict[tuple[int, str | None], Sums]:
    """The sums of each step and key, the step told by its begin in seconds; of these keys only, unless None.

    Of the latencies those of `measure` alone are read.
    """
    step = STEP[time.grain]
    found: dict[tuple[int, str | None], Sums] = defaultdict(Sums)
    asked, values = time.condition(level)
    for day in days_within(store, TraceFilter(since=time.since, until=time.until)):
        with store.days.look(day) as look:
            if look is None:
                continue
            numbers = [number_of(look, key) for key in keys] if keys is not None else []
            numbers = [number for number in numbers if number is not None]
            if keys is not None and not numbers:
                continue
            only = f" AND key IN ({','.join('?' * len(numbers))})" if numbers else ""
            columns = f"t, key, {_SUMS}, first_us, last_us, {'sketch' if measure == 'calls' else 'trace_sketch'}"
            rows = look.rows(f"SELECT {columns} FROM rollups WHERE {asked}{only}", [*values, *numbers])
            names = texts_of(look, [row[1] for row in rows if row[1]], store.texts(day))
            for t, numbered, *sums, latencies in rows:
                sketches = (decode(latencies), {}) if measure == "calls" else ({}, decode(latencies))
                found[t - t % step, names[numbered] if numbered else None].add(_plain(sums, *sketches))
    return found


def busiest(store: "TraceStore", time: Stretch, *, level: str, measure: Measure, top: int) -> list[str]:
    """The keys with the most requests, found without reading their latencies."""
    counts: dict[str, int] = defaultdict(int)
    asked, values = time.condition(level)
    for day in days_within(store, TraceFilter(since=time.since, until=time.until)):
        with store.days.look(day) as look:
            if look is None:
                continue
            rows = look.rows(f"SELECT key, sum({measure}) FROM rollups WHERE {asked} GROUP BY key", values)
            names = texts_of(look, [row[0] for row in rows], store.texts(day))
            for number, count in rows:
                counts[names[number]] += int(count)
    return sorted(counts, key=lambda name: (-counts[name], name))[:top]


def point(t: int, key: str | None, sums: Sums, measure: Measure) -> SeriesPoint:
    """The sums of one step as a value."""
    calls = measure == "calls"
    p50, p90, p99 = percentiles(sums.sketch if calls else sums.trace_sketch, (0.5, 0.9, 0.99))
    return SeriesPoint.model_construct(
        t=moment(t * 1_000_000),
        key=key,
        requests=sums.calls if calls else sums.traces,
        errors=sums.errors if calls else sums.trace_errors,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost_usd=round(sums.cost, 9),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
    )


def keyed(
    store: "TraceStore", level: str, since: datetime | None, until: datetime | None, limit: int
) -> list[tuple[str, Sums]]:
    """The keys with the most calls and their sums over the whole time, to the hour."""
    found: dict[str, tuple[Any, ...]] = {}
    columns = ", ".join(f"sum({name})" for name in SUMS)
    for day in days_within(store, TraceFilter(since=since, until=until)):
        with store.days.look(day) as look:
            if look is None:
                continue
            parts, values = _hours(since, until)
            sql = (
                f"SELECT key, {columns}, min(first_us), max(last_us) FROM rollups "
                f"WHERE grain = {HOUR} AND level = ?{parts} GROUP BY key"
            )
            rows = look.rows(sql, (LEVEL[level], *values))
            names = texts_of(look, [row[0] for row in rows], store.texts(day))
            for row in rows:
                name, sums = names[row[0]], row[1:]
                held = found.get(name)
                if held is not None:
                    first, last = min(held[-2], sums[-2]), max(held[-1], sums[-1])
                    sums = (*map(add, held[:-2], sums), first, last)
                found[name] = sums
    most = heapq.nsmallest(limit, found.items(), key=lambda item: (-item[1][_CALLS], -item[1][_TRACES], item[0]))
    return [(name, _plain(sums)) for name, sums in most]


def _plain(values: Sequence[Any], sketch: Sketch | None = None, trace_sketch: Sketch | None = None) -> Sums:
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


def _hours(since: datetime | None, until: datetime | None) -> tuple[str, list[int]]:
    parts, values = "", []
    if since is not None:
        parts += " AND t >= ?"
        values.append(int(since.timestamp()) // HOUR * HOUR)
    if until is not None:
        parts += " AND t < ?"
        values.append(-int(-until.timestamp() // 1))
    return parts, values


def latest_sessions(
    store: "TraceStore", where: TraceFilter, *, before: tuple[int, str] | None, limit: int
) -> list[tuple[str, str | None, Sums]]:
    """Sessions, the latest active first, each with its user: read from the newest hour back until a page is full."""
    found: dict[str, Sums] = {}
    seen: set[str] = set()
    full = False
    for day in days_within(store, where):
        for t in _hours_of(day, where, before):
            for names in _active(store, day, t, where, before, limit):
                fresh = names - seen
                seen |= fresh
                sums = _whole(store, fresh, where, day)
                found |= {n: s for n, s in sums.items() if before is None or (s.last_us, n) < before}
                if len(found) >= limit:
                    break
            if full:  # what began an hour earlier may have ended later
                break
            full = len(found) >= limit
        if full:
            break
    page = sorted(found.items(), key=lambda item: (item[1].last_us, item[0]), reverse=True)[:limit]
    owners = _owners(store, page)
    return [(name, owners.get(name), sums) for name, sums in page]


def _hours_of(day: date, where: TraceFilter, before: tuple[int, str] | None) -> Iterator[int]:
    """The hours of a day in seconds, the last first, as far as they can matter."""
    first = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    for t in range(first + 23 * HOUR, first - 1, -HOUR):
        too_late = (before is not None and t * 1_000_000 > before[0]) or (
            where.until is not None and t >= where.until.timestamp()
        )
        if not too_late and (where.since is None or t + HOUR > where.since.timestamp()):
            yield t


def _active(
    store: "TraceStore", day: date, t: int, where: TraceFilter, before: tuple[int, str] | None, limit: int
) -> Iterator[set[str]]:
    """Names of the sessions of an hour, the latest active first, in portions."""
    edge, portion = before[0] if before is not None else 1 << 62, max(2 * limit, 50)
    while True:
        with store.days.look(day) as look:
            if look is None:
                return
            asked, values = _of_user(look, where.user)
            sql = (
                f"SELECT key, last_us FROM rollups WHERE grain = {HOUR} AND level = {LEVEL['session']} AND t = ? "
                f"AND last_us <= ?{asked} ORDER BY last_us DESC LIMIT ?"
            )
            rows = look.rows(sql, (t, edge, *values, portion))
            names = texts_of(look, [row[0] for row in rows], store.texts(day))
        yield {names[key] for key, _ in rows}
        if len(rows) < portion:
            return
        edge = rows[-1][1] - (rows[-1][1] == edge)


def _of_user(look: Look, user: str | None) -> tuple[str, list[int]]:
    if user is None:
        return "", []
    number = number_of(look, user)
    numbers = of_users(look, [number]) if number is not None else []
    if number is None or not numbers:
        return " AND 1 = 0", []
    few = f" AND id IN ({literal(numbers)})" if len(numbers) <= MOST else ""
    return f" AND key IN (SELECT session_id FROM traces WHERE user_id = ?{few})", [number]


def _whole(store: "TraceStore", names: set[str], where: TraceFilter, day: date) -> dict[str, Sums]:
    """The sums of sessions that were active on a day, over two days before it and all days after."""
    found: dict[str, Sums] = {}
    for other in days_within(store, where):
        if not names or other < day - timedelta(days=2):
            break
        with store.days.look(other) as look:
            if look is None:
                continue
            numbers = {number: name for name, number in strings(look, names).items()}
            hours = list(_hours_of(other, where, None))
            for part in chunks(list(numbers)) if hours else ():
                for key, *sums in look.rows(*_session_sums(part, hours)):
                    found.setdefault(numbers[key], Sums()).add(_plain(sums))
    return found


def _session_sums(keys: Sequence[int], hours: Sequence[int]) -> tuple[str, list[int]]:
    # Hours by name and not as a range: each key is then looked up, and not all the others of the hour read.
    sql = (
        f"SELECT key, {_SUMS}, first_us, last_us FROM rollups WHERE grain = {HOUR} AND level = {LEVEL['session']} "
        f"AND t IN ({','.join('?' * len(hours))}) AND key IN ({','.join('?' * len(keys))})"
    )
    return sql, [*hours, *keys]


def _owners(store: "TraceStore", page: Sequence[tuple[str, Sums]]) -> dict[str, str]:
    """The users of these sessions, from the day each was last active."""
    by_day: dict[date, list[str]] = defaultdict(list)
    for name, sums in page:
        by_day[moment(sums.first_us).date()].append(name)
    owners: dict[str, str] = {}
    for day, sessions in by_day.items():
        with store.days.look(day) as look:
            if look is None:
                continue
            names = {number: name for name, number in strings(look, sessions).items()}
            for chunk in chunks(of_sessions(look, names)):
                sql = f"""SELECT DISTINCT t.session_id, u.text FROM traces t JOIN strings u ON u.id = t.user_id
                    WHERE t.id IN ({literal(chunk)}) AND t.session_id IN ({literal(names)})"""
                owners.update((names[session], user) for session, user in look.rows(sql))
    return owners


def answered(store: "TraceStore", level: str, keys: Sequence[str], since: datetime | None) -> dict[str, Sums]:
    """The sums of these keys over all days from a time on; keys without any are left out."""
    found: dict[str, Sums] = {}
    columns = ", ".join(f"sum({name})" for name in SUMS)
    for day in days_within(store, TraceFilter(since=since)):
        with store.days.look(day) as look:
            if look is None:
                continue
            numbers = {number_of(look, key): key for key in keys}
            numbers.pop(None, None)
            parts, values = _hours(since, None)
            sql = (
                f"SELECT key, {columns}, min(first_us), max(last_us) FROM rollups WHERE grain = {HOUR} AND level = ? "
                f"AND key IN ({','.join('?' * len(numbers))}){parts} GROUP BY key"
            )
            for key, *sums in look.rows(sql, (LEVEL[level], *numbers, *values)) if numbers else ():
                found.setdefault(numbers[key], Sums()).add(_plain(sums))
    return found


Who = tuple[str | None, ...]
"""Key, user, service and environment of a call."""


def callers(store: "TraceStore", where: TraceFilter, limit: int) -> list[Caller]:
    """Who made the calls that fit, the busiest `limit`, the busiest first."""
    found: dict[Who, tuple[int, int, int]] = {}
    for day in days_within(store, where):
        with store.days.look(day) as look:
            for who, (calls, first, last) in _callers_of(look, store.texts(day), where) if look is not None else ():
                before = found.get(who)
                if before is not None:
                    calls, first, last = calls + before[0], min(first, before[1]), max(last, before[2])
                found[who] = calls, first, last
    busiest = heapq.nlargest(limit, found.items(), key=lambda item: item[1][0])
    return [
        Caller.model_construct(
            key_id=key_id, user=user, service=service, environment=environment,
            requests=calls, first=moment(first), last=moment(last),
        )
        for (key_id, user, service, environment), (calls, first, last) in busiest
    ]  # fmt: skip


def _callers_of(look: Look, texts: dict[int, str], where: TraceFilter) -> Iterator[tuple[Who, tuple[int, int, int]]]:
    of_calls = _calls(look, where)
    if of_calls is None:
        return
    asked, values = of_calls
    sql = f"""SELECT key_id, user_id, service, environment, count(*), min(start_us), max(start_us) FROM spans
        WHERE {asked} GROUP BY key_id, user_id, service, environment"""
    rows = look.rows(sql, values)
    names = texts_of(look, {number for row in rows for number in row[:4]}, texts)
    for *who, calls, first, last in rows:
        yield tuple(None if number is None else names[number] for number in who), (calls, first, last)


def _calls(look: Look, where: TraceFilter) -> tuple[str, list[Any]] | None:
    """What selects the calls of a release, a model or a deployment; None when the day has none."""
    parts, values = ["counted = 1"], list[Any]()
    for name in ("release_id", "model", "deployment_id"):
        value = getattr(where, name)
        if value is not None:
            number = number_of(look, value)
            if number is None:
                return None
            parts.append(f"{name} = ?")
            values.append(number)
    if where.since is not None:
        parts.append("start_us >= ?")
        values.append(microseconds(where.since))
    return " AND ".join(parts), values
