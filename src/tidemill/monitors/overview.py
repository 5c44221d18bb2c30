"""All that is watched, of every kind: what it said last, and a look now."""

from tidemill.core.actors import Actor
from tidemill.core.errors import nearest
from tidemill.core.event_types import Event
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import Page
from tidemill.monitors import alerts, indicators, objectives, triggers
from tidemill.monitors.drift import service as drift
from tidemill.monitors.drift.types import DriftMonitor, DriftReport
from tidemill.monitors.store import objectives as store
from tidemill.monitors.types import Alert, Cause, MonitorCheck, MonitorNotFound, MonitorState, Verdict

_VERDICTS: dict[str, Verdict] = {"drift": "fail", "no_drift": "pass", "inconclusive": "inconclusive"}


def listing(ctx: Context) -> Page[MonitorState]:
    """Every objective, indicator and drift monitor."""
    standing = alerts.unresolved(ctx)
    turns = store.next_turns(ctx.conn)
    found = []
    for kind in ("slo", "kpi"):
        for row in store.listing(ctx.conn, kind):
            found.append(
                MonitorState(
                    name=row["name"],
                    kind=kind,
                    verdict=row["verdict"],
                    summary=row["summary"],
                    checked_at=row["checked_at"],
                    next_at=turns.get(f"{kind}:{row['name']}"),
                    alerts=[a.id for a in standing if a.kind == kind and a.name == row["name"]],
                )
            )
    return Page(items=found + [_drift_state(ctx, monitor, standing) for monitor in drift_monitors(ctx)])


def drift_monitors(ctx: Context) -> list[DriftMonitor]:
    """Every drift monitor."""
    found, cursor = [], None
    while True:
        page = drift.list_monitors(ctx, cursor=cursor, limit=500)
        found += page.items
        if (cursor := page.next_cursor) is None:
            return found


def _drift_state(ctx: Context, monitor: DriftMonitor, standing: list[Alert]) -> MonitorState:
    last = drift.latest_report(ctx, monitor.id)
    return MonitorState(
        name=monitor.name,
        kind="drift",
        verdict=_VERDICTS[last.verdict] if last is not None else None,
        summary=last.summary if last is not None else "",
        checked_at=last.created_at if last is not None else None,
        next_at=store.next_turns(ctx.conn).get(turn_key(monitor)),
        alerts=[a.id for a in standing if a.kind == "drift" and a.name == monitor.name],
    )


def turn_key(monitor: DriftMonitor) -> str:
    """Under which the scheduler takes turns."""
    return f"drift:{monitor.name}"


def check(kernel: Kernel, actor: Actor, name: str) -> MonitorCheck:
    """Look now at everything of this name, and open or resolve alerts. Raises MonitorNotFound."""
    with kernel.read(actor) as ctx:
        slo = store.by_name(ctx.conn, "slo", name)
        kpi = store.by_name(ctx.conn, "kpi", name)
        monitors = drift_monitors(ctx)
        known = sorted({state.name for state in listing(ctx).items})
    monitor = next((m for m in monitors if m.name == name), None)
    if slo is None and kpi is None and monitor is None:
        near = nearest(name, known)
        hint = f"Did you mean {', '.join(near)}?" if near else "`tidemill monitors list` shows what is watched."
        raise MonitorNotFound(f"Nothing called {name!r} is monitored.", hint=hint)
    return MonitorCheck(
        name=name,
        slo=objectives.check(kernel, actor, name) if slo is not None else None,
        kpi=indicators.check(kernel, actor, name) if kpi is not None else None,
        drift=check_drift(kernel, actor, monitor) if monitor is not None else None,
    )


def check_drift(kernel: Kernel, actor: Actor, monitor: DriftMonitor) -> DriftReport:
    """Compare now. `on_drift` opens or resolves the alert."""
    return drift.check(kernel, actor, monitor)


def on_drift(ctx: Context, event: Event) -> None:
    """What follows when a drift report was kept, whoever asked for the check. Called in the report's transaction."""
    follow(ctx, drift.get_report(ctx, event.data["report_id"]))


def on_change(ctx: Context, event: Event) -> None:
    """A drift monitor that watches something else now is looked at at once."""
    store.forget_turn(ctx.conn, f"drift:{event.data['name']}")


def on_removal(ctx: Context, event: Event) -> None:
    """A drift monitor that is removed leaves no alert behind."""
    name = event.data["name"]
    alerts.clear(ctx, f"drift:{name}:ticket", why="The drift monitor was removed.")
    store.forget_turn(ctx.conn, f"drift:{name}")


def follow(ctx: Context, report: DriftReport) -> None:
    """What a drift report means for its alert, and for the triggers."""
    if report.verdict == "drift":
        strongest = report.strongest
        evidence = {
            "report_id": report.id,
            "summary": report.summary,
            "rows_reference": report.rows_reference,
            "rows_window": report.rows_window,
            "window_start": report.window_start.isoformat() if report.window_start else None,
            "window_end": report.window_end.isoformat() if report.window_end else None,
            "test": strongest.name if strongest is not None else None,
            "p_value": strongest.adjusted_p if strongest is not None else None,
            "effect": strongest.effect if strongest is not None else None,
        }
        title = f"{report.monitor}: {report.summary}"
        cause = Cause(kind="drift", name=report.monitor, severity="ticket", title=title, evidence=evidence)
        alerts.raise_(ctx, cause)
    elif report.verdict == "no_drift":
        alerts.clear(ctx, f"drift:{report.monitor}:ticket", why=report.summary)
    triggers.look_at_all(ctx)
