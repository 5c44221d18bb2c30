"""What the main database holds of one user, and the table of erasures."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from tidemill.core.db import Database, Json, UtcDateTime, metadata, row_values
from tidemill.data.types import SourceRef
from tidemill.feedback.collections.store import collections, items
from tidemill.feedback.store import scores
from tidemill.feedback.types.erasure import Erasure

ERASED = "erased"
"""The reason of an item of a collection whose user was erased, and what stands for the user's name."""
_KEYS = {"user", "users", "user_id", "user.id", "end_user", "enduser.id", "author", "recorded_by"}
"""Under which keys a document says whose something is. Elsewhere the same word may name a model or a prompt."""

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


class AnswerRow(NamedTuple):
    """One answer in a collection."""

    collection_id: str
    seq: int
    row: int | None
    """Line of the collection's file; None in quarantine."""


class CollectionFile(NamedTuple):
    """The file of a collection; lines of erased users are empty."""

    dataset: str
    hash: str


def user_hash(user: str) -> str:
    """Return the SHA-256 of a user's name, by which records know the user."""
    return hashlib.sha256(user.encode()).hexdigest()


def insert(conn: sa.Connection, erasure: Erasure) -> None:
    """Insert a record."""
    conn.execute(erasures.insert().values(**erasure.model_dump()))


def finish(conn: sa.Connection, user: str, spans: int, at: datetime, erasure_id: str) -> None:
    """Mark an erasure as finished, and with it every unfinished one of the same user."""
    conn.execute(erasures.update().where(erasures.c.id == erasure_id).values(spans=spans))
    unfinished = sa.and_(erasures.c.user_hash == user_hash(user), erasures.c.finished_at.is_(None))
    conn.execute(erasures.update().where(unfinished).values(finished_at=at))


def list_page(
    conn: sa.Connection, *, user: str | None, unfinished: bool, before: str | None, limit: int | None
) -> list[Erasure]:
    """Return records, newest first, all of them without a limit."""
    query = sa.select(erasures).order_by(erasures.c.id.desc()).limit(limit)
    if user is not None:
        query = query.where(erasures.c.user_hash == user_hash(user))
    if unfinished:
        query = query.where(erasures.c.finished_at.is_(None))
    if before is not None:
        query = query.where(erasures.c.id < before)
    return [Erasure.model_validate(row_values(row)) for row in conn.execute(query)]


def count_scores(conn: sa.Connection, users: Sequence[str], traces: Collection[str]) -> int:
    """Return how many scores `delete_scores` would delete."""
    return len(
        {row[0] for where in _of_users(users, traces) for row in conn.execute(sa.select(scores.c.id).where(where))}
    )


def delete_scores(conn: sa.Connection, users: Sequence[str], traces: Collection[str]) -> int:
    """Delete the scores of these traces, and those that these users gave through an application; return how many."""
    return sum(conn.execute(scores.delete().where(where)).rowcount for where in _of_users(users, traces))


def _of_users(users: Sequence[str], traces: Collection[str]) -> Iterator[sa.ColumnElement[bool]]:
    # Who judges in their own name is one of the team, who may be called like a user.
    gave = sa.and_(scores.c.author.in_(users), scores.c.author != scores.c.recorded_by)
    yield sa.or_(scores.c.user.in_(users), gave)
    ids = sorted(traces)
    for at in range(0, len(ids), 500):
        yield scores.c.trace_id.in_(ids[at : at + 500])


def list_answers(conn: sa.Connection, users: Sequence[str], traces: Collection[str]) -> list[AnswerRow]:
    """Return the answers in collections that are of these users or traces and not erased yet."""
    columns = (items.c.collection_id, items.c.seq, items.c.row)
    not_erased = sa.or_(items.c.reason.is_(None), items.c.reason != ERASED)
    ids = sorted(traces)
    conditions = [
        items.c.user.in_(users),
        *(items.c.trace_id.in_(ids[at : at + 500]) for at in range(0, len(ids), 500)),
    ]
    by_key = {
        (row.collection_id, row.seq): AnswerRow(*row)
        for where in conditions
        for row in conn.execute(sa.select(*columns).where(where, not_erased))
    }
    return [by_key[key] for key in sorted(by_key)]


def erase_answers(conn: sa.Connection, answers: Sequence[AnswerRow]) -> None:
    """Redact whose these answers are; their lines stay, so that new versions leave them out."""
    for answer in answers:
        where = sa.and_(items.c.collection_id == answer.collection_id, items.c.seq == answer.seq)
        values = {"trace_id": "", "span_id": "", "user": None, "response_id": None, "reason": ERASED}
        conn.execute(items.update().where(where).values(**values))


def list_erased_lines(conn: sa.Connection, collection_id: str) -> set[int]:
    """Return the lines of a collection's file whose users were erased."""
    query = sa.select(items.c.row).where(items.c.collection_id == collection_id, items.c.reason == ERASED)
    return {row for row in conn.execute(query.where(items.c.row.is_not(None))).scalars()}


def get_source_file(conn: sa.Connection, collection_id: str) -> CollectionFile:
    """Return the file of a collection."""
    row = conn.execute(sa.select(collections).where(collections.c.id == collection_id)).one()
    return CollectionFile(row.dataset, row.source_hash)


def replace_file(conn: sa.Connection, collection_id: str, new_hash: str) -> None:
    """Let a collection have another file, whose lines have the same numbers."""
    conn.execute(collections.update().where(collections.c.id == collection_id).values(source_hash=new_hash))


def list_erased_collections(conn: sa.Connection) -> list[str]:
    """Return the collections with lines of erased users."""
    query = sa.select(items.c.collection_id).where(items.c.reason == ERASED).distinct()
    return list(conn.execute(query).scalars())


def uses_file(conn: sa.Connection, file_hash: str) -> bool:
    """Return whether a collection has this file, or builds on it."""
    own = sa.select(collections.c.id).where(collections.c.source_hash == file_hash).limit(1)
    source = sa.select(collections.c.id).where(sa.cast(collections.c.sources, sa.Text).contains(file_hash)).limit(1)
    return conn.execute(own).first() is not None or conn.execute(source).first() is not None


def replace_source(conn: sa.Connection, dataset: str, name: str, new_hash: str | None) -> None:
    """Replace the file of this name in the sources of a dataset's collections, or remove it."""
    for row in conn.execute(sa.select(collections).where(collections.c.dataset == dataset)).all():
        sources = [SourceRef.model_validate(source) for source in row.sources]
        if not any(source.name == name for source in sources):
            continue
        changed = [s.model_copy(update={"hash": new_hash}) if s.name == name else s for s in sources]
        remaining = [s.model_dump() for s in changed if s.name != name or new_hash is not None]
        conn.execute(collections.update().where(collections.c.id == row.id).values(sources=remaining))


def redact_documents(conn: sa.Connection, names: Sequence[str]) -> int:
    """Replace these users' names in every JSON column of every table; return how many documents changed.

    All tables are gone through, so that one which is added later is not forgotten.
    """
    changed = 0
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, sa.JSON):
                changed += _redact_column(conn, table, column, names)
    return changed


def _redact_column(conn: sa.Connection, table: sa.Table, column: "sa.Column[Any]", names: Sequence[str]) -> int:
    text = sa.cast(column, sa.Text)
    mentions = sa.or_(*(text.contains(spelling, autoescape=True) for spelling in _spellings(names)))
    keys = list(table.primary_key.columns)
    changed = 0
    for row in conn.execute(sa.select(*keys, column.label("document")).where(mentions)).all():
        redacted = _redact(row.document, set(names))
        if redacted != row.document:
            identity = sa.and_(*(key == value for key, value in zip(keys, row, strict=False)))
            conn.execute(table.update().where(identity).values({column: redacted}))
            changed += 1
    return changed


def _spellings(names: Sequence[str]) -> Iterator[str]:
    """Yield the names as JSON has them: with characters beyond ASCII as they are, and escaped."""
    for name in names:
        yield from {json.dumps(name), json.dumps(name, ensure_ascii=False)}


def _redact(value: Any, names: set[str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {inner: _redact(item, names, inner) for inner, item in value.items()}
    if isinstance(value, list):
        return [_redact(item, names, key) for item in value]
    return ERASED if key in _KEYS and isinstance(value, str) and value in names else value


def truncate_log(db: Database) -> None:
    """Truncate SQLite's log, unless somebody reads just now."""
    if db.is_sqlite:
        raw = db.engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()
