"""Rows of notifiers and of what they have told or still have to."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.monitors.types import Delivery, DeliveryState

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

_SHOWN = [deliveries.c[name] for name in Delivery.model_fields]

Row = dict[str, Any]


def put_notifier(conn: sa.Connection, row: Row) -> None:
    """Write a notifier, over the one of the same id."""
    known = conn.execute(notifiers.update().where(notifiers.c.id == row["id"]).values(**row))
    if known.rowcount == 0:
        conn.execute(notifiers.insert().values(**row))


def leave_no_remains(conn: sa.Connection) -> None:
    """Have SQLite wipe what this connection overwrites from now on, rather than leave it in free space."""
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")


def notifier(conn: sa.Connection, *, name: str | None = None, notifier_id: str | None = None) -> Row | None:
    """One notifier with its secrets."""
    where = notifiers.c.name == name if name is not None else notifiers.c.id == notifier_id
    row = conn.execute(sa.select(notifiers).where(where)).first()
    return row_values(row) if row is not None else None


def all_notifiers(conn: sa.Connection) -> list[Row]:
    """Every notifier with its secrets, by name."""
    return [row_values(row) for row in conn.execute(sa.select(notifiers).order_by(notifiers.c.name))]


def delete_notifier(conn: sa.Connection, notifier_id: str) -> None:
    """Remove a notifier and what it has not told yet."""
    waiting = (deliveries.c.notifier_id == notifier_id, deliveries.c.state == "waiting")
    conn.execute(deliveries.delete().where(*waiting))
    conn.execute(notifiers.delete().where(notifiers.c.id == notifier_id))


def insert(conn: sa.Connection, row: Row) -> None:
    """Put a message into the outbox."""
    conn.execute(deliveries.insert().values(**row))


def any_due(conn: sa.Connection, now: datetime, skip: list[str]) -> bool:
    """Whether a message waits that `claim` would give."""
    return conn.execute(_due(now, skip).limit(1)).first() is not None


def _due(now: datetime, skip: list[str]) -> sa.Select[*tuple[Any, ...]]:
    query = sa.select(deliveries).where(deliveries.c.state == "waiting", deliveries.c.next_at <= now)
    return query.where(deliveries.c.notifier_id.not_in(skip)) if skip else query


def claim(conn: sa.Connection, now: datetime, until: datetime, skip: list[str], limit: int) -> list[Row]:
    """Messages whose time has come, each given to this caller alone until `until`; none of the notifiers in `skip`.

    A sender that dies gives its message back by that moment, which is why a message may arrive twice.
    """
    due = _due(now, skip).order_by(deliveries.c.next_at, deliveries.c.id).limit(limit)
    due = due.with_for_update(skip_locked=True)
    found = [row_values(row) for row in conn.execute(due)]
    ids = [row["id"] for row in found]
    if ids:
        conn.execute(deliveries.update().where(deliveries.c.id.in_(ids)).values(next_at=until))
    return found


def update(conn: sa.Connection, delivery_id: str, **values: Any) -> bool:
    """Change a message; False when it is gone."""
    return conn.execute(deliveries.update().where(deliveries.c.id == delivery_id).values(**values)).rowcount == 1


def delivery(conn: sa.Connection, delivery_id: str) -> Delivery | None:
    """One message."""
    row = conn.execute(sa.select(*_SHOWN).where(deliveries.c.id == delivery_id)).first()
    return Delivery.model_validate(row_values(row)) if row is not None else None


def listing(
    conn: sa.Connection,
    *,
    notifier: str | None,
    state: DeliveryState | None,
    alert_id: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Delivery]:
    """Messages, newest first."""
    query = sa.select(*_SHOWN).order_by(deliveries.c.id.desc()).limit(limit)
    for column, value in ((deliveries.c.notifier, notifier), (deliveries.c.state, state)):
        if value is not None:
            query = query.where(column == value)
    if alert_id is not None:
        query = query.where(deliveries.c.alert_id == alert_id)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    return [Delivery.model_validate(row_values(row)) for row in conn.execute(query)]


def forget_old(conn: sa.Connection, now: datetime, keep: timedelta) -> int:
    """Remove messages that were sent so long ago."""
    old = (deliveries.c.state == "sent", deliveries.c.sent_at < now - keep)
    return conn.execute(deliveries.delete().where(*old)).rowcount
