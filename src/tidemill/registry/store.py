"""Rows of models, versions, evidence and alias changes."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.blobs.references import names_blobs
from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.registry.types import AliasChange, Model, ModelEvidence, ModelVersion

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    # Counts on when a version is deleted, so that a number never means two things.
    sa.Column("versions", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
)

versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("model_id", sa.String(40), sa.ForeignKey("models.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column(
        "files",
        Json,
        nullable=False,
        info=names_blobs("files of models", detail=("kind", "format"), unless="files_removed_at"),
    ),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("content_hash", sa.String(80), nullable=False),
    sa.Column("chat_template", sa.Text),
    sa.Column("chat_template_hash", sa.String(80)),
    sa.Column("facts", Json, nullable=False),
    sa.Column("parents", Json, nullable=False),
    sa.Column("licence", sa.String(200)),
    sa.Column("card", Json, nullable=False),
    sa.Column("servable", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("files_removed_at", UtcDateTime),
    sa.Column("files_removed_why", sa.Text),
    sa.UniqueConstraint("model_id", "number"),
    sa.UniqueConstraint("model_id", "content_hash"),
)

evidence = sa.Table(
    "model_evidence",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("version_id", sa.String(40), sa.ForeignKey("model_versions.id"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("hop", sa.String(200), nullable=False),
    sa.Column("against", sa.String(40)),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("report", Json, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("by", sa.String(120), nullable=False),
    sa.Index("ix_model_evidence_version_id", "version_id"),
)

alias_changes = sa.Table(
    "model_alias_changes",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("model_id", sa.String(40), sa.ForeignKey("models.id"), nullable=False),
    sa.Column("alias", sa.String(63), nullable=False),
    sa.Column("version_id", sa.String(40), sa.ForeignKey("model_versions.id")),
    # 1, 2, 3 ... within the alias: two moves at once cannot both be the next one.
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("by", sa.String(120), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.UniqueConstraint("model_id", "alias", "sequence"),
    sa.Index("ix_model_alias_changes_version_id", "version_id"),
)


def insert_model(conn: sa.Connection, model: Model) -> None:
    """Insert a model without versions. Raises IntegrityError for a name that is there."""
    conn.execute(models.insert().values(**model.model_dump()))


def lock_model(conn: sa.Connection, name: str) -> None:
    """Lock a model's name until the transaction ends: only one writer adds versions or moves aliases."""
    advisory_lock(conn, f"model {name}")


def model_by_name(conn: sa.Connection, name: str) -> Model | None:
    """Return the model of a name, or None."""
    row = conn.execute(sa.select(models).where(models.c.name == name)).first()
    return Model.model_validate(row_values(row)) if row is not None else None


def list_models(conn: sa.Connection, *, after: str | None, limit: int) -> list[Model]:
    """Return at most `limit` models with a name after `after`, sorted by name."""
    query = sa.select(models).order_by(models.c.name).limit(limit)
    if after is not None:
        query = query.where(models.c.name > after)
    return [Model.model_validate(row_values(row)) for row in conn.execute(query)]


def list_names(conn: sa.Connection) -> list[str]:
    """Return the names of all models, sorted."""
    return list(conn.execute(sa.select(models.c.name).order_by(models.c.name)).scalars())


def insert_version(conn: sa.Connection, version: ModelVersion, template: str | None) -> None:
    """Insert a version and update the model's counter."""
    values = version.model_dump(mode="python", exclude={"model"}) | {"chat_template": template}
    conn.execute(versions.insert().values(**values))
    conn.execute(models.update().where(models.c.id == version.model_id).values(versions=version.number))


def version_by_id(conn: sa.Connection, version_id: str) -> ModelVersion | None:
    """Return the model version of an id, or None."""
    return _first(conn, versions.c.id == version_id)


def version_by_number(conn: sa.Connection, model_id: str, number: int) -> ModelVersion | None:
    """Return the model version of a number, or None."""
    return _first(conn, versions.c.model_id == model_id, versions.c.number == number)


def version_by_hash(conn: sa.Connection, model_id: str, content_hash: str) -> ModelVersion | None:
    """Return the version of a model with this content hash, or None."""
    return _first(conn, versions.c.model_id == model_id, versions.c.content_hash == content_hash)


def get_newest(conn: sa.Connection, model_id: str) -> ModelVersion | None:
    """Return the model's newest version, or None."""
    return _first(conn, versions.c.model_id == model_id)


def list_versions(conn: sa.Connection, model_id: str, *, before: str | None, limit: int) -> list[ModelVersion]:
    """Return versions of one model, newest first."""
    query = _select().where(versions.c.model_id == model_id).order_by(versions.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(versions.c.id < before)
    return [_version(row) for row in conn.execute(query)]


def get_template(conn: sa.Connection, version_id: str) -> str | None:
    """Return the chat template that a version carries."""
    return conn.execute(sa.select(versions.c.chat_template).where(versions.c.id == version_id)).scalar()


def set_servable(conn: sa.Connection, version_id: str, servable: bool) -> None:
    """Set whether a version may be served, as its newest evidence says."""
    conn.execute(versions.update().where(versions.c.id == version_id).values(servable=servable))


def delete_version(conn: sa.Connection, version_id: str) -> None:
    """Remove a version with its evidence."""
    conn.execute(evidence.delete().where(evidence.c.version_id == version_id))
    conn.execute(versions.delete().where(versions.c.id == version_id))


def set_files_removed(conn: sa.Connection, version_id: str, at: datetime, why: str) -> bool:
    """Record that a version's files go. Return False, changing nothing, when that was recorded before."""
    present = (versions.c.id == version_id) & versions.c.files_removed_at.is_(None)
    statement = versions.update().where(present).values(files_removed_at=at, files_removed_why=why)
    return conn.execute(statement).rowcount == 1


def set_files_present(conn: sa.Connection, version_id: str) -> None:
    """Record that a version's files are there again."""
    statement = versions.update().where(versions.c.id == version_id)
    conn.execute(statement.values(files_removed_at=None, files_removed_why=None))


def list_files_removed(conn: sa.Connection, version_ids: list[str]) -> dict[str, tuple[datetime, str]]:
    """Return when and why the files of these versions were removed, by id; a version that has them is left out."""
    columns = (versions.c.id, versions.c.files_removed_at, versions.c.files_removed_why)
    removed = versions.c.id.in_(version_ids) & versions.c.files_removed_at.is_not(None)
    rows = conn.execute(sa.select(*columns).where(removed))
    return {row.id: (row.files_removed_at, row.files_removed_why) for row in rows}


def list_ids_with_files(conn: sa.Connection) -> set[str]:
    """Return the ids of all versions whose files are in the blob store."""
    return set(conn.execute(sa.select(versions.c.id).where(versions.c.files_removed_at.is_(None))).scalars())


def insert_evidence(conn: sa.Connection, item: ModelEvidence) -> None:
    """Insert a piece of evidence about a version."""
    conn.execute(evidence.insert().values(**item.model_dump()))


def list_evidence(conn: sa.Connection, version_id: str) -> list[ModelEvidence]:
    """Return all evidence about a version, newest first."""
    query = sa.select(evidence).where(evidence.c.version_id == version_id).order_by(evidence.c.id.desc())
    return [ModelEvidence.model_validate(row_values(row)) for row in conn.execute(query)]


def insert_change(conn: sa.Connection, model_id: str, change: AliasChange, sequence: int) -> None:
    """Write where an alias points from now on."""
    values = change.model_dump(exclude={"model", "number"}) | {"model_id": model_id, "sequence": sequence}
    conn.execute(alias_changes.insert().values(**values))


def next_sequence(conn: sa.Connection, model_id: str, alias: str) -> int:
    """Return the number of an alias's next change."""
    query = sa.select(sa.func.max(alias_changes.c.sequence)).where(
        alias_changes.c.model_id == model_id, alias_changes.c.alias == alias
    )
    return (conn.execute(query).scalar() or 0) + 1


def list_changes(conn: sa.Connection, model_id: str, alias: str) -> list[AliasChange]:
    """Return the moves of an alias, newest first."""
    query = _changes().where(alias_changes.c.model_id == model_id, alias_changes.c.alias == alias)
    return [_change(row) for row in conn.execute(query.order_by(alias_changes.c.sequence.desc()))]


def change_at(conn: sa.Connection, model_id: str, alias: str, at: datetime | None) -> AliasChange | None:
    """Return the move of an alias in force at a moment; now when `at` is None; None before the first."""
    query = _changes().where(alias_changes.c.model_id == model_id, alias_changes.c.alias == alias)
    if at is not None:
        query = query.where(alias_changes.c.at <= at)
    row = conn.execute(query.order_by(alias_changes.c.sequence.desc()).limit(1)).first()
    return _change(row) if row is not None else None


def current_aliases(conn: sa.Connection, model_id: str) -> list[AliasChange]:
    """Return where each alias of a model points now, by name."""
    newest_ones = (
        sa.select(alias_changes.c.alias, sa.func.max(alias_changes.c.sequence).label("sequence"))
        .where(alias_changes.c.model_id == model_id)
        .group_by(alias_changes.c.alias)
        .subquery()
    )
    query = (
        _changes()
        .join(
            newest_ones,
            sa.and_(alias_changes.c.alias == newest_ones.c.alias, alias_changes.c.sequence == newest_ones.c.sequence),
        )
        .where(alias_changes.c.model_id == model_id, alias_changes.c.version_id.is_not(None))
        .order_by(alias_changes.c.alias)
    )
    return [_change(row) for row in conn.execute(query)]


def aliases_ever_on(conn: sa.Connection, version_id: str) -> list[str]:
    """Return every alias that points or pointed at a version."""
    query = sa.select(alias_changes.c.alias).where(alias_changes.c.version_id == version_id).distinct()
    return sorted(conn.execute(query).scalars())


def _select() -> sa.Select[Any]:
    columns = [c for c in versions.c if c.name != "chat_template"]
    return sa.select(*columns, models.c.name.label("model")).join(models, models.c.id == versions.c.model_id)


def _first(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> ModelVersion | None:
    row = conn.execute(_select().where(*where).order_by(versions.c.number.desc()).limit(1)).first()
    return _version(row) if row is not None else None


def _version(row: sa.Row[Any]) -> ModelVersion:
    return ModelVersion.model_validate(row_values(row))


def _changes() -> sa.Select[Any]:
    columns = [c for c in alias_changes.c if c.name not in ("model_id", "sequence")]
    return (
        sa.select(*columns, models.c.name.label("model"), versions.c.number.label("number"))
        .join(models, models.c.id == alias_changes.c.model_id)
        .outerjoin(versions, versions.c.id == alias_changes.c.version_id)
    )


def _change(row: sa.Row[Any]) -> AliasChange:
    return AliasChange.model_validate(row_values(row))
