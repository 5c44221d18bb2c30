"""Days as schemas of a PostgreSQL database: `traces_20261121`. Rows come by COPY; retention is a schema dropped."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql as names

from tidemill.core.errors import TidemillError
from tidemill.traces.store import keys, words
from tidemill.traces.store.blocks import Block
from tidemill.traces.store.days import Row
from tidemill.traces.store.runs import Directories
from tidemill.traces.store.schema import OLD_INDEXES, POSTGRES, RUNS_POSTGRES, VERSION
from tidemill.traces.types import SpanRecord, TracesFull, TracesUnavailable

log = logging.getLogger("tidemill.traces")

LOCK = 848_418
"""Two-part advisory locks with this number let one process write to a day at a time."""


def translated(error: psycopg.Error) -> TidemillError:
    """The error as one of ours."""
    text = (str(error) or type(error).__name__).strip()
    if isinstance(error, psycopg.errors.DiskFull):
        return TracesFull(f"The database cannot write spans: {text}.", hint="Free some disk space; then send it again.")
    return TracesUnavailable(f"The database does not take spans: {text}.", hint="Send it again a little later.")


def _marked(sql: str) -> str:
    return sql.replace("?", "%s")


class PostgresLook:
    """A snapshot of one schema."""

    def __init__(
        self, day: date, connection: "psycopg.Connection[Any]", directories: Directories, *, searchable: bool
    ) -> None:
        self.day = day
        self.connection = connection
        self.directories = directories
        self.searchable = searchable

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        return self.connection.execute(_marked(sql), values).fetchall()

    def found(self, text: str, below: int, limit: int) -> Iterable[int]:
        """Ids of spans with all words of `text`, newest first: first the blocks that may have them, then the spans."""
        wanted = set(words.words(text))
        numbers = sorted(words.numbers(text))
        sql = "SELECT id, data FROM blocks WHERE words @> ?::int[] AND id <= ? ORDER BY id DESC"
        newest = self.rows("SELECT block FROM spans WHERE id < ? ORDER BY id DESC LIMIT 1", (below,))
        if not newest:
            return
        with self.connection.cursor(name="found") as cursor:
            cursor.itersize = 8
            for number, data in cursor.execute(_marked(sql), (numbers, newest[0][0])):
                yield from self._inside(number, data, wanted, below)

    def having(self, text: str, ids: Sequence[int]) -> set[int]:
        """Those of these spans that have all words of `text`."""
        wanted, found = set(words.words(text)), set[int]()
        sql = """SELECT id, data FROM blocks WHERE words @> ?::int[]
            AND id IN (SELECT block FROM spans WHERE id = ANY(?))"""
        with self.connection.cursor(name="having") as cursor:
            cursor.itersize = 8
            for number, data in cursor.execute(_marked(sql), (sorted(words.numbers(text)), list(ids))):
                found.update(self._inside(number, data, wanted, 1 << 62))
        return found.intersection(ids)

    def _inside(self, number: int, data: bytes, wanted: set[str], below: int) -> list[int]:
        sql = """SELECT s.id, s.slot, n.text, s.status_message FROM spans s JOIN strings n ON n.id = s.name
            WHERE s.block = ? AND s.id < ? ORDER BY s.id DESC"""
        block, found = Block(data), []
        for span, slot, name, message in self.rows(sql, (number, below)):
            record = SpanRecord(b"", b"", name, 0, 0, status_message=message, payload=block.payload(slot))
            if wanted <= set(words.words(words.text(record))):
                found.append(span)
        return found

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows by COPY."""
        statement = names.SQL("COPY {} ({}) FROM STDIN").format(
            names.Identifier(table), names.SQL(",").join(map(names.Identifier, columns))
        )
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """One statement for each row, in one round trip."""
        with self.connection.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)

    def close_block(self, number: int, data: bytes, texts: Sequence[tuple[int, str]]) -> None:
        """Store a block with the words of its texts."""
        numbers = words.numbers("\n".join(text for _, text in texts)) if self.searchable else None
        self.connection.execute(
            "INSERT INTO blocks (id, data, words) VALUES (%s, %s, %s)",
            (number, data, sorted(numbers) if numbers is not None else None),
        )


class PostgresDays:
    """The schemas of the days. Connections come from the pool of the main database."""

    def __init__(self, engine: sa.Engine, *, searchable: bool) -> None:
        self.engine = engine
        self.searchable = searchable
        self._directories = Directories()
        self._current: set[date] = set()

    @contextmanager
    def _connected(self) -> Iterator["psycopg.Connection[Any]"]:
        try:
            raw = self.engine.raw_connection()
        except (sa.exc.OperationalError, psycopg.OperationalError) as error:
            raise TracesUnavailable(f"The database does not answer: {error}.", hint="Try again later.") from error
        try:
            connection: psycopg.Connection[Any] = raw.driver_connection  # type: ignore[assignment]
            yield connection
        except psycopg.Error as error:
            raw.invalidate()
            raise translated(error) from error
        except BaseException:
            raw.invalidate()
            raise
        finally:
            raw.close()

    def _name(self, day: date) -> str:
        return f"traces_{day:%Y%m%d}"

    def listing(self) -> list[date]:
        """The days there are, oldest first."""
        sql = r"SELECT nspname FROM pg_namespace WHERE nspname ~ '^traces_\d{8}$' ORDER BY 1"
        with self._connected() as connection:
            return [datetime.strptime(name, "traces_%Y%m%d").date() for (name,) in connection.execute(sql)]

    @contextmanager
    def look(self, day: date) -> Iterator[PostgresLook | None]:
        """A snapshot of a day; None when there is no such schema."""
        if day not in self._current:
            self._renew(day)
        with self._connected() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if self._layout(connection, day) is None:
                yield None
                return
            self._enter(connection, day)
            yield PostgresLook(day, connection, self._directories, searchable=self.searchable)

    def _layout(self, connection: "psycopg.Connection[Any]", day: date) -> int | None:
        """The layout of a day; None when there is no such schema."""
        sql = """SELECT CASE WHEN to_regclass(%s) IS NULL THEN 1 ELSE 2 END FROM pg_namespace WHERE nspname = %s"""
        found = connection.execute(sql, (f"{self._name(day)}.runs", self._name(day))).fetchone()
        return int(found[0]) if found is not None else None

    def _renew(self, day: date) -> None:
        """Bring a day that an older version stored to the layout of this one."""
        with self._connected() as connection, connection.transaction():
            layout = self._layout(connection, day)
        if layout is not None and layout < VERSION:
            with self.change(day):
                pass
        if layout is not None:
            self._current.add(day)

    def _enter(self, connection: "psycopg.Connection[Any]", day: date) -> None:
        connection.execute(names.SQL("SET LOCAL search_path TO {}").format(names.Identifier(self._name(day))))

    @contextmanager
    def change(self, day: date) -> Iterator[PostgresLook]:
        """A writing transaction on a day."""
        with self._connected() as connection, connection.transaction():
            # Ids are handed out in the order of commits: whoever reads on from an id misses nothing.
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK, day.toordinal()))
            layout = self._layout(connection, day)
            if layout is None:
                connection.execute(names.SQL("CREATE SCHEMA {}").format(names.Identifier(self._name(day))))
            self._enter(connection, day)
            look = PostgresLook(day, connection, self._directories, searchable=self.searchable)
            if layout is None:
                for statement in POSTGRES:
                    connection.execute(statement)
            elif layout < VERSION:
                log.info("the traces of %s are brought from layout %d to %d", day, layout, VERSION)
                for name in OLD_INDEXES:
                    connection.execute(names.SQL("DROP INDEX {}").format(names.Identifier(name)))
                for statement in RUNS_POSTGRES:
                    connection.execute(statement)
                keys.write_anew(look)
            yield look

    def erase(self, day: date) -> int:
        """Drop the schema of a day."""
        size = self.size(day)
        with self._connected() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK, day.toordinal()))
            connection.execute(names.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(names.Identifier(self._name(day))))
        return size

    def size(self, day: date) -> int:
        """Bytes of the tables of a day with their indexes."""
        sql = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'"""
        with self._connected() as connection:
            found = connection.execute(sql, (self._name(day),)).fetchone()
        return int(found[0]) if found else 0

    def close(self) -> None:
        """Nothing to do: the connections are the main database's."""
