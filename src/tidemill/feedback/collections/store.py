"""The tables of collections and of the answers in them."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from tidemill.core.blobs.references import names_blobs
from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.data.types import SourceRef
from tidemill.feedback.types.collections import Collection, CollectionItem

collections = sa.Table(
    "trace_collections",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("dataset", sa.String(63), nullable=False),
    sa.Column("version_id", sa.String(40), nullable=False),
    sa.Column("job_id", sa.String(40)),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("quarantined", Json, nullable=False),
    sa.Column("source_hash", sa.String(80), nullable=False, info=names_blobs("answers in collections")),
    sa.Column("sources", Json, nullable=False, info=names_blobs("answers in collections")),
    sa.Column("spec", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Index("ix_trace_collections_dataset_id", "dataset", "id"),
)

items = sa.Table(
    "trace_collection_items",
    metadata,
    sa.Column("collection_id", sa.String(40), sa.ForeignKey("trace_collections.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("trace_id", sa.String(32), nullable=False),
    sa.Column("span_id", sa.String(16), nullable=False),
    sa.Column("response_id", sa.Text),
    sa.Column("user", sa.Text),
    sa.Column("reason", sa.String(12)),
    sa.Column("row", sa.Integer),
    sa.Column("corrected", sa.Boolean, nullable=False),
    sa.Index("ix_trace_collection_items_trace_id", "trace_id"),
)


def insert(
    conn: sa.Connection, collection: Collection, sources: Sequence[SourceRef], collected: Sequence[CollectionItem]
) -> None:
    """Insert a collection with its items, and the files that its dataset version is made of."""
    values = collection.model_dump() | {"spec": collection.spec.model_dump(mode="json", exclude_none=True)}
    conn.execute(collections.insert().values(**values, sources=[source.model_dump() for source in sources]))
    rows = [item.model_dump() | {"collection_id": collection.id} for item in collected]
    conn.execute(items.insert(), rows)


def get(conn: sa.Connection, collection_id: str) -> Collection | None:
    """Return a collection; None when there is none of this id."""
    row = conn.execute(sa.select(collections).where(collections.c.id == collection_id)).first()
    return _collection(row) if row is not None else None


def list_page(
    conn: sa.Connection, *, dataset: str | None, trace_id: str | None, before: str | None, limit: int
) -> list[Collection]:
    """Return collections, newest first; those of one dataset, or with an answer of one trace."""
    query = sa.select(collections).order_by(collections.c.id.desc()).limit(limit)
    if dataset is not None:
        query = query.where(collections.c.dataset == dataset)
    if trace_id is not None:
        query = query.where(collections.c.id.in_(sa.select(items.c.collection_id).where(items.c.trace_id == trace_id)))
    if before is not None:
        query = query.where(collections.c.id < before)
    return [_collection(row) for row in conn.execute(query)]


def _collection(row: sa.Row[*tuple[Any, ...]]) -> Collection:
    return Collection.model_validate({k: v for k, v in row_values(row).items() if k != "sources"})


def list_newest(conn: sa.Connection, dataset: str) -> Iterator[tuple[Collection, list[SourceRef]]]:
    """Yield the last 50 collections of a dataset, newest first, each with the files its version is made of."""
    query = sa.select(collections).where(collections.c.dataset == dataset).order_by(collections.c.id.desc())
    for row in conn.execute(query.limit(50)):
        yield _collection(row), [SourceRef.model_validate(source) for source in row.sources]


def list_items(
    conn: sa.Connection, collection_id: str, *, quarantined: bool | None, after: int, limit: int
) -> list[CollectionItem]:
    """Return the items of a collection in order; only rows, or only what is in quarantine."""
    query = sa.select(items).where(items.c.collection_id == collection_id, items.c.seq > after)
    if quarantined is not None:
        query = query.where(items.c.reason.is_not(None) if quarantined else items.c.reason.is_(None))
    rows = conn.execute(query.order_by(items.c.seq).limit(limit))
    return [
        CollectionItem.model_validate({k: v for k, v in row_values(row).items() if k != "collection_id"})
        for row in rows
    ]
