"""Notifiers: who is told of alerts. What is to be told goes into an outbox, in the transaction of the alert itself."""

import json
import secrets as randomness
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from tidemill.core import events
from tidemill.core.actors import SYSTEM
from tidemill.core.errors import SecretUnreadable, nearest
from tidemill.core.kernel import Context, Kernel
from tidemill.core.vault import Vault
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id, utc_now
from tidemill.monitors import channels
from tidemill.monitors.channels import Message
from tidemill.monitors.store import outbox as store
from tidemill.monitors.types import (
    Alert,
    Delivery,
    DeliveryNotEnded,
    DeliveryNotFound,
    DeliveryState,
    Firing,
    Notifier,
    NotifierNotFound,
    NotifierPut,
    NotifierSaved,
)

TEST = "notifier.test"
FIRED = "trigger.fired"


def put(ctx: Context, name: str, body: NotifierPut) -> NotifierSaved:
    """Make or change a notifier. Secrets that are left out of a change stay as they are."""
    known = store.notifier(ctx.conn, name=name)
    notifier_id: str = known["id"] if known is not None else new_id("ntf")
    secrets = {key: value.get_secret_value() for key in ("url", "secret") if (value := getattr(body, key)) is not None}
    same = known is not None and known["kind"] == body.kind
    if known is not None and same and "secret" not in secrets and "secret" in kept_names(known):
        secrets["secret"] = opened(ctx.kernel.get(Vault), known)["secret"]
    made = None
    if body.kind == "webhook" and "secret" not in secrets:
        secrets["secret"] = made = "whsec_" + randomness.token_urlsafe(32)
    row = {
        "id": notifier_id,
        "name": name,
        "kind": body.kind,
        "target": _target(body),
        "config": _config(body),
        "secrets": _sealed(ctx.kernel.get(Vault), notifier_id, secrets),
        "severities": sorted(set(body.severities)),
        "saved_by": ctx.actor.name,
        "saved_at": ctx.now,
    }
    store.put_notifier(ctx.conn, row)
    notifier = _shown(row)
    events.emit(ctx, "notifier.saved", notifier.id, {"name": name, "kind": body.kind, "target": notifier.target})
    return NotifierSaved(notifier=notifier, secret=made)


def _sealed(vault: Vault, notifier_id: str, secrets: dict[str, str]) -> dict[str, Any]:
    return {"names": sorted(secrets), "sealed": vault.seal(json.dumps(secrets), f"notifier/{notifier_id}")}


def kept_names(row: dict[str, Any]) -> list[str]:
    """Which secrets are kept for a notifier."""
    kept = row["secrets"]
    return list(kept["names"]) if "sealed" in kept else list(kept)


def opened(vault: Vault, row: dict[str, Any]) -> dict[str, str]:
    """The secrets of a notifier in the clear, to be used and not kept. Raises SecretUnreadable."""
    kept: dict[str, Any] = row["secrets"]
    if "sealed" not in kept:  # written by a version that did not seal, a moment ago
        return kept
    try:
        found: dict[str, str] = json.loads(vault.open(kept["sealed"], f"notifier/{row['id']}"))
    except SecretUnreadable as error:
        text = error.message.replace(f"notifier/{row['id']}", f"the notifier {row['name']}")
        hint = f"{error.hint} For this notifier: tidemill notifiers {row['kind']} {row['name']} --help"
        raise SecretUnreadable(text, hint=hint, details=error.details) from error
    return found


def seal_all(kernel: Kernel) -> list[SecretUnreadable]:
    """Seal what lies open, and again what an older key has sealed; returns why the rest could not be."""
    vault = kernel.get(Vault)
    with kernel.read(SYSTEM) as ctx:
        if all(_is_fresh(vault, row) for row in store.all_notifiers(ctx.conn)):
            return []
    left = []
    with kernel.write(SYSTEM) as ctx:
        store.leave_no_remains(ctx.conn)
        for row in store.all_notifiers(ctx.conn):
            if _is_fresh(vault, row):
                continue
            try:
                store.put_notifier(ctx.conn, row | {"secrets": _sealed(vault, row["id"], opened(vault, row))})
            except SecretUnreadable as error:
                left.append(error)
    return left


def _is_fresh(vault: Vault, row: dict[str, Any]) -> bool:
    return "sealed" in row["secrets"] and vault.is_newest(row["secrets"]["sealed"])


def _target(body: NotifierPut) -> str:
    if body.kind == "email":
        return ", ".join(body.recipients)
    parts = urlsplit(body.url.get_secret_value() if body.url is not None else "")
    # User, path and query may hold a token, so only the server is shown.
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}/…"


def _config(body: NotifierPut) -> dict[str, Any]:
    if body.kind != "email":
        return {}
    return body.model_dump(include={"host", "port", "security", "username", "sender", "recipients"})


def _shown(row: dict[str, Any]) -> Notifier:
    shown = {k: v for k, v in row.items() if k != "secrets"}
    return Notifier.model_validate(shown | {"signed": "secret" in kept_names(row)})


def get(ctx: Context, name: str) -> Notifier:
    """One notifier, without its secrets. Raises NotifierNotFound."""
    return _shown(_row(ctx, name))


def _row(ctx: Context, name: str) -> dict[str, Any]:
    row = store.notifier(ctx.conn, name=name)
    if row is None:
        near = nearest(name, [known["name"] for known in store.all_notifiers(ctx.conn)])
        hint = f"Did you mean {', '.join(near)}?" if near else "`tidemill notifiers list` shows what there is."
        raise NotifierNotFound(f"There is no notifier {name!r}.", hint=hint)
    return row


def listing(ctx: Context) -> Page[Notifier]:
    """Every notifier, by name, without secrets."""
    return Page(items=[_shown(row) for row in store.all_notifiers(ctx.conn)])


def remove(ctx: Context, name: str) -> None:
    """Tell nobody there any more, what still waits included. Raises NotifierNotFound."""
    row = _row(ctx, name)
    store.delete_notifier(ctx.conn, row["id"])
    events.emit(ctx, "notifier.removed", row["id"], {"name": name})


def tell(ctx: Context, what: str, alert: Alert) -> None:
    """Put the news of an alert into the outbox, once for every notifier that wants its severity."""
    message = Message(
        what=what,
        title=f"{'Resolved: ' if alert.state == 'resolved' else ''}{alert.title}",
        lines=[f"{alert.kind} {alert.name}, {alert.severity}", f"alert {alert.id}"]
        + ([alert.note] if alert.note else []),
        data=alert.model_dump(mode="json"),
    )
    for row in store.all_notifiers(ctx.conn):
        if alert.severity in row["severities"]:
            _enqueue(ctx, row, message, alert_id=alert.id)


def tell_fired(ctx: Context, firing: Firing) -> None:
    """Put the news of a trigger into the outbox."""
    message = Message(
        what=FIRED,
        title=f"Trigger {firing.trigger} started {firing.pipeline}",
        lines=firing.reasons,
        data=firing.model_dump(mode="json"),
    )
    for row in store.all_notifiers(ctx.conn):
        if "ticket" in row["severities"]:
            _enqueue(ctx, row, message, alert_id=None)


def _enqueue(ctx: Context, row: dict[str, Any], message: Message, *, alert_id: str | None) -> Delivery:
    delivery = Delivery(
        id=new_id("dlv"),
        notifier=row["name"],
        alert_id=alert_id,
        what=message.what,
        state="waiting",
        attempts=0,
        error=None,
        created_at=ctx.now,
        next_at=ctx.now,
        sent_at=None,
    )
    body = message.model_dump(mode="json")
    store.insert(ctx.conn, delivery.model_dump() | {"notifier_id": row["id"], "body": body})
    return delivery


def test(ctx: Context, name: str) -> Delivery:
    """Send a test message soon, the way alerts go. Raises NotifierNotFound."""
    message = Message(
        what=TEST,
        title=f"Test of the notifier {name}",
        lines=[f"{ctx.actor.name} asked for it. Nothing is wrong."],
        data={"by": ctx.actor.name},
    )
    return _enqueue(ctx, _row(ctx, name), message, alert_id=None)


def deliveries(
    ctx: Context,
    *,
    notifier: str | None = None,
    state: DeliveryState | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Delivery]:
    """What was told and what waits, newest first."""
    found = store.listing(ctx.conn, notifier=notifier, state=state, before=cursor, limit=limit + 1)
    return page(found, limit)


def retry(ctx: Context, delivery_id: str) -> Delivery:
    """Try a delivery that was given up once more. Raises DeliveryNotFound, DeliveryNotEnded."""
    found = store.delivery(ctx.conn, delivery_id)
    if found is None:
        raise DeliveryNotFound(f"There is no delivery {delivery_id!r}.", hint="`tidemill notifiers deliveries`")
    if found.state != "failed":
        raise DeliveryNotEnded(f"The delivery {delivery_id} is {found.state}.", hint="It needs no help.")
    changes: dict[str, Any] = {"state": "waiting", "attempts": 0, "next_at": ctx.now}
    store.update(ctx.conn, delivery_id, **changes)
    return found.model_copy(update=changes)


def send_claimed(vault: Vault, row: dict[str, Any], notifier: dict[str, Any]) -> None:
    """Send one message now, outside any transaction. Raises ChannelFailed, SecretUnreadable."""
    message = Message.model_validate(row["body"])
    channels.send(notifier["kind"], notifier["config"], opened(vault, notifier), row["id"], message)


def settle(ctx: Context, row: dict[str, Any], error: str | None, *, final: bool) -> None:
    """Note how an attempt ended: sent, to be tried again, or given up."""
    attempts = row["attempts"] + 1
    if error is None:
        store.update(ctx.conn, row["id"], state="sent", attempts=attempts, error=None, next_at=None, sent_at=utc_now())
        return
    wait = channels.back_off(attempts)
    if final or ctx.now + timedelta(seconds=wait) - row["created_at"] > channels.GIVE_UP:
        store.update(ctx.conn, row["id"], state="failed", attempts=attempts, error=error, next_at=None)
        facts = {"notifier": row["notifier"], "alert_id": row["alert_id"], "attempts": attempts, "error": error}
        events.emit(ctx, "notifier.gave_up", row["id"], facts)
        return
    next_at = utc_now() + timedelta(seconds=wait)
    store.update(ctx.conn, row["id"], attempts=attempts, error=error, next_at=next_at)
