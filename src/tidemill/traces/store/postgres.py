"""Days as schemas of a PostgreSQL database: `traces_20261121`. Rows come by COPY; retention is a schema dropped."""

import functools
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, LiteralString

import sqlalchemy as sa

from tidemill.core.db import Database
from tidemill.core.errors import TidemillError
from tidemill.core.search_words import index_words, split_words
from tidemill.traces.store import words
from tidemill.traces.store.blocks import Block
from tidemill.traces.store.days import Row, new_stamp, parse_day
from tidemill.traces.store.schema import POSTGRES, UPGRADE_POSTGRES, VERSION, newer_layout
from tidemill.traces.store.upgrades import DayUpgrader
from tidemill.traces.types import SpanRecord, TracesFull, TracesUnavailable

if TYPE_CHECKING:
    import psycopg


log = logging.getLogger("tidemill.traces")

LOCK = 848_418
"""Two-part advisory locks with this number let one process write to a day at a time."""
POOL_SIZE, POOL_OVERFLOW = 5, 15
"""Connections for spans that stay open, and more of them when they are needed.

A pool of their own: a request that holds a connection to the main database while it reads spans must never wait for
another one of the same pool, which waits for it.
"""
LOCK_WAIT_MS = 500
"""How long a change of tables waits for their readers, since new readers wait behind it. Less than the second after
which PostgreSQL looks for deadlocks: it is this change that gives way, and no reader."""
BUSY_S = 15.0
"""How long removing and rewriting a day are tried again while somebody reads it."""

COMMENT = re.compile(r"tidemill layout (\d+)(?: stamp (\d+))?")
"""The comment of a schema."""
UNMARKED = 2
"""The layout, at most, of a schema without such a comment."""


def translate_error(error: "psycopg.Error") -> TidemillError:
    """Return the error as TracesFull or TracesUnavailable."""
    import psycopg

    text = (str(error) or type(error).__name__).strip()
    if isinstance(error, psycopg.errors.DiskFull):
        return TracesFull(f"The database cannot write spans: {text}.", hint="Free some disk space; then send it again.")
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return TracesUnavailable("Somebody reads the traces of this day now.", hint="Send it again a little later.")
    return TracesUnavailable(f"The database does not take spans: {text}.", hint="Send it again a little later.")


@dataclass(frozen=True)
class _Mark:
    """What tells how a day is stored, and which strings its numbers stand for."""

    layout: int
    stamp: int


def _schema(day: date) -> str:
    return f"traces_{day:%Y%m%d}"


def _mark(connection: "psycopg.Connection[Any]", day: date) -> int:
    """Mark a day as one of this layout with a new stamp; return the stamp."""
    from psycopg import sql as names

    stamp = new_stamp()
    comment = names.Literal(f"tidemill layout {VERSION} stamp {stamp}")
    connection.execute(names.SQL("COMMENT ON SCHEMA {} IS {}").format(names.Identifier(_schema(day)), comment))
    return stamp


def _marked(sql: str) -> str:
    return sql.replace("?", "%s")


def _block_condition(text: str) -> tuple[str, list[list[int]]]:
    """Return the condition for blocks that may have all words of a query, of this layout or an older one."""
    numbers = [sorted(words.word_numbers(text))]
    older = sorted(words.old_word_numbers(text))
    if older and older not in numbers:
        numbers.append(older)
    return f"({' OR '.join(['words @> ?::int[]'] * len(numbers))})", numbers


class PostgresDay:
    """A snapshot of one schema, or a transaction on it."""

    words_by_block = True

    def __init__(self, day: date, connection: "psycopg.Connection[Any]", stamp: int, *, searchable: bool) -> None:
        self.day = day
        self.stamp = stamp
        self.connection = connection
        self.searchable = searchable

    def renew_stamp(self) -> None:
        """Change the stamp."""
        self.stamp = _mark(self.connection, self.day)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""
        return self.connection.execute(_marked(sql), values).fetchall()

    def search(self, text: str, below: int, limit: int) -> Iterable[int]:
        """Yield ids below `below` of spans with all words of `text`, newest first, from blocks that may have them."""
        needed = set(split_words(text))
        condition, numbers = _block_condition(text)
        sql = f"SELECT id, data FROM blocks WHERE {condition} AND id <= ? ORDER BY id DESC"
        newest = self.rows("SELECT block FROM spans WHERE id < ? ORDER BY id DESC LIMIT 1", (below,))
        if not newest:
            return
        with self.connection.cursor(name="search") as cursor:
            cursor.itersize = 8
            for number, data in cursor.execute(_marked(sql), (*numbers, newest[0][0])):
                yield from self._inside(number, data, needed, below)

    def with_words(self, text: str, ids: Sequence[int]) -> set[int]:
        """Return those of these spans that have all words of `text`."""
        needed, matching = set(split_words(text)), set[int]()
        condition, numbers = _block_condition(text)
        sql = f"""SELECT id, data FROM blocks WHERE {condition}
            AND id IN (SELECT block FROM spans WHERE id = ANY(?))"""
        with self.connection.cursor(name="with_words") as cursor:
            cursor.itersize = 8
            for number, data in cursor.execute(_marked(sql), (*numbers, list(ids))):
                matching.update(self._inside(number, data, needed, 1 << 62))
        return matching.intersection(ids)

    def _inside(self, number: int, data: bytes, needed: set[str], below: int) -> list[int]:
        sql = """SELECT s.id, s.slot, n.text, s.status_message FROM spans s JOIN strings n ON n.id = s.name
            WHERE s.block = ? AND s.id < ? ORDER BY s.id DESC"""
        block, matching = Block(data), []
        for span, slot, name, message in self.rows(sql, (number, below)):
            record = SpanRecord(b"", b"", name, 0, 0, status_message=message, payload=block.payload(slot))
            if needed <= index_words(words.searchable_text(record)):
                matching.append(span)
        return matching

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows by COPY."""
        from psycopg import sql as names

        statement = names.SQL("COPY {} ({}) FROM STDIN").format(
            names.Identifier(table), names.SQL(",").join(map(names.Identifier, columns))
        )
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    def execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        """Execute one statement for each row, in one round trip."""
        with self.connection.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)

    def write_block(self, number: int, data: bytes, texts: Sequence[tuple[int, str]]) -> None:
        """Store a block with the words of its texts."""
        numbers = words.word_numbers("\n".join(text for _, text in texts)) if self.searchable else None
        self.connection.execute(
            "INSERT INTO blocks (id, data, words) VALUES (%s, %s, %s)",
            (number, data, sorted(numbers) if numbers is not None else None),
        )


class PostgresDayStore:
    """The schemas of the days, in the main database, by connections of their own."""

    def __init__(self, db: Database, *, searchable: bool) -> None:
        self.engine = db.open_pool(POOL_SIZE, POOL_OVERFLOW)
        self.searchable = searchable
        self._upgrader = DayUpgrader(self._upgrade)

    @contextmanager
    def _connected(self) -> Iterator["psycopg.Connection[Any]"]:
        import psycopg

        pool = self.engine.pool
        try:
            raw = self.engine.raw_connection()
        except (sa.exc.OperationalError, psycopg.OperationalError) as error:
            raise TracesUnavailable(f"The database does not answer: {error}.", hint="Try again later.") from error
        except sa.exc.TimeoutError as error:
            raise TracesUnavailable("Every connection for traces is in use.", hint="Try again in a moment.") from error
        try:
            connection: psycopg.Connection[Any] = raw.driver_connection  # type: ignore[assignment]
            yield connection
        except psycopg.Error as error:
            raw.invalidate()
            raise translate_error(error) from error
        except BaseException:
            raw.invalidate()
            raise
        finally:
            if self.engine.pool is not pool:  # closed meanwhile: nobody would close this connection any more
                raw.invalidate()
            raw.close()

    def list_days(self) -> list[date]:
        """Return the days there are, oldest first."""
        sql = r"SELECT nspname FROM pg_namespace WHERE nspname ~ '^traces_\d{8}$' ORDER BY 1"
        with self._connected() as connection:
            names = [name for (name,) in connection.execute(sql)]
        return [day for name in names if (day := parse_day(name, "traces_%Y%m%d")) is not None]

    @contextmanager
    def read(self, day: date, *, upgrade: bool = True) -> Iterator[PostgresDay | None]:
        """Open a snapshot of a day, upgraded soon if it is of an older layout; None when there is no such schema."""
        with self._connected() as connection:
            mark = self._open_snapshot(connection, day)
            if mark is None:
                yield None
            else:
                if upgrade and mark.layout < VERSION:
                    self._upgrader.request(day)
                yield PostgresDay(day, connection, mark.stamp, searchable=self.searchable)
            connection.rollback()

    def _open_snapshot(self, connection: "psycopg.Connection[Any]", day: date) -> _Mark | None:
        """Begin a transaction in which the day stays as it is, and stays; return its mark, None when it is not there.

        What is dropped is gone for older snapshots too, so the snapshot locks the table that every removal drops.
        """
        import psycopg

        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        mark = self._read_mark(connection, day)
        if mark is not None:
            try:
                self._enter(connection, day, then="LOCK TABLE spans IN ACCESS SHARE MODE")
            except psycopg.errors.UndefinedTable:  # removed since the snapshot was taken
                return None
        return mark

    def _read_mark(self, connection: "psycopg.Connection[Any]", day: date) -> _Mark | None:
        """Return the mark of a day; None when there is no such schema. Raises TracesUnavailable for a newer layout."""
        sql = """SELECT obj_description(oid, 'pg_namespace'), to_regclass(nspname || '.runs') IS NOT NULL
            FROM pg_namespace WHERE nspname = %s"""
        row = connection.execute(sql, (_schema(day),)).fetchone()
        if row is None:
            return None
        comment = COMMENT.match(row[0] or "")
        layout, stamp = (int(comment[1]), int(comment[2] or 0)) if comment is not None else (UNMARKED, 0)
        if layout > VERSION:
            raise newer_layout(day, layout)
        # An older server has written to it since, or it was never upgraded.
        return _Mark(min(layout, UNMARKED) if row[1] else layout, stamp)

    def _upgrade(self, day: date) -> None:
        with self._connected() as connection, connection.transaction():
            self._limit_waiting(connection)
            self._lock(connection, day)
            mark = self._read_mark(connection, day)
            if mark is not None and mark.layout < VERSION:
                self._enter(connection, day)
                self._upgrade_from(connection, day, mark.layout)

    def _upgrade_from(self, connection: "psycopg.Connection[Any]", day: date, layout: int) -> int:
        """Bring a day to this layout; return its new stamp. Raises LockNotAvailable while somebody reads for long."""
        log.info("upgrading the traces of %s from layout %d to %d", day, layout, VERSION)
        self._limit_waiting(connection)
        for statement in UPGRADE_POSTGRES:
            connection.execute(statement)
        connection.execute("SET LOCAL lock_timeout TO DEFAULT")
        return _mark(connection, day)

    def _limit_waiting(self, connection: "psycopg.Connection[Any]") -> None:
        """Let this transaction wait for no lock longer than LOCK_WAIT_MS."""
        connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")

    def _lock(self, connection: "psycopg.Connection[Any]", day: date) -> None:
        """Let no other transaction write to a day, or upgrade or remove it, until this one ends."""
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK, day.toordinal()))

    def _enter(self, connection: "psycopg.Connection[Any]", day: date, *, then: LiteralString = "") -> None:
        """Let names mean the tables of a day; `then` is executed in the same round trip."""
        from psycopg import sql as names

        schema = names.Identifier(_schema(day))
        connection.execute(names.SQL("SET LOCAL search_path TO {}; " + then).format(schema))

    @contextmanager
    def write(self, day: date) -> Iterator[PostgresDay]:
        """Open a transaction on a day, which is created when it is missing."""
        from psycopg import sql as names

        with self._connected() as connection, connection.transaction():
            writer = self._writer(connection, day)
            if writer is None:
                connection.execute(names.SQL("CREATE SCHEMA {}").format(names.Identifier(_schema(day))))
                self._enter(connection, day)
                for statement in POSTGRES:
                    connection.execute(statement)
                writer = PostgresDay(day, connection, _mark(connection, day), searchable=self.searchable)
            yield writer

    @contextmanager
    def update(self, day: date) -> Iterator[PostgresDay | None]:
        """Open a transaction on a day; None when there is no such day."""
        with self._connected() as connection, connection.transaction():
            yield self._writer(connection, day)

    def _writer(self, connection: "psycopg.Connection[Any]", day: date) -> PostgresDay | None:
        # Ids are handed out in the order of commits: whoever reads on from an id misses nothing.
        self._lock(connection, day)
        mark = self._read_mark(connection, day)
        if mark is None:
            return None
        self._enter(connection, day)
        stamp = self._upgrade_from(connection, day, mark.layout) if mark.layout < VERSION else mark.stamp
        return PostgresDay(day, connection, stamp, searchable=self.searchable)

    def remove(self, day: date) -> int:
        """Drop the schema of a day; return the bytes it took. Raises TracesUnavailable while somebody reads it."""
        size = self.size(day)
        _retry(day, lambda: self._drop(day))
        return size

    def _drop(self, day: date) -> None:
        from psycopg import sql as names

        with self._connected() as connection, connection.transaction():
            self._lock(connection, day)
            self._limit_waiting(connection)
            connection.execute(names.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(names.Identifier(_schema(day))))

    def reclaim(self, day: date) -> None:
        """Rewrite the tables of a day, so that no deleted byte stays. Raises TracesUnavailable."""
        sql = "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1"
        with self._connected() as connection:
            tables = [table for (table,) in connection.execute(sql, (_schema(day),))]
        for table in tables:
            _retry(day, functools.partial(self._rewrite, day, table))

    def _rewrite(self, day: date, table: str) -> None:
        import psycopg
        from psycopg import sql as names

        with self._connected() as connection:
            connection.set_autocommit(True)  # VACUUM runs outside of transactions
            try:
                connection.execute(f"SET lock_timeout = {LOCK_WAIT_MS}")
                connection.execute(names.SQL("VACUUM (FULL) {}").format(names.Identifier(_schema(day), table)))
            except psycopg.errors.UndefinedTable:
                log.info("the traces of %s were removed meanwhile", day)
            finally:
                connection.execute("RESET lock_timeout")
                connection.set_autocommit(False)

    def size(self, day: date) -> int:
        """Return the bytes of the tables of a day with their indexes."""
        sql = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'"""
        with self._connected() as connection:
            row = connection.execute(sql, (_schema(day),)).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Finish the day that is being upgraded, and close the connections."""
        self._upgrader.close()
        self.engine.dispose()


def _retry(day: date, change: Callable[[], None]) -> None:
    """Make a change for which tables must not be read. Raises TracesUnavailable when they are for long."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            change()
        except TracesUnavailable as error:
            if not isinstance(error.__cause__, _lock_not_available()) or time.monotonic() > deadline:
                raise
            log.info("the traces of %s are being read: their change is tried again", day)
            time.sleep(LOCK_WAIT_MS / 1000)
        else:
            return


def _lock_not_available() -> type["psycopg.Error"]:
    import psycopg

    return psycopg.errors.LockNotAvailable
