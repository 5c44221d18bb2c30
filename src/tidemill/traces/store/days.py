"""What a day of spans offers, whichever database it is kept in."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tidemill.traces.store.runs import Directories

Row = tuple[Any, ...]


class Look(Protocol):
    """One snapshot of one day. SQL is written once, with `?` for a value and the tables of `schema`."""

    day: date
    directories: "Directories"
    """What is known of the runs of this store."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        ...

    def found(self, text: str, below: int, limit: int) -> Iterable[int]:
        """Ids below `below` of spans with all words of `text`, newest first: `limit` or more if there are."""
        ...

    def having(self, text: str, ids: Sequence[int]) -> set[int]:
        """Those of these spans that have all words of `text`."""
        ...


class Change(Look, Protocol):
    """One writing transaction on one day. Nobody else writes to the day meanwhile."""

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows."""
        ...

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """One statement for each row."""
        ...

    def close_block(self, number: int, data: bytes, texts: Sequence[tuple[int, str]]) -> None:
        """Store a block and index the texts of its spans, given with their ids."""
        ...


class Days(Protocol):
    """All days of one store."""

    def listing(self) -> list[date]:
        """The days there are, oldest first."""
        ...

    def look(self, day: date) -> AbstractContextManager[Look | None]:
        """A snapshot of a day; None when there is no such day."""
        ...

    def change(self, day: date) -> AbstractContextManager[Change]:
        """A writing transaction on a day, made when it is missing: committed at the end, or nothing of it is kept."""
        ...

    def erase(self, day: date) -> int:
        """Remove a day with all that is in it; returns the bytes it took."""
        ...

    def size(self, day: date) -> int:
        """Bytes that a day takes."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...
