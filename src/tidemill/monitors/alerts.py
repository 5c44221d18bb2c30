"""Alerts: opened once per cause, acknowledged, resolved by a person or by themselves when the cause is gone."""

from datetime import datetime, timedelta

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.monitors import notifiers
from tidemill.monitors.store import alerts as store
from tidemill.monitors.store import outbox
from tidemill.monitors.types import (
    Alert,
    AlertChange,
    AlertDetail,
    AlertEnded,
    AlertNote,
    AlertNotFound,
    AlertState,
    Cause,
)

OPENED, ACKNOWLEDGED, RESOLVED = "alert.opened", "alert.acknowledged", "alert.resolved"

_DONE = {OPENED: "opened", ACKNOWLEDGED: "acknowledged", RESOLVED: "resolved"}


def raise_(ctx: Context, cause: Cause) -> Alert:
    """The alert of this cause: the one that stands, with the newest figures, or a new one."""
    store.lock(ctx.conn, cause.key)
    standing = store.standing(ctx.conn, cause.key)
    if standing is not None:
        changes = {"evidence": cause.evidence, "seen_at": ctx.now, "title": cause.title}
        store.update(ctx.conn, standing.id, **changes)
        return standing.model_copy(update=changes)
    alert = Alert(
        id=new_id("alr"),
        kind=cause.kind,
        name=cause.name,
        severity=cause.severity,
        state="open",
        title=cause.title,
        evidence=cause.evidence,
        opened_at=ctx.now,
        seen_at=ctx.now,
        acknowledged_at=None,
        acknowledged_by=None,
        resolved_at=None,
        resolved_by=None,
        note="",
    )
    store.insert(ctx.conn, alert, cause.key)
    events.emit(ctx, OPENED, alert.id, _facts(alert))
    notifiers.tell(ctx, OPENED, alert)
    return alert


def clear(ctx: Context, key: str, *, quiet_s: float = 0.0, why: str = "The cause is gone.") -> Alert | None:
    """Resolve the alert of a cause that is gone, unless it was still there within `quiet_s` seconds."""
    store.lock(ctx.conn, key)
    standing = store.standing(ctx.conn, key)
    if standing is None or ctx.now - standing.seen_at < timedelta(seconds=quiet_s):
        return None
    return _resolve(ctx, standing, why)


def acknowledge(ctx: Context, alert_id: str, body: AlertNote) -> Alert:
    """Say that somebody looks after it. Saying so again changes nothing. Raises AlertNotFound, AlertEnded."""
    alert = _standing(ctx, alert_id)
    if alert.state == "acknowledged":
        return alert
    changes = {"state": "acknowledged", "acknowledged_at": ctx.now, "acknowledged_by": ctx.actor.name}
    store.update(ctx.conn, alert_id, **changes)
    events.emit(ctx, ACKNOWLEDGED, alert_id, {"note": body.note})
    return alert.model_copy(update=changes)


def resolve(ctx: Context, alert_id: str, body: AlertNote) -> Alert:
    """End it by hand. While the cause stands, the next check opens a new one. Raises AlertNotFound, AlertEnded."""
    return _resolve(ctx, _standing(ctx, alert_id), body.note)


def get(ctx: Context, alert_id: str) -> AlertDetail:
    """One alert with its history. Raises AlertNotFound."""
    alert = _find(ctx, alert_id)
    facts = events.listing(ctx.conn, kind="alert.", subject=alert_id, limit=500)
    history = [
        AlertChange(at=f.at, what=_DONE[f.kind], by=f.actor_name, note=str(f.data.get("note") or ""))
        for f in facts
        if f.kind in _DONE
    ]
    for sent in outbox.listing(ctx.conn, notifier=None, state=None, alert_id=alert_id, limit=500):
        what = {"sent": "told", "failed": "not told", "waiting": "telling"}[sent.state]
        note = f"{sent.what} to {sent.notifier}" + (f": {sent.error}" if sent.error else "")
        history.append(AlertChange(at=sent.sent_at or sent.created_at, what=what, by="system", note=note))
    return AlertDetail(alert=alert, history=sorted(history, key=lambda change: change.at))


def listing(
    ctx: Context,
    *,
    state: AlertState | None = None,
    name: str | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Alert]:
    """Alerts, newest first."""
    found = store.listing(ctx.conn, state=state, name=name, since=since, before=cursor, limit=limit + 1)
    return page(found, limit)


def unresolved(ctx: Context, kind: str | None = None, name: str | None = None) -> list[Alert]:
    """Alerts that are not resolved, oldest first."""
    return store.unresolved(ctx.conn, kind, name)


def _find(ctx: Context, alert_id: str) -> Alert:
    alert = store.by_id(ctx.conn, alert_id)
    if alert is None:
        raise AlertNotFound(f"There is no alert {alert_id!r}.", hint="`tidemill alerts list` shows what there is.")
    return alert


def _standing(ctx: Context, alert_id: str) -> Alert:
    alert = _find(ctx, alert_id)
    store.lock(ctx.conn, f"{alert.kind}:{alert.name}:{alert.severity}")
    alert = _find(ctx, alert_id)
    if alert.state == "resolved":
        raise AlertEnded(f"The alert {alert_id} was resolved at {alert.resolved_at:%Y-%m-%d %H:%M} UTC.")
    return alert


def _resolve(ctx: Context, alert: Alert, note: str) -> Alert:
    changes = {"state": "resolved", "resolved_at": ctx.now, "resolved_by": ctx.actor.name, "note": note}
    store.update(ctx.conn, alert.id, standing=None, **changes)
    resolved = alert.model_copy(update=changes)
    events.emit(ctx, RESOLVED, alert.id, _facts(resolved) | {"note": note})
    notifiers.tell(ctx, RESOLVED, resolved)
    return resolved


def _facts(alert: Alert) -> dict[str, str]:
    return {"kind": alert.kind, "name": alert.name, "severity": alert.severity, "title": alert.title}
