"""Which blobs the tables name: every column says so itself (`core.blobs.references`)."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from tidemill.core.blobs.references import KEY, BlobColumn
from tidemill.core.db import metadata

_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class Reference(NamedTuple):
    """A row that names a blob."""

    hash: str
    kind: str
    row_id: str


def find_hashes(value: Any) -> set[str]:
    """Return the hashes in a text or anywhere inside a JSON value."""
    return set(_HASH.findall(value if isinstance(value, str) else json.dumps(value)))


def list_references(conn: sa.Connection) -> Iterator[Reference]:
    """Yield every mention of a blob by a row that needs it."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            declared: BlobColumn | None = column.info.get(KEY)
            if declared is not None:
                yield from _list_of_column(conn, table, column, declared)


def _list_of_column(
    conn: sa.Connection, table: sa.Table, column: sa.Column[Any], declared: BlobColumn
) -> Iterator[Reference]:
    row_id = next(iter(table.primary_key.columns))
    details = [table.c[name] for name in declared.detail]
    query = sa.select(row_id.label("row_id"), sa.cast(column, sa.Text).label("text"), *details)
    query = query.where(sa.cast(column, sa.Text).like("%sha256:%"))
    if declared.unless is not None:
        query = query.where(table.c[declared.unless].is_(None))
    for row in conn.execute(query.execution_options(yield_per=200)):
        values = row._mapping
        detail = ", ".join(str(values[name]) for name in declared.detail)
        kind = f"{declared.kind}: {detail}" if detail else declared.kind
        for digest in set(_HASH.findall(row.text)):
            yield Reference(digest, kind, str(row.row_id))
