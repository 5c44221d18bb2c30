"""The tables of notifiers and of the messages to them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.notifications.types import Delivery, DeliveryState, NotificationMessage, NotifierKind, Severity

notifiers = sa.Table(
    "notifiers",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("config", Json, nullable=False),
    sa.Column("secrets", Json, nullable=False),
    sa.Column("severities", Json, nullable=False),
    sa.Column("saved_by", sa.String(120), nullable=False),
    sa.Column("saved_at", UtcDateTime, nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("notifier_id", sa.String(40), nullable=False),
    sa.Column("notifier", sa.String(63), nullable=False),
    sa.Column("alert_id", sa.String(40)),
    sa.Column("what", sa.String(80), nullable=False),
    sa.Column("body", Json, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("next_at", UtcDateTime),
    sa.Column("sent_at", UtcDateTime),
    sa.Index("ix_deliveries_state_next_at", "state", "next_at"),
    sa.Index("ix_deliveries_notifier_id_id", "notifier_id", "id"),
)

_DELIVERY_COLUMNS = [deliveries.c[name] for name in Delivery.model_fields]


@dataclass(frozen=True)
class NotifierRecord:
    """A stored notifier, with its sealed secrets."""

    id: str
    name: str
    kind: NotifierKind
    target: str
    config: dict[str, Any]
    secrets: dict[str, Any]
    severities: list[Severity]
    saved_by: str
    saved_at: datetime


@dataclass(frozen=True)
class ClaimedDelivery:
    """A message that only one worker may send, until its claim ends."""

    id: str
    notifier_id: str
    notifier: str
    alert_id: str | None
    message: NotificationMessage
    attempts: int
    created_at: datetime
    next_at: datetime


def put_notifier(conn: sa.Connection, record: NotifierRecord) -> None:
    """Insert or replace a notifier."""
    values = vars(record)
    updated = conn.execute(notifiers.update().where(notifiers.c.id == record.id).values(**values))
    if updated.rowcount == 0:
        conn.execute(notifiers.insert().values(**values))


def put_secrets(conn: sa.Connection, notifier_id: str, secrets: dict[str, Any]) -> None:
    """Write the sealed secrets of a notifier."""
    conn.execute(notifiers.update().where(notifiers.c.id == notifier_id).values(secrets=secrets))


def enable_secure_delete(conn: sa.Connection) -> None:
    """Make SQLite overwrite deleted content with zeros from now on, on this connection."""
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")


def find_notifier(
    conn: sa.Connection, *, name: str | None = None, notifier_id: str | None = None
) -> NotifierRecord | None:
    """Return one notifier with its secrets, or None."""
    where = notifiers.c.name == name if name is not None else notifiers.c.id == notifier_id
    row = conn.execute(sa.select(notifiers).where(where)).first()
    return NotifierRecord(**row_values(row)) if row is not None else None


def list_notifiers(conn: sa.Connection) -> list[NotifierRecord]:
    """Return every notifier with its secrets, by name."""
    rows = conn.execute(sa.select(notifiers).order_by(notifiers.c.name))
    return [NotifierRecord(**row_values(row)) for row in rows]


def delete_notifier(conn: sa.Connection, notifier_id: str) -> None:
    """Delete a notifier and what waits to be sent to it."""
    waiting = (deliveries.c.notifier_id == notifier_id, deliveries.c.state == "waiting")
    conn.execute(deliveries.delete().where(*waiting))
    conn.execute(notifiers.delete().where(notifiers.c.id == notifier_id))


def insert(conn: sa.Connection, delivery: Delivery, notifier_id: str, message: NotificationMessage) -> None:
    """Write a message into the outbox."""
    body = message.model_dump(mode="json")
    conn.execute(deliveries.insert().values(**delivery.model_dump(), notifier_id=notifier_id, body=body))


def has_due(conn: sa.Connection, now: datetime, skip: list[str]) -> bool:
    """Return whether `claim` would return a message."""
    return conn.execute(_due(now, skip).limit(1)).first() is not None


def next_due(conn: sa.Connection) -> datetime | None:
    """Return when the first waiting message is due; None when none waits."""
    query = sa.select(sa.func.min(deliveries.c.next_at)).where(deliveries.c.state == "waiting")
    due: datetime | None = conn.execute(query).scalar_one()
    return due


def _due(now: datetime, skip: list[str]) -> sa.Select[*tuple[Any, ...]]:
    query = sa.select(deliveries).where(deliveries.c.state == "waiting", deliveries.c.next_at <= now)
    return query.where(deliveries.c.notifier_id.not_in(skip)) if skip else query


def claim(conn: sa.Connection, now: datetime, until: datetime, skip: list[str], limit: int) -> list[ClaimedDelivery]:
    """Return due messages, each claimed by this caller until `until`; none of the notifiers in `skip`.

    The message of a worker that dies becomes due again at that moment, which is why a message may arrive twice.
    """
    due = _due(now, skip).order_by(deliveries.c.next_at, deliveries.c.id).limit(limit)
    due = due.with_for_update(skip_locked=True)
    claimed = [
        ClaimedDelivery(
            id=row["id"],
            notifier_id=row["notifier_id"],
            notifier=row["notifier"],
            alert_id=row["alert_id"],
            message=NotificationMessage.model_validate(row["body"]),
            attempts=row["attempts"],
            created_at=row["created_at"],
            next_at=row["next_at"],
        )
        for row in map(row_values, conn.execute(due))
    ]
    if claimed:
        ids = [delivery.id for delivery in claimed]
        conn.execute(deliveries.update().where(deliveries.c.id.in_(ids)).values(next_at=until))
    return claimed


def update(conn: sa.Connection, delivery_id: str, **values: Any) -> bool:
    """Write new values of a message; False when it is gone."""
    return conn.execute(deliveries.update().where(deliveries.c.id == delivery_id).values(**values)).rowcount == 1


def find_delivery(conn: sa.Connection, delivery_id: str) -> Delivery | None:
    """Return one message, or None."""
    row = conn.execute(sa.select(*_DELIVERY_COLUMNS).where(deliveries.c.id == delivery_id)).first()
    return Delivery.model_validate(row_values(row)) if row is not None else None


def list_deliveries(
    conn: sa.Connection,
    *,
    notifier: str | None,
    state: DeliveryState | None,
    alert_id: str | None = None,
    before: str | None = None,
    limit: int | None = 50,
) -> list[Delivery]:
    """Return messages, newest first, all of them with a limit of None."""
    query = sa.select(*_DELIVERY_COLUMNS).order_by(deliveries.c.id.desc()).limit(limit)
    for column, value in ((deliveries.c.notifier, notifier), (deliveries.c.state, state)):
        if value is not None:
            query = query.where(column == value)
    if alert_id is not None:
        query = query.where(deliveries.c.alert_id == alert_id)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    return [Delivery.model_validate(row_values(row)) for row in conn.execute(query)]


def delete_sent(conn: sa.Connection, before: datetime) -> int:
    """Delete messages that were sent before then, and return how many."""
    old = (deliveries.c.state == "sent", deliveries.c.sent_at < before)
    return conn.execute(deliveries.delete().where(*old)).rowcount
