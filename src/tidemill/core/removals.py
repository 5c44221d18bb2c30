"""The record of what was removed to free space: written before a file goes, so that none vanishes without a word."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tidemill.core.db import UtcDateTime, metadata, row_values
from tidemill.core.wire import Instant, Value

removals = sa.Table(
    "file_removals",
    metadata,
    sa.Column("name", sa.String(300), primary_key=True),
    sa.Column("kind", sa.String(80), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String(120)),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.String(120), nullable=False),
    sa.Column("scheduled_at", UtcDateTime, nullable=False),
    sa.Column("put_before", UtcDateTime, nullable=False),
    sa.Column("removed_at", UtcDateTime),
    sa.Index("ix_file_removals_removed_at", "removed_at"),
    sa.Index("ix_file_removals_owner", "owner"),
)


class Removal(Value):
    """A file or folder that was removed to free space, or is about to be."""

    name: str
    """`sha256:...` for a blob, else the path in the home."""
    kind: str
    size: int
    owner: str | None = None
    """The job or run that it belonged to."""
    reason: str
    by: str
    scheduled_at: Instant
    put_before: Instant
    """A blob that was put or claimed later stays."""
    removed_at: Instant | None = None


def schedule(conn: sa.Connection, removal: Removal) -> None:
    """Record that something is about to be removed; an earlier record of the same name is replaced."""
    build = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    values = removal.model_dump()
    replaced = {name: value for name, value in values.items() if name != "name"}
    conn.execute(build(removals).values(**values).on_conflict_do_update(index_elements=["name"], set_=replaced))


def finish(conn: sa.Connection, name: str, now: datetime) -> bool:
    """Record that it is gone. Return False when that was recorded, or cancelled, before."""
    pending = (removals.c.name == name) & removals.c.removed_at.is_(None)
    return conn.execute(removals.update().where(pending).values(removed_at=now)).rowcount == 1


def cancel(conn: sa.Connection, name: str) -> None:
    """Forget a removal that was scheduled and must not be done."""
    conn.execute(removals.delete().where(removals.c.name == name, removals.c.removed_at.is_(None)))


def get(conn: sa.Connection, name: str) -> Removal | None:
    """Return the record of a name, or None."""
    row = conn.execute(sa.select(removals).where(removals.c.name == name)).first()
    return _removal(row) if row is not None else None


def list_by_names(conn: sa.Connection, names: list[str]) -> list[Removal]:
    """Return the records of these names."""
    return [_removal(row) for row in conn.execute(sa.select(removals).where(removals.c.name.in_(names)))]


def find_by_owner(conn: sa.Connection, owners: list[str]) -> Removal | None:
    """Return the record of something that belonged to one of these jobs or runs, or None."""
    query = sa.select(removals).where(removals.c.owner.in_(owners)).order_by(removals.c.scheduled_at.desc())
    row = conn.execute(query.limit(1)).first()
    return _removal(row) if row is not None else None


def list_scheduled(conn: sa.Connection, limit: int) -> list[Removal]:
    """Return what is to be removed and was not yet, oldest first."""
    query = sa.select(removals).where(removals.c.removed_at.is_(None))
    query = query.order_by(removals.c.scheduled_at, removals.c.name)
    return [_removal(row) for row in conn.execute(query.limit(limit))]


def list_removed(conn: sa.Connection, *, skip: int, limit: int) -> list[Removal]:
    """Return what was removed, the latest first."""
    query = sa.select(removals).where(removals.c.removed_at.is_not(None))
    query = query.order_by(removals.c.removed_at.desc(), removals.c.name).offset(skip)
    return [_removal(row) for row in conn.execute(query.limit(limit))]


def sum_removed(conn: sa.Connection) -> tuple[int, int]:
    """Return how many files were removed, and their bytes."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(removals.c.size), 0))
    count, total = conn.execute(query.where(removals.c.removed_at.is_not(None))).one()
    return int(count), int(total)


def _removal(row: sa.Row[tuple[object, ...]]) -> Removal:
    return Removal.model_validate(row_values(row))
