"""The table of alerts."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.notifications.types import Alert, AlertState

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("severity", sa.String(8), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    # The cause while the alert is not resolved, else null: so the database itself allows one alert per cause.
    sa.Column("standing", sa.String(120), unique=True),
    sa.Column("opened_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("acknowledged_at", UtcDateTime),
    sa.Column("acknowledged_by", sa.String(120)),
    sa.Column("resolved_at", UtcDateTime),
    sa.Column("resolved_by", sa.String(120)),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("ix_alerts_kind_name_id", "kind", "name", "id"),
)


def lock(conn: sa.Connection, cause: str) -> None:
    """Hold the advisory lock of this cause until the transaction ends."""
    advisory_lock(conn, f"alert {cause}")


def insert(conn: sa.Connection, alert: Alert, cause: str) -> None:
    """Write a new alert."""
    conn.execute(alerts.insert().values(**alert.model_dump(), standing=cause))


def update(conn: sa.Connection, alert_id: str, **values: Any) -> None:
    """Write new values of an alert."""
    conn.execute(alerts.update().where(alerts.c.id == alert_id).values(**values))


def by_id(conn: sa.Connection, alert_id: str) -> Alert | None:
    """Return one alert, or None."""
    return next(iter(_all(conn, sa.select(alerts).where(alerts.c.id == alert_id))), None)


def find_unresolved(conn: sa.Connection, cause: str) -> Alert | None:
    """Return the alert of a cause that is not resolved, or None."""
    return next(iter(_all(conn, sa.select(alerts).where(alerts.c.standing == cause))), None)


def list_unresolved(conn: sa.Connection, kind: str | None = None, name: str | None = None) -> list[Alert]:
    """Return the alerts that are not resolved, oldest first."""
    query = sa.select(alerts).where(alerts.c.standing.is_not(None)).order_by(alerts.c.id)
    if kind is not None:
        query = query.where(alerts.c.kind == kind)
    if name is not None:
        query = query.where(alerts.c.name == name)
    return _all(conn, query)


def list_alerts(
    conn: sa.Connection,
    *,
    state: AlertState | None,
    name: str | None,
    since: datetime | None,
    before: str | None,
    limit: int,
) -> list[Alert]:
    """Return alerts, newest first."""
    query = sa.select(alerts).order_by(alerts.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(alerts.c.state == state)
    if name is not None:
        query = query.where(alerts.c.name == name)
    if since is not None:
        query = query.where(alerts.c.opened_at >= since)
    if before is not None:
        query = query.where(alerts.c.id < before)
    return _all(conn, query)


def _all(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> list[Alert]:
    rows = (row_values(row) for row in conn.execute(query))
    return [Alert.model_validate({k: v for k, v in row.items() if k != "standing"}) for row in rows]
