"""The table of leases: when each thing is checked next, and which of several servers checks it."""

from datetime import datetime

import sqlalchemy as sa

from tidemill.core.db import UtcDateTime, metadata

leases = sa.Table(
    "monitor_leases",
    metadata,
    sa.Column("key", sa.String(120), primary_key=True),
    sa.Column("next_at", UtcDateTime, nullable=False),
)


def acquire_lease(conn: sa.Connection, key: str, now: datetime, next_at: datetime) -> bool:
    """Acquire the lease of `key` until `next_at`. Return False when it is not due; of several servers one gets True."""
    updated = conn.execute(leases.update().where(leases.c.key == key, leases.c.next_at <= now).values(next_at=next_at))
    if updated.rowcount == 1:
        return True
    if conn.execute(sa.select(leases.c.key).where(leases.c.key == key)).first() is not None:
        return False
    try:
        with conn.begin_nested():
            conn.execute(leases.insert().values(key=key, next_at=next_at))
    except sa.exc.IntegrityError:
        return False
    return True


def next_times(conn: sa.Connection) -> dict[str, datetime]:
    """Return when each key is due next."""
    return {row.key: row.next_at for row in conn.execute(sa.select(leases))}


def delete_lease(conn: sa.Connection, key: str) -> None:
    """Make a key due at once."""
    conn.execute(leases.delete().where(leases.c.key == key))
