"""Monitors of every kind: an overview with the results of the last checks, and a check on demand."""

from collections.abc import Sequence

from tidemill.core.actors import Actor
from tidemill.core.errors import nearest
from tidemill.core.event_types import Event
from tidemill.core.kernel import Context, Kernel, Listener
from tidemill.core.wire import Page
from tidemill.drift import service as drift
from tidemill.drift.types import DriftMonitor
from tidemill.kpis import service as kpis
from tidemill.monitors import store
from tidemill.monitors.types import MonitorCheck, MonitorNotFound, MonitorState, MonitorVerdict
from tidemill.notifications.service import alerts
from tidemill.notifications.types import Alert
from tidemill.slos import service as slos

_VERDICTS: dict[str, MonitorVerdict] = {"drift": "fail", "no_drift": "pass", "inconclusive": "inconclusive"}


def list_monitors(ctx: Context) -> Page[MonitorState]:
    """Return every SLO, KPI and drift monitor with what its last check said."""
    unresolved = alerts.list_unresolved(ctx)
    next_times = store.next_times(ctx.conn)
    states = [
        MonitorState(
            name=slo.slo.name,
            kind="slo",
            verdict=slo.verdict,
            summary=slo.summary,
            checked_at=slo.checked_at,
            next_at=next_times.get(f"slo:{slo.slo.name}"),
            alerts=_alert_ids(unresolved, "slo", slo.slo.name),
        )
        for slo in slos.list_records(ctx)
    ]
    states += [
        MonitorState(
            name=kpi.kpi.name,
            kind="kpi",
            verdict=kpi.verdict,
            summary=kpi.summary,
            checked_at=kpi.checked_at,
            next_at=next_times.get(f"kpi:{kpi.kpi.name}"),
            alerts=_alert_ids(unresolved, "kpi", kpi.kpi.name),
        )
        for kpi in kpis.list_records(ctx)
    ]
    for monitor in drift.list_all_monitors(ctx):
        last = drift.latest_report(ctx, monitor.id)
        states.append(
            MonitorState(
                name=monitor.name,
                kind="drift",
                verdict=_VERDICTS[last.verdict] if last is not None else None,
                summary=last.summary if last is not None else "",
                checked_at=last.created_at if last is not None else None,
                next_at=next_times.get(lease_key("drift", monitor.name)),
                alerts=_alert_ids(unresolved, "drift", monitor.name),
            )
        )
    return Page(items=states)


def _alert_ids(unresolved: list[Alert], kind: str, name: str) -> list[str]:
    return [alert.id for alert in unresolved if alert.kind == kind and alert.name == name]


def lease_key(kind: str, name: str) -> str:
    """Return the key under which a check is leased."""
    return f"{kind}:{name}"


def check(kernel: Kernel, actor: Actor, name: str, *, drift_as_job: bool = False) -> MonitorCheck:
    """Check everything of this name now, and open or resolve alerts. Raises MonitorNotFound.

    A drift check takes seconds to minutes: with `drift_as_job` it is submitted as a job, and not waited for.
    """
    with kernel.read(actor) as ctx:
        is_slo, is_kpi = name in slos.names(ctx), name in kpis.names(ctx)
        monitor: DriftMonitor | None = next((m for m in drift.list_all_monitors(ctx) if m.name == name), None)
        names = sorted({state.name for state in list_monitors(ctx).items})
    if not is_slo and not is_kpi and monitor is None:
        suggestions = nearest(name, names)
        hint = (
            f"Did you mean {', '.join(suggestions)}?"
            if suggestions
            else "`tidemill monitors list` shows what is monitored."
        )
        raise MonitorNotFound(f"Nothing called {name!r} is monitored.", hint=hint)
    checked = MonitorCheck(
        name=name,
        slo=slos.check(kernel, actor, name) if is_slo else None,
        kpi=kpis.check(kernel, actor, name) if is_kpi else None,
        drift=drift.check(kernel, actor, monitor) if monitor is not None and not drift_as_job else None,
    )
    if monitor is None or not drift_as_job:
        return checked
    with kernel.write(actor) as ctx:
        return checked.model_copy(update={"drift_job": drift.submit_check(ctx, monitor.id).id})


def _on_change(kind: str) -> Listener:
    """Return a listener that deletes the lease of what was changed or removed, so that it is due at once."""

    def forget(ctx: Context, event: Event) -> None:
        store.delete_lease(ctx.conn, lease_key(kind, event.data["name"]))

    return forget


LISTENERS: dict[str, Sequence[Listener]] = {
    slos.SAVED: (_on_change("slo"),),
    slos.REMOVED: (_on_change("slo"),),
    kpis.SAVED: (_on_change("kpi"),),
    kpis.REMOVED: (_on_change("kpi"),),
    drift.CHANGED: (_on_change("drift"),),
    drift.REMOVED: (_on_change("drift"),),
}
"""The events after which the next check is due at once."""
