"""Rows of objectives and indicators, the minutes that were counted for them, and whose turn it is."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata, row_values

ObjectiveKind = Literal["slo", "kpi"]

objectives = sa.Table(
    "objectives",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("saved_by", sa.String(120), nullable=False),
    sa.Column("saved_at", UtcDateTime, nullable=False),
    sa.Column("checked_at", UtcDateTime),
    sa.Column("verdict", sa.String(16)),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("counted_until", UtcDateTime),
    sa.Column("counted_position", sa.Text),
    sa.UniqueConstraint("kind", "name"),
)

minutes = sa.Table(
    "objective_minutes",
    metadata,
    sa.Column("objective_id", sa.String(40), primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("bad", sa.BigInteger, nullable=False),
)

turns = sa.Table(
    "monitor_turns",
    metadata,
    sa.Column("key", sa.String(120), primary_key=True),
    sa.Column("next_at", UtcDateTime, nullable=False),
)

AT_ONCE = 500
"""Values in one IN list."""

_UNCOUNTED = {"counted_until": None, "counted_position": None}

Row = dict[str, Any]


def put(conn: sa.Connection, row: Row) -> None:
    """Write an objective, over the one of the same id."""
    known = conn.execute(objectives.update().where(objectives.c.id == row["id"]).values(**row))
    if known.rowcount == 0:
        conn.execute(objectives.insert().values(**row))


def by_name(conn: sa.Connection, kind: ObjectiveKind, name: str) -> Row | None:
    """One objective."""
    where = (objectives.c.kind == kind, objectives.c.name == name)
    row = conn.execute(sa.select(objectives).where(*where)).first()
    return row_values(row) if row is not None else None


def listing(conn: sa.Connection, kind: ObjectiveKind, *, after: str | None = None, limit: int = 1000) -> list[Row]:
    """Objectives by name."""
    query = sa.select(objectives).where(objectives.c.kind == kind).order_by(objectives.c.name).limit(limit)
    if after is not None:
        query = query.where(objectives.c.name > after)
    return [row_values(row) for row in conn.execute(query)]


def delete(conn: sa.Connection, objective_id: str) -> None:
    """Remove an objective and what was counted for it."""
    forget_counts(conn, objective_id)
    conn.execute(objectives.delete().where(objectives.c.id == objective_id))


def checked(conn: sa.Connection, objective_id: str, *, at: datetime, verdict: str, summary: str) -> bool:
    """Note what a check said; False when a later check has spoken already, or the objective is gone."""
    fresh = sa.or_(objectives.c.checked_at.is_(None), objectives.c.checked_at <= at)
    done = conn.execute(
        objectives.update()
        .where(objectives.c.id == objective_id, fresh)
        .values(checked_at=at, verdict=verdict, summary=summary)
    )
    return done.rowcount == 1


def sum_minutes(conn: sa.Connection, objective_id: str, since: int, until: int) -> tuple[int, int]:
    """Total and bad from minute `since` up to, not including, minute `until` (minutes since 1970)."""
    where = (minutes.c.objective_id == objective_id, minutes.c.minute >= since, minutes.c.minute < until)
    sums = (sa.func.coalesce(sa.func.sum(column), 0) for column in (minutes.c.total, minutes.c.bad))
    total, bad = conn.execute(sa.select(*sums).where(*where)).one()
    return int(total), int(bad)


def kept_minutes(conn: sa.Connection, objective_id: str, since: int, until: int) -> dict[int, tuple[int, int]]:
    """Total and bad of each minute that was counted, from minute `since` up to, not including, `until`."""
    where = (minutes.c.objective_id == objective_id, minutes.c.minute >= since, minutes.c.minute < until)
    return {row.minute: (row.total, row.bad) for row in conn.execute(sa.select(minutes).where(*where))}


def settle_minutes(
    conn: sa.Connection,
    objective_id: str,
    counted: Sequence[tuple[int, int, int]],
    *,
    before: datetime | None,
    until: datetime,
    position: str,
    oldest: int,
) -> bool:
    """Keep (minute, total, bad) in place of what was kept of these minutes, forget those before `oldest`.

    All spans up to `position` that began before `until` are in them. False, and nothing is kept, when another server
    has counted since `before`.
    """
    at = objectives.c.counted_until
    unmoved = at.is_(None) if before is None else at == before
    here = (objectives.c.id == objective_id, unmoved)
    moved = conn.execute(objectives.update().where(*here).values(counted_until=until, counted_position=position))
    if moved.rowcount == 0:
        return False
    mine = minutes.c.objective_id == objective_id
    again = [entry[0] for entry in counted if before is not None and entry[0] < before.timestamp() // 60]
    for start in range(0, len(again), AT_ONCE):
        conn.execute(minutes.delete().where(mine, minutes.c.minute.in_(again[start : start + AT_ONCE])))
    rows = [{"objective_id": objective_id, "minute": m, "total": t, "bad": b} for m, t, b in counted]
    if rows:
        conn.execute(minutes.insert(), rows)
    conn.execute(minutes.delete().where(mine, minutes.c.minute < oldest))
    return True


def forget_counts(conn: sa.Connection, objective_id: str) -> None:
    """Count again from the start."""
    conn.execute(minutes.delete().where(minutes.c.objective_id == objective_id))
    conn.execute(objectives.update().where(objectives.c.id == objective_id).values(**_UNCOUNTED))


def take_turn(conn: sa.Connection, key: str, now: datetime, next_at: datetime) -> bool:
    """Whether it is time for `key` and this caller does it: of any number of servers only one gets True."""
    done = conn.execute(turns.update().where(turns.c.key == key, turns.c.next_at <= now).values(next_at=next_at))
    if done.rowcount == 1:
        return True
    if conn.execute(sa.select(turns.c.key).where(turns.c.key == key)).first() is not None:
        return False
    try:
        with conn.begin_nested():
            conn.execute(turns.insert().values(key=key, next_at=next_at))
    except sa.exc.IntegrityError:
        return False
    return True


def next_turns(conn: sa.Connection) -> dict[str, datetime]:
    """When each thing is looked at next."""
    return {row.key: row.next_at for row in conn.execute(sa.select(turns))}


def forget_turn(conn: sa.Connection, key: str) -> None:
    """Look at it at once, if it is still there."""
    conn.execute(turns.delete().where(turns.c.key == key))
