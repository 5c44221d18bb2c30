"""Notifiers: the channels through which alerts are sent. Their secrets are sealed."""

import json
import secrets as randomness
from typing import Any
from urllib.parse import urlsplit

from tidemill.core import events
from tidemill.core.actors import SYSTEM
from tidemill.core.db import advisory_lock
from tidemill.core.errors import SecretUnreadable, nearest
from tidemill.core.kernel import Context, Kernel
from tidemill.core.vault import Vault
from tidemill.core.wire import Page, new_id
from tidemill.notifications.service import deliveries
from tidemill.notifications.store import outbox as store
from tidemill.notifications.store.outbox import NotifierRecord
from tidemill.notifications.types import (
    Delivery,
    NotificationMessage,
    Notifier,
    NotifierNotFound,
    NotifierPut,
    NotifierSaved,
)

TEST = "notifier.test"


def put(ctx: Context, name: str, body: NotifierPut) -> NotifierSaved:
    """Make or change a notifier. Secrets that are left out of a change stay as they are.

    The result has the signing key when this call made one.
    """
    _lock(ctx, name)
    existing = store.find_notifier(ctx.conn, name=name)
    notifier_id = existing.id if existing is not None else new_id("ntf")
    secrets = {key: value.get_secret_value() for key in ("url", "secret") if (value := getattr(body, key)) is not None}
    if (
        existing is not None
        and existing.kind == body.kind
        and "secret" not in secrets
        and "secret" in secret_names(existing)
    ):
        secrets["secret"] = open_secrets(ctx.kernel.get(Vault), existing)["secret"]
    new_secret = None
    if body.kind == "webhook" and "secret" not in secrets:
        secrets["secret"] = new_secret = "whsec_" + randomness.token_urlsafe(32)
    record = NotifierRecord(
        id=notifier_id,
        name=name,
        kind=body.kind,
        target=_target(body),
        config=_config(body),
        secrets=_seal(ctx.kernel.get(Vault), notifier_id, secrets),
        severities=sorted(set(body.severities)),
        saved_by=ctx.actor.name,
        saved_at=ctx.now,
    )
    store.put_notifier(ctx.conn, record)
    notifier = _without_secrets(record)
    events.emit(ctx, "notifier.saved", notifier.id, {"name": name, "kind": body.kind, "target": notifier.target})
    return NotifierSaved(notifier=notifier, secret=new_secret)


def _lock(ctx: Context, name: str) -> None:
    """Let no other transaction make, change or remove the notifier of a name until this one ends."""
    advisory_lock(ctx.conn, f"notifier {name}")


def _seal(vault: Vault, notifier_id: str, secrets: dict[str, str]) -> dict[str, Any]:
    return {"names": sorted(secrets), "sealed": vault.seal(json.dumps(secrets), f"notifier/{notifier_id}")}


def secret_names(record: NotifierRecord) -> list[str]:
    """Return the names of a notifier's stored secrets."""
    return list(record.secrets["names"]) if "sealed" in record.secrets else list(record.secrets)


def open_secrets(vault: Vault, record: NotifierRecord) -> dict[str, str]:
    """Return the secrets of a notifier as plain text. Raises SecretUnreadable."""
    if "sealed" not in record.secrets:  # written by a version that did not seal, a moment ago
        return record.secrets
    try:
        secrets: dict[str, str] = json.loads(vault.open(record.secrets["sealed"], f"notifier/{record.id}"))
    except SecretUnreadable as error:
        text = error.message.replace(f"notifier/{record.id}", f"the notifier {record.name}")
        hint = f"{error.hint} For this notifier: tidemill notifiers {record.kind} {record.name} --help"
        raise SecretUnreadable(text, hint=hint, details=error.details) from error
    return secrets


def seal_all(kernel: Kernel) -> list[SecretUnreadable]:
    """Seal secrets that are plain or sealed with an older key. Return an error for each that cannot be sealed."""
    vault = kernel.get(Vault)
    with kernel.read(SYSTEM) as ctx:
        if all(_is_sealed_with_newest_key(vault, record) for record in store.list_notifiers(ctx.conn)):
            return []
    errors = []
    with kernel.write(SYSTEM) as ctx:
        store.enable_secure_delete(ctx.conn)
        for name in [record.name for record in store.list_notifiers(ctx.conn)]:
            _lock(ctx, name)
            record = store.find_notifier(ctx.conn, name=name)
            if record is None or _is_sealed_with_newest_key(vault, record):
                continue
            try:
                store.put_secrets(ctx.conn, record.id, _seal(vault, record.id, open_secrets(vault, record)))
            except SecretUnreadable as error:
                errors.append(error)
    return errors


def _is_sealed_with_newest_key(vault: Vault, record: NotifierRecord) -> bool:
    return "sealed" in record.secrets and vault.is_newest(record.secrets["sealed"])


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


def _without_secrets(record: NotifierRecord) -> Notifier:
    return Notifier(
        id=record.id,
        name=record.name,
        kind=record.kind,
        target=record.target,
        config=record.config,
        signed="secret" in secret_names(record),
        severities=record.severities,
        saved_by=record.saved_by,
        saved_at=record.saved_at,
    )


def get(ctx: Context, name: str) -> Notifier:
    """Return one notifier, without its secrets. Raises NotifierNotFound."""
    return _without_secrets(_record(ctx, name))


def _record(ctx: Context, name: str) -> NotifierRecord:
    record = store.find_notifier(ctx.conn, name=name)
    if record is None:
        suggestions = nearest(name, [existing.name for existing in store.list_notifiers(ctx.conn)])
        hint = (
            f"Did you mean {', '.join(suggestions)}?"
            if suggestions
            else "`tidemill notifiers list` shows what there is."
        )
        raise NotifierNotFound(f"There is no notifier {name!r}.", hint=hint)
    return record


def list_notifiers(ctx: Context) -> Page[Notifier]:
    """Return every notifier by name, without secrets."""
    return Page(items=[_without_secrets(record) for record in store.list_notifiers(ctx.conn)])


def remove(ctx: Context, name: str) -> None:
    """Remove a notifier and its waiting deliveries. Raises NotifierNotFound."""
    _lock(ctx, name)
    record = _record(ctx, name)
    store.delete_notifier(ctx.conn, record.id)
    events.emit(ctx, "notifier.removed", record.id, {"name": name})


def send_test(ctx: Context, name: str) -> Delivery:
    """Put a test message into the outbox and return its delivery. Raises NotifierNotFound."""
    message = NotificationMessage(
        what=TEST,
        title=f"Test of the notifier {name}",
        lines=[f"{ctx.actor.name} asked for it. Nothing is wrong."],
        data={"by": ctx.actor.name},
    )
    return deliveries.enqueue(ctx, _record(ctx, name), message)
