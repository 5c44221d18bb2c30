"""What a day of spans offers, whichever database it is kept in."""

import random
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Any, Protocol

Row = tuple[Any, ...]
MAX_STAMP = (1 << 31) - 1


def new_stamp() -> int:
    """Return a number drawn by chance, so that none of a day that was removed is met again."""
    return random.randint(1, MAX_STAMP)


def parse_day(name: str, pattern: str) -> date | None:
    """Return the day that a stored name stands for; None for a name that is no date, which somebody else made."""
    try:
        return datetime.strptime(name, pattern).date()
    except ValueError:
        return None


class DayReader(Protocol):
    """One snapshot of one day. SQL is written once, with `?` for a value and the tables of `schema`."""

    day: date

    @property
    def stamp(self) -> int:
        """What changes when strings of the day are redacted, and when the day is made again.

        While it is the same, a number stands for the string it stood for, whichever process stored it.
        """
        ...

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""
        ...

    def search(self, text: str, below: int, limit: int) -> Iterable[int]:
        """Return ids below `below` of spans with all words of `text`, newest first: `limit` or more if there are."""
        ...

    def with_words(self, text: str, ids: Sequence[int]) -> set[int]:
        """Return those of these spans that have all words of `text`."""
        ...


class DayWriter(DayReader, Protocol):
    """One writing transaction on one day. Nobody else writes to the day meanwhile."""

    words_by_block: bool
    """Whether words are indexed by block, in the column `blocks.words`; else by span, in the table `search`."""

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows."""
        ...

    def execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        """Execute one statement for each row."""
        ...

    def renew_stamp(self) -> None:
        """Change the stamp, so that nobody uses the numbers of strings that were read before."""
        ...

    def write_block(self, number: int, data: bytes, texts: Sequence[tuple[int, str]]) -> None:
        """Store a block and index the texts of its spans, given with their ids."""
        ...


class DayStore(Protocol):
    """All days of one database."""

    def list_days(self) -> list[date]:
        """Return the days there are, oldest first."""
        ...

    def read(self, day: date, *, upgrade: bool = True) -> AbstractContextManager[DayReader | None]:
        """Open a snapshot of a day; None when there is no such day.

        A day of an older layout is read as it is, and upgraded soon unless `upgrade` is false.
        """
        ...

    def write(self, day: date) -> AbstractContextManager[DayWriter]:
        """Open a transaction on a day, created or upgraded first: committed at the end, or nothing of it is kept."""
        ...

    def update(self, day: date) -> AbstractContextManager[DayWriter | None]:
        """Open a transaction as `write` does; None when there is no such day: one that was removed stays away."""
        ...

    def remove(self, day: date) -> int:
        """Remove a day with all that is in it; return the bytes it took."""
        ...

    def reclaim(self, day: date) -> None:
        """Rewrite a day after rows were deleted, so that no byte of them stays. Raises TracesUnavailable."""
        ...

    def size(self, day: date) -> int:
        """Return the bytes that a day takes."""
        ...

    def close(self) -> None:
        """Close all connections that are held."""
        ...
