"""Rows of triggers and of each time that one fired."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.monitors.types import Firing, TrafficWindow

triggers = sa.Table(
    "triggers",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("saved_by", sa.String(120), nullable=False),
    sa.Column("saved_at", UtcDateTime, nullable=False),
    sa.Column("held_by", sa.Text),
)

firings = sa.Table(
    "trigger_firings",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("trigger_id", sa.String(40), nullable=False),
    sa.Column("trigger", sa.String(63), nullable=False),
    sa.Column("pipeline", sa.String(63), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("by", sa.String(120), nullable=False),
    sa.Column("reasons", Json, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("window_start", UtcDateTime, nullable=False),
    sa.Column("window_end", UtcDateTime, nullable=False),
    sa.Column("expected_minutes", sa.Float, nullable=False),
    sa.Column("spent_minutes", sa.Float),
    sa.Column("run_id", sa.String(80)),
    sa.Column("error", sa.Text),
    sa.Index("ix_trigger_firings_trigger_id_id", "trigger_id", "id"),
)

Row = dict[str, Any]


def lock(conn: sa.Connection, name: str) -> None:
    """Let nobody else decide about this trigger until the transaction ends."""
    advisory_lock(conn, f"trigger {name}")


def put(conn: sa.Connection, row: Row) -> None:
    """Write a trigger, over the one of the same id."""
    known = conn.execute(triggers.update().where(triggers.c.id == row["id"]).values(**row))
    if known.rowcount == 0:
        conn.execute(triggers.insert().values(**row))


def by_name(conn: sa.Connection, name: str) -> Row | None:
    """One trigger."""
    row = conn.execute(sa.select(triggers).where(triggers.c.name == name)).first()
    return row_values(row) if row is not None else None


def listing(conn: sa.Connection) -> list[Row]:
    """Every trigger, by name."""
    return [row_values(row) for row in conn.execute(sa.select(triggers).order_by(triggers.c.name))]


def update(conn: sa.Connection, trigger_id: str, **values: Any) -> None:
    """Change a trigger."""
    conn.execute(triggers.update().where(triggers.c.id == trigger_id).values(**values))


def delete(conn: sa.Connection, trigger_id: str) -> None:
    """Remove a trigger. Its firings stay."""
    conn.execute(triggers.delete().where(triggers.c.id == trigger_id))


def insert_firing(conn: sa.Connection, firing: Firing) -> None:
    """Write that a trigger fired."""
    values = firing.model_dump(exclude={"window"})
    conn.execute(firings.insert().values(**values, window_start=firing.window.start, window_end=firing.window.end))


def update_firing(conn: sa.Connection, firing_id: str, **values: Any) -> None:
    """Change a firing."""
    conn.execute(firings.update().where(firings.c.id == firing_id).values(**values))


def firing(conn: sa.Connection, firing_id: str) -> Firing | None:
    """One firing."""
    return next(iter(_all(conn, sa.select(firings).where(firings.c.id == firing_id))), None)


def last(conn: sa.Connection, trigger_id: str) -> Firing | None:
    """The newest firing of a trigger that started something."""
    good = (firings.c.trigger_id == trigger_id, firings.c.error.is_(None))
    return next(iter(_all(conn, sa.select(firings).where(*good).order_by(firings.c.id.desc()).limit(1))), None)


def firings_of(conn: sa.Connection, trigger_id: str, *, before: str | None, limit: int) -> list[Firing]:
    """Firings of a trigger, newest first."""
    query = sa.select(firings).where(firings.c.trigger_id == trigger_id).order_by(firings.c.id.desc()).limit(limit)
    return _all(conn, query if before is None else query.where(firings.c.id < before))


def spent(conn: sa.Connection, trigger_id: str, since: datetime) -> float:
    """Minutes that runs since then took, or are expected to take while they are under way."""
    minutes = sa.func.coalesce(firings.c.spent_minutes, firings.c.expected_minutes)
    query = sa.select(sa.func.coalesce(sa.func.sum(minutes), 0.0))
    good = (firings.c.trigger_id == trigger_id, firings.c.at >= since, firings.c.error.is_(None))
    return float(conn.execute(query.where(*good)).scalar_one())


def _all(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> list[Firing]:
    found = []
    for row in map(row_values, conn.execute(query)):
        window = TrafficWindow(start=row.pop("window_start"), end=row.pop("window_end"))
        found.append(Firing.model_validate(row | {"window": window}))
    return found
