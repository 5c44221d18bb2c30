"""What an objective counts: calls from the traces, minute by minute and each once, or scores of answers."""

from collections.abc import Callable
from datetime import datetime, timedelta

from tidemill.core.context import Context
from tidemill.monitors.store import objectives as store
from tidemill.monitors.types import Counts, Slo
from tidemill.traces import service as traces
from tidemill.traces.types import ScoreFilter, TraceFilter

GRACE = timedelta(minutes=15)
"""Spans may come so late and are still counted; minutes older than this are counted for good."""

CHUNK = timedelta(days=1)
"""How much is counted in one query."""

Tally = list[tuple[int, int, int]]
"""(minute since 1970, total, bad)."""


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60


def settle(ctx: Context, slo: Slo, counted_until: datetime | None, fresh: Tally) -> None:
    """Keep the minutes that no span can come for any more."""
    end = _settled_end(ctx.now)
    if slo.kind == "quality" or (counted_until is not None and end <= counted_until):
        return
    kept = [entry for entry in fresh if entry[0] < _minute(end)]
    oldest = _minute(ctx.now - timedelta(seconds=slo.window_s)) - 60
    store.settle_minutes(ctx.conn, slo.id, kept, before=counted_until, until=end, oldest=oldest)


def _settled_end(now: datetime) -> datetime:
    return (now - GRACE).replace(second=0, microsecond=0)


def fresh_minutes(ctx: Context, slo: Slo, counted_until: datetime | None) -> Tally:
    """The minutes of calls that are not counted for good yet."""
    if slo.kind == "quality":
        return []
    oldest = (ctx.now - timedelta(seconds=slo.window_s)).replace(second=0, microsecond=0)
    start = max(oldest, counted_until) if counted_until is not None else oldest
    where = TraceFilter(
        calls=True,
        environment=slo.target.environment,
        model=slo.target.model,
        release_id=slo.target.release_id,
        service=slo.target.service,
    )
    tally: Tally = []
    while start <= ctx.now:
        end = min(start + CHUNK, ctx.now + timedelta(minutes=1))
        tally += _calls(slo, traces.count_by_minute(ctx, start, end, where, slow_ms=slo.threshold_ms))
        start = end
    return tally


def _calls(slo: Slo, counted: list[traces.MinuteCount]) -> Tally:
    if slo.kind == "errors":
        return [(m.minute, m.calls, m.errors) for m in counted]
    # A call that fails fast is not a fast answer: failures are the errors objective's matter.
    return [(m.minute, m.calls - m.errors, m.slow) for m in counted if m.calls > m.errors]


def counter(ctx: Context, slo: Slo, counted_until: datetime | None, fresh: Tally) -> Callable[[datetime], Counts]:
    """Counts of the objective from any moment up to now."""
    if slo.kind == "quality":
        return lambda since: _scores(ctx, slo, since)
    border = _minute(counted_until) if counted_until is not None else 0

    def count(since: datetime) -> Counts:
        first = _minute(since)
        total, bad = store.sum_minutes(ctx.conn, slo.id, first, border)
        for minute, more, worse in fresh:
            if minute >= max(first, border):
                total, bad = total + more, bad + worse
        return Counts(total=total, bad=bad)

    return count


def _scores(ctx: Context, slo: Slo, since: datetime) -> Counts:
    total, passed = traces.count_passing(ctx, score_filter(slo, since), slo.passing)
    return Counts(total=total, bad=total - passed)


def score_filter(slo: Slo, since: datetime) -> ScoreFilter:
    """Which scores a quality objective counts."""
    return ScoreFilter(
        name=slo.score,
        source=slo.source,
        environment=slo.target.environment,
        model=slo.target.model,
        release_id=slo.target.release_id,
        since=since,
    )


__all__ = ["counter", "fresh_minutes", "score_filter", "settle"]
