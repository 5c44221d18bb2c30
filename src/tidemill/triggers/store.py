"""The tables of triggers and of their firings."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.triggers.types import Firing, TrafficWindow, Trigger

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

_OWN = {"id", "name", "saved_by", "saved_at"}


@dataclass(frozen=True)
class TriggerRecord:
    """A trigger, and why it last did not fire although its conditions were met."""

    trigger: Trigger
    held_by: str | None


def lock(conn: sa.Connection, name: str) -> None:
    """Hold the advisory lock of this trigger until the transaction ends."""
    advisory_lock(conn, f"trigger {name}")


def put(conn: sa.Connection, trigger: Trigger) -> None:
    """Insert or replace a trigger, and clear `held_by`."""
    values = trigger.model_dump(include=_OWN) | {
        "spec": trigger.model_dump(mode="json", exclude=_OWN),
        "held_by": None,
    }
    updated = conn.execute(triggers.update().where(triggers.c.id == trigger.id).values(**values))
    if updated.rowcount == 0:
        conn.execute(triggers.insert().values(**values))


def by_name(conn: sa.Connection, name: str) -> TriggerRecord | None:
    """Return one trigger, or None."""
    row = conn.execute(sa.select(triggers).where(triggers.c.name == name)).first()
    return _record(row) if row is not None else None


def list_triggers(conn: sa.Connection) -> list[TriggerRecord]:
    """Return every trigger, by name."""
    return [_record(row) for row in conn.execute(sa.select(triggers).order_by(triggers.c.name))]


def _record(row: sa.Row[*tuple[Any, ...]]) -> TriggerRecord:
    trigger = Trigger.model_validate(row.spec | {name: row._mapping[name] for name in _OWN})
    return TriggerRecord(trigger=trigger, held_by=row.held_by)


def put_held_by(conn: sa.Connection, trigger_id: str, held_by: str | None) -> None:
    """Write why a trigger does not fire; None clears it."""
    conn.execute(triggers.update().where(triggers.c.id == trigger_id).values(held_by=held_by))


def delete(conn: sa.Connection, trigger_id: str) -> None:
    """Delete a trigger; its firings stay."""
    conn.execute(triggers.delete().where(triggers.c.id == trigger_id))


def insert_firing(conn: sa.Connection, firing: Firing) -> None:
    """Write a new firing."""
    values = firing.model_dump(exclude={"window"})
    conn.execute(firings.insert().values(**values, window_start=firing.window.start, window_end=firing.window.end))


def update_firing(conn: sa.Connection, firing_id: str, **values: Any) -> None:
    """Write new values of a firing."""
    conn.execute(firings.update().where(firings.c.id == firing_id).values(**values))


def find_firing(conn: sa.Connection, firing_id: str) -> Firing | None:
    """Return one firing, or None."""
    return next(iter(_all(conn, sa.select(firings).where(firings.c.id == firing_id))), None)


def find_last_firing(conn: sa.Connection, trigger_id: str) -> Firing | None:
    """Return the newest firing of a trigger that started a run, or None."""
    conditions = (firings.c.trigger_id == trigger_id, firings.c.error.is_(None))
    return next(iter(_all(conn, sa.select(firings).where(*conditions).order_by(firings.c.id.desc()).limit(1))), None)


def list_firings(conn: sa.Connection, trigger_id: str, *, before: str | None, limit: int) -> list[Firing]:
    """Return firings of a trigger, newest first."""
    query = sa.select(firings).where(firings.c.trigger_id == trigger_id).order_by(firings.c.id.desc()).limit(limit)
    return _all(conn, query if before is None else query.where(firings.c.id < before))


def sum_spent_minutes(conn: sa.Connection, trigger_id: str, since: datetime) -> float:
    """Return the minutes that runs since then took, or are expected to take while they are under way."""
    minutes = sa.func.coalesce(firings.c.spent_minutes, firings.c.expected_minutes)
    query = sa.select(sa.func.coalesce(sa.func.sum(minutes), 0.0))
    conditions = (firings.c.trigger_id == trigger_id, firings.c.at >= since, firings.c.error.is_(None))
    return float(conn.execute(query.where(*conditions)).scalar_one())


def _all(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> list[Firing]:
    return [_firing(row_values(row)) for row in conn.execute(query)]


def _firing(row: dict[str, Any]) -> Firing:
    window = TrafficWindow(start=row.pop("window_start"), end=row.pop("window_end"))
    return Firing.model_validate(row | {"window": window})
