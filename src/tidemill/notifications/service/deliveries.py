"""Deliveries: messages to notifiers, written to an outbox in the transaction of their alert."""

from datetime import timedelta
from typing import Any

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id, utc_now
from tidemill.notifications import channels
from tidemill.notifications.store import outbox as store
from tidemill.notifications.store.outbox import ClaimedDelivery, NotifierRecord
from tidemill.notifications.types import (
    Alert,
    Delivery,
    DeliveryNotEnded,
    DeliveryNotFound,
    DeliveryState,
    NotificationMessage,
    Severity,
)

SENT_RETENTION = timedelta(days=30)


def enqueue_alert(ctx: Context, what: str, alert: Alert) -> None:
    """Put a message about an alert into the outbox, once for every notifier of its severity."""
    message = NotificationMessage(
        what=what,
        title=f"{'Resolved: ' if alert.state == 'resolved' else ''}{alert.title}",
        lines=[f"{alert.kind} {alert.name}, {alert.severity}", f"alert {alert.id}"]
        + ([alert.note] if alert.note else []),
        data=alert.model_dump(mode="json"),
    )
    enqueue_for(ctx, alert.severity, message, alert_id=alert.id)


def enqueue_for(ctx: Context, severity: Severity, message: NotificationMessage, *, alert_id: str | None = None) -> None:
    """Put a message into the outbox, once for every notifier of this severity."""
    for record in store.list_notifiers(ctx.conn):
        if severity in record.severities:
            enqueue(ctx, record, message, alert_id=alert_id)


def enqueue(
    ctx: Context, notifier: NotifierRecord, message: NotificationMessage, *, alert_id: str | None = None
) -> Delivery:
    """Put a message to one notifier into the outbox and return its delivery, in the state `waiting`."""
    delivery = Delivery(
        id=new_id("dlv"),
        notifier=notifier.name,
        alert_id=alert_id,
        what=message.what,
        state="waiting",
        attempts=0,
        error=None,
        created_at=ctx.now,
        next_at=ctx.now,
        sent_at=None,
    )
    store.insert(ctx.conn, delivery, notifier.id, message)
    return delivery


def list_deliveries(
    ctx: Context,
    *,
    notifier: str | None = None,
    state: DeliveryState | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Delivery]:
    """Return deliveries, newest first."""
    deliveries = store.list_deliveries(ctx.conn, notifier=notifier, state=state, before=cursor, limit=limit + 1)
    return page(deliveries, limit)


def retry(ctx: Context, delivery_id: str) -> Delivery:
    """Send a failed delivery again. Raises DeliveryNotFound, DeliveryNotEnded."""
    delivery = store.find_delivery(ctx.conn, delivery_id)
    if delivery is None:
        raise DeliveryNotFound(f"There is no delivery {delivery_id!r}.", hint="`tidemill notifiers deliveries`")
    if delivery.state != "failed":
        raise DeliveryNotEnded(f"The delivery {delivery_id} is {delivery.state}.", hint="It needs no help.")
    changes: dict[str, Any] = {"state": "waiting", "attempts": 0, "next_at": ctx.now}
    store.update(ctx.conn, delivery_id, **changes)
    return delivery.model_copy(update=changes)


def record_attempt(ctx: Context, claimed: ClaimedDelivery, error: str | None, *, final: bool) -> None:
    """Record the result of an attempt: sent, retried later, or failed (`final`, or older than `GIVE_UP_AFTER`)."""
    attempts = claimed.attempts + 1
    if error is None:
        store.update(ctx.conn, claimed.id, state="sent", attempts=attempts, error=None, next_at=None, sent_at=utc_now())
        return
    wait = channels.back_off(attempts)
    if final or ctx.now + timedelta(seconds=wait) - claimed.created_at > channels.GIVE_UP_AFTER:
        store.update(ctx.conn, claimed.id, state="failed", attempts=attempts, error=error, next_at=None)
        data = {"notifier": claimed.notifier, "alert_id": claimed.alert_id, "attempts": attempts, "error": error}
        events.emit(ctx, "notifier.gave_up", claimed.id, data)
        return
    next_at = utc_now() + timedelta(seconds=wait)
    store.update(ctx.conn, claimed.id, attempts=attempts, error=error, next_at=next_at)


def delete_old(ctx: Context) -> int:
    """Delete messages that were sent longer than `SENT_RETENTION` ago, and return how many."""
    return store.delete_sent(ctx.conn, ctx.now - SENT_RETENTION)
