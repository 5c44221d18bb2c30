"""Rows about one user in the main database, and the records of erasures."""

import hashlib
from collections.abc import Collection as Several
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Database, Json, UtcDateTime, metadata, row_values
from tidemill.data.types import SourceRef
from tidemill.feedback.collections.store import collections, items
from tidemill.feedback.store import scores
from tidemill.feedback.types.erasure import Erasure

ERASED = "erased"
"""The reason why an item of a collection is a row no more."""

erasures = sa.Table(
    "trace_erasures",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("user_hash", sa.String(64), nullable=False),
    sa.Column("traces", sa.Integer, nullable=False),
    sa.Column("spans", sa.Integer, nullable=False),
    sa.Column("scores", sa.Integer, nullable=False),
    sa.Column("answers", sa.Integer, nullable=False),
    sa.Column("copies", sa.Integer, nullable=False),
    sa.Column("days", Json, nullable=False),
    sa.Column("datasets", Json, nullable=False),
    sa.Column("models", Json, nullable=False),
    sa.Column("began_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("by", sa.String(120), nullable=False),
    sa.Index("ix_trace_erasures_user_hash", "user_hash"),
)


def user_hash(user: str) -> str:
    """What a record knows of a user."""
    return hashlib.sha256(user.encode()).hexdigest()


def insert(conn: sa.Connection, erasure: Erasure) -> None:
    """Write a record."""
    conn.execute(erasures.insert().values(**erasure.model_dump()))


def finish(conn: sa.Connection, user: str, spans: int, at: datetime, erasure_id: str) -> None:
    """Enter that an erasure is done, and with it every one of the same user that was broken off."""
    conn.execute(erasures.update().where(erasures.c.id == erasure_id).values(spans=spans))
    open_ = sa.and_(erasures.c.user_hash == user_hash(user), erasures.c.finished_at.is_(None))
    conn.execute(erasures.update().where(open_).values(finished_at=at))


def page(conn: sa.Connection, *, user: str | None, unfinished: bool, before: str | None, limit: int) -> list[Erasure]:
    """Records, newest first."""
    query = sa.select(erasures).order_by(erasures.c.id.desc()).limit(limit)
    if user is not None:
        query = query.where(erasures.c.user_hash == user_hash(user))
    if unfinished:
        query = query.where(erasures.c.finished_at.is_(None))
    if before is not None:
        query = query.where(erasures.c.id < before)
    return [Erasure.model_validate(row_values(row)) for row in conn.execute(query)]


def count_scores(conn: sa.Connection, users: Sequence[str], traces: Several[str]) -> int:
    """How many scores `delete_scores` would remove."""
    return len(
        {row[0] for where in _theirs(users, traces) for row in conn.execute(sa.select(scores.c.id).where(where))}
    )


def delete_scores(conn: sa.Connection, users: Sequence[str], traces: Several[str]) -> int:
    """Remove the scores of these traces, and those that these users gave through an application."""
    return sum(conn.execute(scores.delete().where(where)).rowcount for where in _theirs(users, traces))


def _theirs(users: Sequence[str], traces: Several[str]) -> Iterator[sa.ColumnElement[bool]]:
    # Who judges in their own name is one of the team, who may be called like a user.
    gave = sa.and_(scores.c.author.in_(users), scores.c.author != scores.c.recorded_by)
    yield sa.or_(scores.c.user.in_(users), gave)
    ids = sorted(traces)
    for at in range(0, len(ids), 500):
        yield scores.c.trace_id.in_(ids[at : at + 500])


def answers(conn: sa.Connection, users: Sequence[str], traces: Several[str]) -> list[Any]:
    """The items of collections that are theirs and not erased yet: `collection_id`, `seq`, `row`."""
    columns = (items.c.collection_id, items.c.seq, items.c.row)
    fresh = sa.or_(items.c.reason.is_(None), items.c.reason != ERASED)
    ids = sorted(traces)
    wanted = [items.c.user.in_(users), *(items.c.trace_id.in_(ids[at : at + 500]) for at in range(0, len(ids), 500))]
    found = {
        (row.collection_id, row.seq): row
        for where in wanted
        for row in conn.execute(sa.select(*columns).where(where, fresh))
    }
    return [found[key] for key in sorted(found)]


def erase_answers(conn: sa.Connection, found: Sequence[Any]) -> None:
    """Take from items what tells whose they are; their lines stay known, so that new versions leave them out."""
    for row in found:
        where = sa.and_(items.c.collection_id == row.collection_id, items.c.seq == row.seq)
        gone = {"trace_id": "", "span_id": "", "user": None, "response_id": None, "reason": ERASED}
        conn.execute(items.update().where(where).values(**gone))


def erased_lines(conn: sa.Connection, collection_id: str) -> set[int]:
    """The lines of a collection's file that are nobody's any more."""
    query = sa.select(items.c.row).where(items.c.collection_id == collection_id, items.c.reason == ERASED)
    return {row for row in conn.execute(query.where(items.c.row.is_not(None))).scalars()}


def file_of(conn: sa.Connection, collection_id: str) -> tuple[str, str]:
    """A collection's dataset, and the hash of its file as it was made."""
    row = conn.execute(sa.select(collections).where(collections.c.id == collection_id)).one()
    return row.dataset, row.source_hash


def forget_filter(conn: sa.Connection, users: Sequence[str]) -> None:
    """Take the users out of what collections were asked for."""
    for row in conn.execute(sa.select(collections.c.id, collections.c.spec)).all():
        asked = row.spec.get("filter") or {}
        if asked.get("user") in users:
            spec = row.spec | {"filter": asked | {"user": ERASED}}
            conn.execute(collections.update().where(collections.c.id == row.id).values(spec=spec))


def replace_source(conn: sa.Connection, dataset: str, name: str, fresh: str | None) -> None:
    """Let new versions of a dataset take another file for the one of this name, or none."""
    for row in conn.execute(sa.select(collections).where(collections.c.dataset == dataset)).all():
        sources = [SourceRef.model_validate(source) for source in row.sources]
        if not any(source.name == name for source in sources):
            continue
        changed = [s.model_copy(update={"hash": fresh}) if s.name == name else s for s in sources]
        kept = [s.model_dump() for s in changed if s.name != name or fresh is not None]
        conn.execute(collections.update().where(collections.c.id == row.id).values(sources=kept))


def wipe(conn: sa.Connection) -> None:
    """Let SQLite overwrite what this connection deletes."""
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete=ON")


def empty_log(db: Database) -> None:
    """Let SQLite's log hold nothing of before, unless somebody reads just now."""
    if db.is_sqlite:
        raw = db.engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()
