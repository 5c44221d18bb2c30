"""Deciding about indicators: what is kept, what a check of one says, and how a score moved over time."""

from datetime import datetime, timedelta
from typing import Any

from tidemill.core.actors import Actor
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import Page
from tidemill.monitors import alerts, kpi, triggers, watched
from tidemill.monitors.kpi import Estimate, Unit
from tidemill.monitors.store import objectives as store
from tidemill.monitors.types import Cause, Kpi, KpiNotFound, KpiPut, KpiReport, KpiSeries, Target
from tidemill.traces import service as traces
from tidemill.traces.types import ScoreFilter


def put(ctx: Context, name: str, body: KpiPut) -> Kpi:
    """Make or change an indicator."""
    return _kpi(watched.put(ctx, "kpi", name, body.model_dump(mode="json"))[0])


def turn_key(name: str) -> str:
    """Under which the scheduler takes turns."""
    return watched.turn_key("kpi", name)


def _kpi(row: dict[str, Any]) -> Kpi:
    return Kpi.model_validate(watched.fields(row))


def get(ctx: Context, name: str) -> Kpi:
    """One indicator. Raises KpiNotFound."""
    return _kpi(watched.get(ctx, "kpi", name, "indicator", KpiNotFound))


def listing(ctx: Context, *, cursor: str | None = None, limit: int = 50) -> Page[Kpi]:
    """Indicators by name."""
    found = [_kpi(row) for row in store.listing(ctx.conn, "kpi", after=cursor, limit=limit + 1)]
    return Page(items=found[:limit], next_cursor=found[limit - 1].name if len(found) > limit else None)


def remove(ctx: Context, name: str) -> None:
    """Look at it no longer; its alert is resolved. Raises KpiNotFound."""
    found = get(ctx, name)
    alerts.clear(ctx, _cause_key(name), why="The indicator was removed.")
    watched.remove(ctx, "kpi", name, found.id)


def report(ctx: Context, name: str) -> KpiReport:
    """What an indicator says now. Nothing is opened or resolved. Raises KpiNotFound."""
    found = get(ctx, name)
    end = ctx.now + timedelta(seconds=1)
    start = ctx.now - timedelta(seconds=found.window_s)
    first = start - timedelta(seconds=found.reference_s)
    now = _estimate(ctx, found, start, end)
    before = _estimate(ctx, found, first, start) if found.drop is not None else None
    verdict, why, change, needed = kpi.judge(found, now, before)
    return KpiReport(
        kpi=found,
        at=ctx.now,
        now=kpi.point(start, ctx.now, None, now),
        reference=kpi.point(first, start, None, before) if found.drop is not None else None,
        difference=change[0] if change is not None else None,
        low=change[1] if change is not None else None,
        high=change[2] if change is not None else None,
        verdict=verdict,
        needed=needed,
        why=why,
    )


def _estimate(ctx: Context, found: Kpi, since: datetime, until: datetime) -> Estimate | None:
    wanted = _filter(found.score, found.source, found.target, since, until)
    return kpi.estimate([Unit(u.count, u.total, u.binary) for u in traces.score_units(ctx, wanted)])


def _filter(score: str, source: Any, target: Target, since: datetime, until: datetime) -> ScoreFilter:
    return ScoreFilter(
        name=score,
        source=source,
        environment=target.environment,
        model=target.model,
        release_id=target.release_id,
        since=since,
        until=until,
    )


def check(kernel: Kernel, actor: Actor, name: str) -> KpiReport:
    """Look now, and open or resolve the alert. Raises KpiNotFound."""
    with kernel.read(actor) as ctx:
        said = report(ctx, name)
    with kernel.write(actor) as ctx:
        if not store.checked(ctx.conn, said.kpi.id, at=said.at, verdict=said.verdict, summary=said.why):
            return said
        if said.verdict == "fail":
            evidence = said.model_dump(mode="json", exclude={"kpi"})
            title = f"{name}: {said.why}"
            alerts.raise_(ctx, Cause(kind="kpi", name=name, severity="ticket", title=title, evidence=evidence))
        elif said.verdict == "pass":
            alerts.clear(ctx, _cause_key(name), why=said.why)
        triggers.look_at_all(ctx)
    return said


def _cause_key(name: str) -> str:
    return f"kpi:{name}:ticket"


def series(
    ctx: Context,
    score: str,
    *,
    source: str | None = None,
    target: Target | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    step_s: int = 86400,
) -> KpiSeries:
    """A score or feedback by release over time: means with 95% intervals. Default: by day, over the last 30 days."""
    end = until or ctx.now + timedelta(seconds=1)
    wanted = _filter(score, source, target or Target(), since or end - timedelta(days=30), end)
    groups: dict[tuple[datetime, str | None], list[Unit]] = {}
    for unit in traces.score_units(ctx, wanted, by_release=True, step=timedelta(seconds=step_s)):
        groups.setdefault((unit.t, unit.release_id), []).append(Unit(unit.count, unit.total, unit.binary))
    points = [
        kpi.point(t, t + timedelta(seconds=step_s), release_id, kpi.estimate(units))
        for (t, release_id), units in sorted(groups.items(), key=lambda entry: (entry[0][0], entry[0][1] or ""))
    ]
    return KpiSeries(score=score, step_s=step_s, points=points)
