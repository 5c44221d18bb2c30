"""KPIs: their definitions, their checks with alerts, and scores over time."""

from datetime import datetime, timedelta
from typing import Any

from tidemill.core import events
from tidemill.core.actors import Actor
from tidemill.core.db import advisory_lock
from tidemill.core.errors import nearest
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import Page, new_id
from tidemill.feedback import service as feedback
from tidemill.feedback.types import ScoreFilter
from tidemill.kpis import estimates, store
from tidemill.kpis.estimates import KpiEstimate, ScoreCluster
from tidemill.kpis.store import KpiRecord
from tidemill.kpis.types import Kpi, KpiNotFound, KpiPut, KpiReport, KpiSeries, KpiTarget
from tidemill.notifications.service import alerts
from tidemill.notifications.types import AlertCause

SAVED, REMOVED = "kpi.saved", "kpi.removed"
CHECKED = "kpi.checked"
"""Only notified, not recorded: a KPI is checked every minute."""


def put(ctx: Context, name: str, body: KpiPut) -> Kpi:
    """Make or change a KPI."""
    _lock(ctx, name)
    existing = store.by_name(ctx.conn, name)
    kpi = Kpi(
        id=existing.kpi.id if existing is not None else new_id("kpi"),
        name=name,
        saved_by=ctx.actor.name,
        saved_at=ctx.now,
        **dict(body),
    )
    if existing is not None and kpi == existing.kpi.model_copy(
        update={"saved_by": kpi.saved_by, "saved_at": kpi.saved_at}
    ):
        return existing.kpi
    store.put(ctx.conn, kpi)
    events.emit(ctx, SAVED, kpi.id, {"name": name, **body.model_dump(mode="json")})
    return kpi


def _lock(ctx: Context, name: str) -> None:
    """Let no other transaction make, change or remove the KPI of a name until this one ends."""
    advisory_lock(ctx.conn, f"kpi {name}")


def names(ctx: Context) -> list[str]:
    """Return the names of all KPIs, sorted."""
    return [record.kpi.name for record in store.list_kpis(ctx.conn)]


def get(ctx: Context, name: str) -> Kpi:
    """Return one KPI. Raises KpiNotFound."""
    record = store.by_name(ctx.conn, name)
    if record is None:
        suggestions = nearest(name, names(ctx))
        hint = f"Did you mean {', '.join(suggestions)}?" if suggestions else "`tidemill kpi list` shows what there is."
        raise KpiNotFound(f"There is no KPI {name!r}.", hint=hint)
    return record.kpi


def list_kpis(ctx: Context, *, cursor: str | None = None, limit: int = 50) -> Page[Kpi]:
    """Return KPIs by name."""
    kpis = [record.kpi for record in store.list_kpis(ctx.conn, after=cursor, limit=limit + 1)]
    return Page(items=kpis[:limit], next_cursor=kpis[limit - 1].name if len(kpis) > limit else None)


def list_records(ctx: Context) -> list[KpiRecord]:
    """Return every KPI with what its last check said, by name."""
    return store.list_kpis(ctx.conn)


def remove(ctx: Context, name: str) -> None:
    """Delete a KPI; its alert is resolved. Raises KpiNotFound."""
    _lock(ctx, name)
    kpi = get(ctx, name)
    store.delete(ctx.conn, kpi.id)  # before the alert, so that a check that goes on now raises none
    alerts.clear(ctx, _cause_key(name), why="The KPI was removed.")
    events.emit(ctx, REMOVED, kpi.id, {"name": name})


def get_report(ctx: Context, name: str) -> KpiReport:
    """Return the value of a KPI now, and whether it dropped. Nothing is opened or resolved. Raises KpiNotFound."""
    kpi = get(ctx, name)
    end = ctx.now + timedelta(seconds=1)
    start = ctx.now - timedelta(seconds=kpi.window_s)
    first = start - timedelta(seconds=kpi.reference_s)
    now = _estimate(ctx, kpi, start, end)
    before = _estimate(ctx, kpi, first, start) if kpi.drop is not None else None
    verdict, why, change, needed = estimates.judge(kpi, now, before)
    return KpiReport(
        kpi=kpi,
        at=ctx.now,
        now=estimates.build_point(start, ctx.now, None, now),
        reference=estimates.build_point(first, start, None, before) if kpi.drop is not None else None,
        difference=change[0] if change is not None else None,
        low=change[1] if change is not None else None,
        high=change[2] if change is not None else None,
        verdict=verdict,
        needed=needed,
        why=why,
    )


def _estimate(ctx: Context, kpi: Kpi, since: datetime, until: datetime) -> KpiEstimate | None:
    scores = _filter(kpi.score, kpi.source, kpi.target, since, until)
    return estimates.estimate(
        [ScoreCluster(u.count, u.total, u.binary) for u in feedback.sum_scores_by_unit(ctx, scores)]
    )


def _filter(score: str, source: Any, target: KpiTarget, since: datetime, until: datetime) -> ScoreFilter:
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
    """Report now, open or resolve the alert, and notify `kpi.checked`. Raises KpiNotFound."""
    with kernel.read(actor) as ctx:
        checked = get_report(ctx, name)
    with kernel.write(actor) as ctx:
        recorded = store.record_check(
            ctx.conn, checked.kpi, at=checked.at, verdict=checked.verdict, summary=checked.why
        )
        if not recorded:
            return checked  # a later check was recorded already, or the KPI is gone or another one now
        if checked.verdict == "fail":
            evidence = checked.model_dump(mode="json", exclude={"kpi"})
            title = f"{name}: {checked.why}"
            cause = AlertCause(kind="kpi", name=name, severity="ticket", title=title, evidence=evidence)
            alerts.raise_alert(ctx, cause)
        elif checked.verdict == "pass":
            alerts.clear(ctx, _cause_key(name), why=checked.why)
        events.notify(ctx, CHECKED, checked.kpi.id, {"name": name})
    return checked


def _cause_key(name: str) -> str:
    return f"kpi:{name}:ticket"


def get_series(
    ctx: Context,
    score: str,
    *,
    source: str | None = None,
    target: KpiTarget | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    step_s: int = 86400,
) -> KpiSeries:
    """Return a score or feedback by release over time: means with 95% intervals. Default: by day, over 30 days."""
    end = until or ctx.now + timedelta(seconds=1)
    scores = _filter(score, source, target or KpiTarget(), since or end - timedelta(days=30), end)
    groups: dict[tuple[datetime, str | None], list[ScoreCluster]] = {}
    for unit in feedback.sum_scores_by_unit(ctx, scores, by_release=True, step=timedelta(seconds=step_s)):
        groups.setdefault((unit.t, unit.release_id), []).append(ScoreCluster(unit.count, unit.total, unit.binary))
    points = [
        estimates.build_point(t, t + timedelta(seconds=step_s), release_id, estimates.estimate(units))
        for (t, release_id), units in sorted(groups.items(), key=lambda entry: (entry[0][0], entry[0][1] or ""))
    ]
    return KpiSeries(score=score, step_s=step_s, points=points)
