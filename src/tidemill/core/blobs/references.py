"""How a table says that one of its columns names blobs: nothing that is named there is collected."""

from dataclasses import dataclass
from typing import Any

KEY = "blobs"


@dataclass(frozen=True)
class BlobColumn:
    """A column with hashes of blobs in it, as text or anywhere inside JSON."""

    kind: str
    """What the blobs are, in the plural, for people."""
    detail: tuple[str, ...] = ()
    """Columns whose values stand behind the kind."""
    unless: str | None = None
    """A column of the same table: a row where it has a value needs its blobs no more."""


def names_blobs(kind: str, *, detail: tuple[str, ...] = (), unless: str | None = None) -> dict[str, Any]:
    """Return what a column that names blobs has as its `info`."""
    return {KEY: BlobColumn(kind, detail, unless)}
