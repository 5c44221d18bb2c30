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
"""Minutes older than this are kept as counted. A span that comes later still has its minute counted again."""

MINUTES_A_DAY = 24 * 60

CHUNK = timedelta(days=1)
"""How much is counted in one query."""

Tally = list[tuple[int, int, int]]
"""(minute since 1970, total, bad)."""


@dataclass(frozen=True)
class FreshCounts:
    """What one check counted from the traces."""

    minutes: Tally
    """Minutes that are not kept yet, and those kept ones into which spans have come since."""
    position: str
    """The tail's end before the count: every span up to it is in what is kept and in `minutes`."""


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60


def settle(ctx: Context, slo: Slo, counted_until: datetime | None, fresh: FreshCounts) -> None:
    """Write what was counted of the minutes that ended at least `GRACE` ago."""
    end = _settled_end(ctx.now)
    if slo.kind == "quality" or (counted_until is not None and end <= counted_until):
        return
    kept = [entry for entry in fresh.minutes if entry[0] < _minute(end)]
    oldest = _minute(ctx.now - timedelta(seconds=slo.window_s)) - 60
    store.settle_minutes(
        ctx.conn, slo.id, kept, before=counted_until, until=end, position=fresh.position, oldest=oldest
    )


def _settled_end(now: datetime) -> datetime:
    return (now - GRACE).replace(second=0, microsecond=0)


def count_fresh(ctx: Context, slo: Slo, counted_until: datetime | None, position: str | None) -> FreshCounts:
    """Count what is not kept yet, and again every kept minute into which spans have come since `position`."""
    if slo.kind == "quality":
        return FreshCounts([], "")
    # First the position, then the count: what comes in between is counted now, and once more at the next check.
    end = traces.position(ctx)
    oldest = (ctx.now - timedelta(seconds=slo.window_s)).replace(second=0, microsecond=0)
    where = _calls_of(slo)
    tally: Tally = []
    if counted_until is not None and position is not None and oldest < counted_until:
        tally += _late(ctx, slo, where, traces.minutes_touched(ctx, position, oldest, counted_until, where))
    start = max(oldest, counted_until) if counted_until is not None else oldest
    return FreshCounts(tally + _between(ctx, slo, where, start, ctx.now + timedelta(minutes=1)), end)


def _calls_of(slo: Slo) -> TraceFilter:
    return TraceFilter(
        calls=True,
        environment=slo.target.environment,
        model=slo.target.model,
        release_id=slo.target.release_id,
        service=slo.target.service,
    )


def _late(ctx: Context, slo: Slo, where: TraceFilter, touched: list[int]) -> Tally:
    """Return the touched minutes, counted again: day by day, from the first to the last of a day."""
    tally: Tally = []
    for _, group in groupby(touched, key=lambda minute: minute // MINUTES_A_DAY):
        of_day = list(group)
        start, end = (datetime.fromtimestamp(minute * 60, UTC) for minute in (of_day[0], of_day[-1] + 1))
        minutes = set(of_day)
        tally += [entry for entry in _between(ctx, slo, where, start, end) if entry[0] in minutes]
    return tally


def _between(ctx: Context, slo: Slo, where: TraceFilter, start: datetime, end: datetime) -> Tally:
    tally: Tally = []
    while start < end:
        stop = min(start + CHUNK, end)
        tally += _calls(slo, traces.count_by_minute(ctx, start, stop, where, slow_ms=slo.threshold_ms))
        start = stop
    return tally


def _calls(slo: Slo, counted: list[traces.MinuteCount]) -> Tally:
    if slo.kind == "errors":
        return [(m.minute, m.calls, m.errors) for m in counted]
    # A call that fails fast is not a fast answer: failures are the errors SLO's matter.
    return [(m.minute, m.calls - m.errors, m.slow) for m in counted if m.calls > m.errors]


def counter(
    ctx: Context, slo: Slo, counted_until: datetime | None, fresh: FreshCounts
) -> Callable[[datetime], SloCounts]:
    """Return a function that counts from any moment up to now."""
    if slo.kind == "quality":
        return lambda since: _scores(ctx, slo, since)
    border = _minute(counted_until) if counted_until is not None else 0
    late = [minute for minute, _, _ in fresh.minutes if minute < border]
    # Of a minute that was counted again, what is kept of it no longer holds.
    outdated = store.kept_minutes(ctx.conn, slo.id, late[0], border) if late else {}

    def count(since: datetime) -> SloCounts:
        first = _minute(since)
        total, bad = store.sum_minutes(ctx.conn, slo.id, first, border)
        for minute, more, worse in fresh.minutes:
            if minute >= first:
                kept, kept_bad = outdated.get(minute, (0, 0))
                total, bad = total + more - kept, bad + worse - kept_bad
        return SloCounts(total=total, bad=bad)

    return count


def _scores(ctx: Context, slo: Slo, since: datetime) -> SloCounts:
    total, passed = feedback.count_passing(ctx, score_filter(slo, since), slo.passing)
    return SloCounts(total=total, bad=total - passed)


def score_filter(slo: Slo, since: datetime) -> ScoreFilter:
    """Return which scores a quality SLO counts."""
    return ScoreFilter(
        name=slo.score,
        source=slo.source,
        environment=slo.target.environment,
        model=slo.target.model,
        release_id=slo.target.release_id,
        since=since,
    )
