"""Alerts: raised once per cause, acknowledged, and resolved by a person or when the cause is gone."""

from datetime import datetime, timedelta

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.notifications.service import deliveries
from tidemill.notifications.store import alerts as store
from tidemill.notifications.store import outbox
from tidemill.notifications.types import (
    Alert,
    AlertCause,
    AlertChange,
    AlertDetail,
    AlertEnded,
    AlertNote,
    AlertNotFound,
    AlertState,
)

OPENED, ACKNOWLEDGED, RESOLVED = "alert.opened", "alert.acknowledged", "alert.resolved"

_PAST = {OPENED: "opened", ACKNOWLEDGED: "acknowledged", RESOLVED: "resolved"}
_DELIVERED = {"sent": "told", "failed": "not told", "waiting": "telling"}


def raise_alert(ctx: Context, cause: AlertCause) -> Alert:
    """Return the alert of this cause: the unresolved one with the newest figures, or a new one, which is sent out."""
    store.lock(ctx.conn, cause.key)
    existing = store.find_unresolved(ctx.conn, cause.key)
    if existing is not None:
        changes = {"evidence": cause.evidence, "seen_at": ctx.now, "title": cause.title}
        store.update(ctx.conn, existing.id, **changes)
        return existing.model_copy(update=changes)
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
    events.emit(ctx, OPENED, alert.id, _event_data(alert))
    deliveries.enqueue_alert(ctx, OPENED, alert)
    return alert


def is_raised(ctx: Context, cause: AlertCause) -> bool:
    """Return whether an alert of this cause is not resolved."""
    return store.find_unresolved(ctx.conn, cause.key) is not None


def clear(ctx: Context, key: str, *, quiet_s: float = 0.0, why: str = "The cause is gone.") -> Alert | None:
    """Resolve the alert of a cause that is gone, unless it was still there within `quiet_s` seconds.

    `key` is that of the AlertCause. Returns the resolved alert, or None.
    """
    store.lock(ctx.conn, key)
    alert = store.find_unresolved(ctx.conn, key)
    if alert is None or ctx.now - alert.seen_at < timedelta(seconds=quiet_s):
        return None
    return _resolve(ctx, alert, why)


def acknowledge(ctx: Context, alert_id: str, body: AlertNote) -> Alert:
    """Acknowledge an alert, and return it. A second time changes nothing. Raises AlertNotFound, AlertEnded."""
    alert = _get_unresolved(ctx, alert_id)
    if alert.state == "acknowledged":
        return alert
    changes = {"state": "acknowledged", "acknowledged_at": ctx.now, "acknowledged_by": ctx.actor.name}
    store.update(ctx.conn, alert_id, **changes)
    events.emit(ctx, ACKNOWLEDGED, alert_id, {"note": body.note})
    return alert.model_copy(update=changes)


def resolve(ctx: Context, alert_id: str, body: AlertNote) -> Alert:
    """Resolve an alert by hand. If its cause stays, the next check opens another. Raises AlertNotFound, AlertEnded."""
    return _resolve(ctx, _get_unresolved(ctx, alert_id), body.note)


def get(ctx: Context, alert_id: str) -> AlertDetail:
    """Return one alert with its history, oldest first. Raises AlertNotFound."""
    alert = _get(ctx, alert_id)
    history = [
        AlertChange(at=event.at, what=_PAST[event.kind], by=event.actor_name, note=str(event.data.get("note") or ""))
        for event in events.list_events(ctx.conn, kind="alert.", subject=alert_id, limit=None)
        if event.kind in _PAST
    ]
    for delivery in outbox.list_deliveries(ctx.conn, notifier=None, state=None, alert_id=alert_id, limit=None):
        note = f"{delivery.what} to {delivery.notifier}" + (f": {delivery.error}" if delivery.error else "")
        at = delivery.sent_at or delivery.created_at
        history.append(AlertChange(at=at, what=_DELIVERED[delivery.state], by="system", note=note))
    return AlertDetail(alert=alert, history=sorted(history, key=lambda change: change.at))


def list_alerts(
    ctx: Context,
    *,
    state: AlertState | None = None,
    name: str | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Alert]:
    """Return alerts, newest first."""
    alerts = store.list_alerts(ctx.conn, state=state, name=name, since=since, before=cursor, limit=limit + 1)
    return page(alerts, limit)


def list_unresolved(ctx: Context, kind: str | None = None, name: str | None = None) -> list[Alert]:
    """Return the alerts that are not resolved, oldest first."""
    return store.list_unresolved(ctx.conn, kind, name)


def _get(ctx: Context, alert_id: str) -> Alert:
    alert = store.by_id(ctx.conn, alert_id)
    if alert is None:
        raise AlertNotFound(f"There is no alert {alert_id!r}.", hint="`tidemill alerts list` shows what there is.")
    return alert


def _get_unresolved(ctx: Context, alert_id: str) -> Alert:
    alert = _get(ctx, alert_id)
    store.lock(ctx.conn, f"{alert.kind}:{alert.name}:{alert.severity}")
    alert = _get(ctx, alert_id)
    if alert.state == "resolved":
        raise AlertEnded(f"The alert {alert_id} was resolved at {alert.resolved_at:%Y-%m-%d %H:%M} UTC.")
    return alert


def _resolve(ctx: Context, alert: Alert, note: str) -> Alert:
    changes = {"state": "resolved", "resolved_at": ctx.now, "resolved_by": ctx.actor.name, "note": note}
    store.update(ctx.conn, alert.id, standing=None, **changes)
    resolved = alert.model_copy(update=changes)
    events.emit(ctx, RESOLVED, alert.id, _event_data(resolved) | {"note": note})
    deliveries.enqueue_alert(ctx, RESOLVED, resolved)
    return resolved


def _event_data(alert: Alert) -> dict[str, str]:
    return {"kind": alert.kind, "name": alert.name, "severity": alert.severity, "title": alert.title}
