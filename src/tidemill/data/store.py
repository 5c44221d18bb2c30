"""Rows of datasets and their versions."""

from typing import Any

import sqlalchemy as sa

from tidemill.core.blobs.references import names_blobs
from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.data.types import Catalogue, Dataset, DatasetVersion, ImportPlan, VersionSummary

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("row_schema", sa.String(20), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("licence", sa.Text),
    sa.Column("purpose", sa.Text),
    sa.Column("retention_days", sa.Integer),
    sa.Column("latest", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
)

versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("dataset_id", sa.String(40), sa.ForeignKey("datasets.id"), nullable=False),
    sa.Column("dataset", sa.String(63), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("row_schema", sa.String(20), nullable=False),
    sa.Column("content_hash", sa.String(80), nullable=False),
    sa.Column("plan_hash", sa.String(80), nullable=False),
    # Text, not JSON: JSONB would lose the order of the splits.
    sa.Column("plan", sa.Text, nullable=False, info=names_blobs("source files of datasets")),
    sa.Column("sources", Json, nullable=False, info=names_blobs("source files of datasets")),
    sa.Column("splits", Json, nullable=False, info=names_blobs("rows of datasets")),
    sa.Column("steps", Json, nullable=False),
    sa.Column("leaks", Json, nullable=False),
    sa.Column("statistics", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("job_id", sa.String(40)),
    sa.UniqueConstraint("dataset_id", "version"),
    sa.UniqueConstraint("dataset_id", "content_hash"),
    sa.Index("ix_dataset_versions_dataset_id_plan_hash", "dataset_id", "plan_hash"),
)


def lock(conn: sa.Connection, what: str) -> None:
    """Lock `what` until the transaction ends, against two writers that number or name the same thing."""
    advisory_lock(conn, what)


def insert_dataset(conn: sa.Connection, dataset: Dataset) -> None:
    """Insert a dataset with its catalogue entry; its versions follow."""
    values = dataset.model_dump(exclude={"catalogue"}) | dataset.catalogue.model_dump()
    conn.execute(datasets.insert().values(**values))


def update_dataset(conn: sa.Connection, dataset: Dataset) -> None:
    """Write the catalogue entry and the number of the newest version."""
    values = dataset.catalogue.model_dump() | {"latest": dataset.latest}
    conn.execute(datasets.update().where(datasets.c.id == dataset.id).values(**values))


def dataset_by_name(conn: sa.Connection, name: str) -> Dataset | None:
    """Return the dataset of this name, or None."""
    row = conn.execute(sa.select(datasets).where(datasets.c.name == name)).first()
    return _dataset(row_values(row)) if row is not None else None


def list_datasets(conn: sa.Connection, *, after: str | None, limit: int) -> list[Dataset]:
    """Return datasets in the order of their names."""
    query = sa.select(datasets).order_by(datasets.c.name).limit(limit)
    if after is not None:
        query = query.where(datasets.c.name > after)
    return [_dataset(row_values(row)) for row in conn.execute(query)]


def list_names(conn: sa.Connection) -> list[str]:
    """Return the names of all datasets, sorted."""
    return list(conn.execute(sa.select(datasets.c.name).order_by(datasets.c.name)).scalars())


def insert_version(conn: sa.Connection, version: DatasetVersion) -> None:
    """Insert a dataset version."""
    values = version.model_dump(mode="json", exclude={"plan", "created_at"})
    conn.execute(versions.insert().values(**values, plan=version.plan.model_dump_json(), created_at=version.created_at))


def version_by_id(conn: sa.Connection, version_id: str) -> DatasetVersion | None:
    """Return the dataset version of an id, or None."""
    return _first(conn, versions.c.id == version_id)


def version_by_number(conn: sa.Connection, name: str, number: int | None) -> DatasetVersion | None:
    """Return the version of a dataset's name and number, the newest without a number; None when there is none."""
    where = [versions.c.dataset == name]
    if number is not None:
        where.append(versions.c.version == number)
    return _first(conn, *where)


def version_by_plan(conn: sa.Connection, dataset_id: str, plan_hash: str) -> DatasetVersion | None:
    """Return the version made by the same plan, or None."""
    return _first(conn, versions.c.dataset_id == dataset_id, versions.c.plan_hash == plan_hash)


def version_by_content(conn: sa.Connection, dataset_id: str, content_hash: str) -> DatasetVersion | None:
    """Return the version with this content hash, or None."""
    return _first(conn, versions.c.dataset_id == dataset_id, versions.c.content_hash == content_hash)


def list_versions(conn: sa.Connection, name: str, *, before: str | None, limit: int) -> list[VersionSummary]:
    """Return at most `limit` versions of a dataset with an id below `before`, newest first."""
    columns = [versions.c[field] for field in VersionSummary.model_fields]
    query = sa.select(*columns).where(versions.c.dataset == name).order_by(versions.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(versions.c.id < before)
    return [VersionSummary.model_validate(row_values(row)) for row in conn.execute(query)]


def _dataset(values: dict[str, Any]) -> Dataset:
    catalogue = Catalogue.model_validate({field: values.pop(field) for field in Catalogue.model_fields})
    return Dataset.model_validate(values | {"catalogue": catalogue})


def _first(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> DatasetVersion | None:
    query = sa.select(versions).where(*where).order_by(versions.c.version.desc()).limit(1)
    row = conn.execute(query).first()
    if row is None:
        return None
    values = row_values(row)
    return DatasetVersion.model_validate(values | {"plan": ImportPlan.model_validate_json(values["plan"])})
