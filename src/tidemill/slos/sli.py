"""Service level indicators: calls from the traces, minute by minute and each once, or scores of answers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from tidemill.core.kernel import Context
from tidemill.feedback import service as feedback
from tidemill.feedback.types import ScoreFilter
from tidemill.slos import store
from tidemill.slos.types import Slo, SloCounts
from tidemill.traces import service as traces
from tidemill.traces.types import TraceFilter

GRACE = timedelta(minutes=15)
"""Counts of minutes older than this are stored. A span that arrives later has its minute counted again."""

MINUTES_A_DAY = 24 * 60

CHUNK = timedelta(days=1)
"""The longest time that one query counts."""

Tally = list[tuple[int, int, int]]
"""(minute since 1970, total, bad)."""


@dataclass(frozen=True)
class FreshCounts:
    """What one check counted from the traces."""

    minutes: Tally
    """Minutes that are not stored yet, and stored ones for which spans have arrived since."""
    position: str
    """The trace store's position before the count: every span up to it is in the stored counts or in `minutes`."""


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60


def store_settled(ctx: Context, slo: Slo, counted_until: datetime | None, fresh: FreshCounts) -> None:
    """Store the counts of the minutes that ended at least `GRACE` ago."""
    end = _settled_end(ctx.now)
    if slo.kind == "quality" or (counted_until is not None and end <= counted_until):
        return
    settled = [entry for entry in fresh.minutes if entry[0] < _minute(end)]
    oldest = _minute(ctx.now - timedelta(seconds=slo.window_s)) - 60
    store.replace_minutes(
        ctx.conn, slo.id, settled, before=counted_until, until=end, position=fresh.position, oldest=oldest
    )


def _settled_end(now: datetime) -> datetime:
    return (now - GRACE).replace(second=0, microsecond=0)


def count_fresh(ctx: Context, slo: Slo, counted_until: datetime | None, position: str | None) -> FreshCounts:
    """Count the minutes that are not stored yet, and again each stored minute that got spans since `position`."""
    if slo.kind == "quality":
        return FreshCounts([], "")
    # First the position, then the count: spans that arrive in between are counted now and again at the next check.
    end = traces.tail_end(ctx)
    oldest = (ctx.now - timedelta(seconds=slo.window_s)).replace(second=0, microsecond=0)
    where = _call_filter(slo)
    tally: Tally = []
    if counted_until is not None and position is not None and oldest < counted_until:
        tally += _recount(ctx, slo, where, traces.touched_minutes(ctx, position, oldest, counted_until, where))
    start = max(oldest, counted_until) if counted_until is not None else oldest
    return FreshCounts(tally + _count_between(ctx, slo, where, start, ctx.now + timedelta(minutes=1)), end)


def _call_filter(slo: Slo) -> TraceFilter:
    return TraceFilter(
        calls=True,
        environment=slo.target.environment,
        model=slo.target.model,
        release_id=slo.target.release_id,
        service=slo.target.service,
    )


def _recount(ctx: Context, slo: Slo, where: TraceFilter, touched: list[int]) -> Tally:
    """Return new counts of the touched minutes. Makes one query a day, from its first to its last touched minute."""
    tally: Tally = []
    for _, group in groupby(touched, key=lambda minute: minute // MINUTES_A_DAY):
        of_day = list(group)
        start, end = (datetime.fromtimestamp(minute * 60, UTC) for minute in (of_day[0], of_day[-1] + 1))
        minutes = set(of_day)
        tally += [entry for entry in _count_between(ctx, slo, where, start, end) if entry[0] in minutes]
    return tally


def _count_between(ctx: Context, slo: Slo, where: TraceFilter, start: datetime, end: datetime) -> Tally:
    tally: Tally = []
    while start < end:
        stop = min(start + CHUNK, end)
        tally += _tally_calls(slo, traces.count_by_minute(ctx, start, stop, where, slow_ms=slo.threshold_ms))
        start = stop
    return tally


def _tally_calls(slo: Slo, minute_counts: list[traces.MinuteCount]) -> Tally:
    if slo.kind == "errors":
        return [(m.minute, m.calls, m.errors) for m in minute_counts]
    # A call that fails fast is not a fast answer: failures are the errors SLO's matter.
    return [(m.minute, m.calls - m.errors, m.slow) for m in minute_counts if m.calls > m.errors]


def build_counter(
    ctx: Context, slo: Slo, counted_until: datetime | None, fresh: FreshCounts
) -> Callable[[datetime], SloCounts]:
    """Return a function that counts from a given time up to now."""
    if slo.kind == "quality":
        return lambda since: _count_scores(ctx, slo, since)
    border = _minute(counted_until) if counted_until is not None else 0
    recounted = [minute for minute, _, _ in fresh.minutes if minute < border]
    # The stored count of a minute that was counted again is outdated.
    outdated = store.load_minutes(ctx.conn, slo.id, recounted[0], border) if recounted else {}

    def count(since: datetime) -> SloCounts:
        first = _minute(since)
        total, bad = store.sum_minutes(ctx.conn, slo.id, first, border)
        for minute, new_total, new_bad in fresh.minutes:
            if minute >= first:
                stored_total, stored_bad = outdated.get(minute, (0, 0))
                total, bad = total + new_total - stored_total, bad + new_bad - stored_bad
        return SloCounts(total=total, bad=bad)

    return count


def _count_scores(ctx: Context, slo: Slo, since: datetime) -> SloCounts:
    total, passed = feedback.count_passing(ctx, score_filter(slo, since), slo.passing)
    return SloCounts(total=total, bad=total - passed)


def score_filter(slo: Slo, since: datetime) -> ScoreFilter:
    """Return the filter of the scores that a quality SLO counts."""
    return ScoreFilter(
        name=slo.score,
        source=slo.source,
        environment=slo.target.environment,
        model=slo.target.model,
        release_id=slo.target.release_id,
        since=since,
    )
