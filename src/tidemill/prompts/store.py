"""Rows of prompt versions and labels."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.prompts.types import LabelChange, PromptVersion

versions = sa.Table(
    "prompt_versions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("messages", Json),
    sa.Column("text", sa.Text),
    sa.Column("variables", Json, nullable=False),
    sa.Column("parameters", Json, nullable=False),
    sa.Column("content_hash", sa.String(80), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("name", "number"),
)

labels = sa.Table(
    "prompt_labels",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("label", sa.String(36), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)

label_changes = sa.Table(
    "prompt_label_changes",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("label", sa.String(36), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("before", sa.Integer),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("changed_by", sa.String(120), nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Index("ix_prompt_label_changes_name_id", "name", "id"),
)


def lock(conn: sa.Connection, what: str) -> None:
    """Lock `what` until the transaction ends, against two writers that number or name the same thing."""
    advisory_lock(conn, what)


def insert_version(conn: sa.Connection, version: PromptVersion) -> None:
    """Insert a prompt version."""
    conn.execute(versions.insert().values(**version.model_dump(exclude={"labels"})))


def version_by_id(conn: sa.Connection, version_id: str) -> PromptVersion | None:
    """Return the prompt version of an id, or None."""
    return _first(conn, sa.select(versions).where(versions.c.id == version_id))


def version_by_number(conn: sa.Connection, name: str, number: int) -> PromptVersion | None:
    """Return the prompt version of a name and number, or None."""
    return _first(conn, sa.select(versions).where(versions.c.name == name, versions.c.number == number))


def get_newest(conn: sa.Connection, name: str) -> PromptVersion | None:
    """Return the newest version of a prompt, or None."""
    return _first(conn, sa.select(versions).where(versions.c.name == name).order_by(versions.c.number.desc()).limit(1))


def get_labelled_number(conn: sa.Connection, name: str, label: str) -> int | None:
    """Return the number of the version a label stands on."""
    return conn.execute(sa.select(labels.c.version).where(labels.c.name == name, labels.c.label == label)).scalar()


def list_versions(conn: sa.Connection, name: str, *, before: str | None, limit: int) -> list[PromptVersion]:
    """Return at most `limit` versions of a prompt with an id below `before`, newest first."""
    query = sa.select(versions).where(versions.c.name == name).order_by(versions.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(versions.c.id < before)
    return _with_labels(conn, conn.execute(query).all())


def list_latest(conn: sa.Connection, *, after: str | None, limit: int) -> list[PromptVersion]:
    """Return at most `limit` prompts' newest versions with a name after `after`, sorted by name."""
    top = sa.select(versions.c.name, sa.func.max(versions.c.number).label("number")).group_by(versions.c.name)
    if after is not None:
        top = top.where(versions.c.name > after)
    newest_ones = top.order_by(versions.c.name).limit(limit).subquery()
    query = sa.select(versions).join(
        newest_ones, sa.and_(versions.c.name == newest_ones.c.name, versions.c.number == newest_ones.c.number)
    )
    return _with_labels(conn, conn.execute(query.order_by(versions.c.name)).all())


def list_names(conn: sa.Connection) -> list[str]:
    """Return the names of all prompts, sorted."""
    return list(conn.execute(sa.select(versions.c.name).distinct().order_by(versions.c.name)).scalars())


def put_label(conn: sa.Connection, change: LabelChange) -> None:
    """Move a label and insert its change."""
    key = (labels.c.name == change.name, labels.c.label == change.label)
    if change.before is None:
        conn.execute(labels.insert().values(name=change.name, label=change.label, version=change.version))
    else:
        conn.execute(labels.update().where(*key).values(version=change.version))
    conn.execute(label_changes.insert().values(**change.model_dump()))


def list_changes(
    conn: sa.Connection, name: str, label: str | None, *, before: str | None, limit: int
) -> list[LabelChange]:
    """Return at most `limit` moves of labels with an id below `before`, newest first."""
    query = sa.select(label_changes).where(label_changes.c.name == name).order_by(label_changes.c.id.desc())
    if label is not None:
        query = query.where(label_changes.c.label == label)
    if before is not None:
        query = query.where(label_changes.c.id < before)
    return [LabelChange.model_validate(row_values(row)) for row in conn.execute(query.limit(limit))]


def _first(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> PromptVersion | None:
    row = conn.execute(query).first()
    return _with_labels(conn, [row])[0] if row is not None else None


def _with_labels(conn: sa.Connection, rows: Sequence[sa.Row[*tuple[Any, ...]]]) -> list[PromptVersion]:
    values = [row_values(row) for row in rows]
    standing: dict[tuple[str, int], list[str]] = {}
    names = sorted({v["name"] for v in values})
    for row in conn.execute(sa.select(labels).where(labels.c.name.in_(names)).order_by(labels.c.label)):
        standing.setdefault((row.name, row.version), []).append(row.label)
    return [PromptVersion.model_validate(v | {"labels": standing.get((v["name"], v["number"]), [])}) for v in values]
