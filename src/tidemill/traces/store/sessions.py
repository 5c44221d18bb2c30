"""Sessions, the latest active first, read from the newest hour back until a page is full."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from tidemill.traces.store.days import DayReader
from tidemill.traces.store.rollups import HOUR, LEVEL, Sums
from tidemill.traces.store.schema import SUMS
from tidemill.traces.store.span_rows import moment
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.strings import chunks, number_of, numbers_of, texts_of
from tidemill.traces.store.totals import count_traces, sums_of
from tidemill.traces.store.trace_list import days_within
from tidemill.traces.types import SessionSummary, TraceFilter

SessionPlace = tuple[int, str]
"""The last activity in microseconds and the name of a session: where a page of sessions ends."""
_SUMS = ", ".join(SUMS)


def list_sessions(
    days: StoredDays, where: TraceFilter, *, before: SessionPlace | None, limit: int
) -> list[SessionSummary]:
    """Return sessions that were last active before a place, the latest first, each with its user."""
    page = _latest(days, where, before, limit)
    users = _users(days, page)
    traces = count_traces(days, "session_id", [name for name, _ in page], where)
    return [
        SessionSummary(
            session=name,
            user=users.get(name),
            first=moment(sums.first_us),
            last=moment(sums.last_us),
            traces=max(traces[name], sums.traces, 1),
            calls=sums.calls,
            errors=sums.errors,
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
            cost_usd=round(sums.cost, 9),
        )
        for name, sums in page
    ]


def _latest(days: StoredDays, where: TraceFilter, before: SessionPlace | None, limit: int) -> list[tuple[str, Sums]]:
    by_name: dict[str, Sums] = {}
    seen_names: set[str] = set()
    full = False
    for day in days_within(days, where):
        for t in _hours_of(day, where, before):
            for names in _active(days, day, t, where, before, limit):
                new_names = names - seen_names
                seen_names |= new_names
                sums = _sums_of_sessions(days, new_names, where, day)
                by_name |= {n: s for n, s in sums.items() if before is None or (s.last_us, n) < before}
                if len(by_name) >= limit:
                    break
            if full:  # what began an hour earlier may have ended later
                break
            full = len(by_name) >= limit
        if full:
            break
    return sorted(by_name.items(), key=lambda item: (item[1].last_us, item[0]), reverse=True)[:limit]


def _hours_of(day: date, where: TraceFilter, before: SessionPlace | None) -> Iterator[int]:
    """Yield the hours of a day that can matter, in seconds, the last first."""
    first = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    for t in range(first + 23 * HOUR, first - 1, -HOUR):
        too_late = (before is not None and t * 1_000_000 > before[0]) or (
            where.until is not None and t >= where.until.timestamp()
        )
        if not too_late and (where.since is None or t + HOUR > where.since.timestamp()):
            yield t


def _active(
    days: StoredDays, day: date, t: int, where: TraceFilter, before: SessionPlace | None, limit: int
) -> Iterator[set[str]]:
    """Yield names of the sessions of an hour, the latest active first, in portions."""
    edge, portion = before[0] if before is not None else 1 << 62, max(2 * limit, 50)
    while True:
        with days.read(day) as reader:
            if reader is None:
                return
            condition, values = _of_user(reader, where.user)
            sql = (
                f"SELECT key, last_us FROM rollups WHERE grain = {HOUR} AND level = {LEVEL['session']} AND t = ? "
                f"AND last_us <= ?{condition} ORDER BY last_us DESC LIMIT ?"
            )
            rows = reader.rows(sql, (t, edge, *values, portion))
            names = texts_of(reader, [row[0] for row in rows], days.texts(reader))
        yield {names[key] for key, _ in rows}
        if len(rows) < portion:
            return
        edge = rows[-1][1] - (rows[-1][1] == edge)


def _of_user(reader: DayReader, user: str | None) -> tuple[str, list[int]]:
    if user is None:
        return "", []
    number = number_of(reader, user)
    if number is None:
        return " AND 1 = 0", []
    return " AND key IN (SELECT session_id FROM traces WHERE user_id = ?)", [number]


def _sums_of_sessions(days: StoredDays, names: set[str], where: TraceFilter, day: date) -> dict[str, Sums]:
    """Return the sums of sessions that were active on a day, over two days before it and all days after."""
    by_name: dict[str, Sums] = {}
    for other in days_within(days, where):
        if not names or other < day - timedelta(days=2):
            break
        with days.read(other) as reader:
            if reader is None:
                continue
            numbers = {number: name for name, number in numbers_of(reader, names).items()}
            hours = list(_hours_of(other, where, None))
            for part in chunks(list(numbers)) if hours else ():
                for key, *sums in reader.rows(*_session_sums(part, hours)):
                    by_name.setdefault(numbers[key], Sums()).add(sums_of(sums))
    return by_name


def _session_sums(keys: Sequence[int], hours: Sequence[int]) -> tuple[str, list[int]]:
    # Hours by name and not as a range: each key is then looked up, and not all the others of the hour read.
    sql = (
        f"SELECT key, {_SUMS}, first_us, last_us FROM rollups WHERE grain = {HOUR} AND level = {LEVEL['session']} "
        f"AND t IN ({','.join('?' * len(hours))}) AND key IN ({','.join('?' * len(keys))})"
    )
    return sql, [*hours, *keys]


def _users(days: StoredDays, page: Sequence[tuple[str, Sums]]) -> dict[str, str]:
    """Return session -> user, from the day on which each began: of several the one whose first trace came last."""
    by_day: dict[date, list[str]] = defaultdict(list)
    for name, sums in page:
        by_day[moment(sums.first_us).date()].append(name)
    users: dict[str, str] = {}
    for day, sessions in by_day.items():
        with days.read(day) as reader:
            if reader is None:
                continue
            names = {number: name for name, number in numbers_of(reader, sessions).items()}
            for chunk in chunks(list(names)):
                sql = f"""SELECT t.session_id, u.text FROM traces t JOIN strings u ON u.id = t.user_id
                    WHERE t.session_id IN ({",".join("?" * len(chunk))})
                    GROUP BY t.session_id, t.user_id, u.text ORDER BY min(t.id)"""
                users.update((names[session], user) for session, user in reader.rows(sql, chunk))
    return users
