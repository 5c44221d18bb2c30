"""Days as SQLite files: `traces/2026-11-21.db` in the home folder. Retention is a file removed."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import apsw

from tidemill.core.errors import TidemillError
from tidemill.traces.store import word_index, words
from tidemill.traces.store.checkpoints import Writer, file_inode
from tidemill.traces.store.days import Row, new_stamp, parse_day
from tidemill.traces.store.schema import SQLITE, UPGRADE_SQLITE, VERSION, newer_layout
from tidemill.traces.store.upgrades import DayUpgrader
from tidemill.traces.types import TracesFull, TracesUnavailable

log = logging.getLogger("tidemill.traces")

BUSY_MS = 15_000
IDLE_READERS = 128
"""Connections for reading that stay open, over all days: each takes up to three files."""
OPEN_DAYS = 3
"""Days that stay open for writing: today, and where late spans go."""
MERGED, MERGED_FOR = 16, 8
"""Pages of words that each commit merges at least, and one more for so many spans."""


def translate_error(error: apsw.Error | OSError) -> TidemillError:
    """Return the error as TracesFull or TracesUnavailable."""
    text = str(error) or type(error).__name__
    if isinstance(error, apsw.FullError | apsw.IOError) or getattr(error, "errno", None) == 28:
        return TracesFull(f"The span store cannot write: {text}.", hint="Free some disk space; then send it again.")
    return TracesUnavailable(f"The span store does not answer: {text}.", hint="Send it again a little later.")


class SqliteDay:
    """A snapshot of one file, or a transaction on it."""

    words_by_block = False

    def __init__(self, day: date, connection: apsw.Connection, *, searchable: bool) -> None:
        self.day = day
        self.connection = connection
        self.searchable = searchable
        self._indexed = 0

    @property
    def stamp(self) -> int:
        """What changes with the strings that numbers stand for: the application id of the file."""
        return int(self.connection.pragma("application_id"))

    def renew_stamp(self) -> None:
        """Change the stamp."""
        self.connection.pragma("application_id", new_stamp())

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""
        return self.connection.execute(sql, values).fetchall()

    def search(self, text: str, below: int, limit: int) -> Iterable[int]:
        """Return ids below `below` of spans with all words of `text`, newest first, at most `limit`."""
        return word_index.search(self.connection, text, below, limit)

    def with_words(self, text: str, ids: Sequence[int]) -> set[int]:
        """Return those of these spans that have all words of `text`."""
        return word_index.with_words(self.connection, text, ids)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows."""
        marks = ",".join("?" * len(columns))
        self.connection.executemany(f"INSERT INTO {table} ({','.join(columns)}) VALUES ({marks})", rows)

    def execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        """Execute one statement for each row."""
        self.connection.executemany(sql, rows)

    def write_block(self, number: int, data: bytes, texts: Sequence[tuple[int, str]]) -> None:
        """Store a block and index its texts."""
        self.connection.execute("INSERT INTO blocks (id, data) VALUES (?, ?)", (number, data))
        if self.searchable:
            rows = ((span, words.indexed_text(text)) for span, text in texts)
            self.connection.executemany("INSERT INTO words (rowid, body) VALUES (?, ?)", rows)
            self._indexed += len(texts)

    def merge_words(self) -> None:
        """Merge some segments of the FTS index, as many pages as keeps up with what this transaction added."""
        if self._indexed:
            pages = MERGED + self._indexed // MERGED_FOR
            self.connection.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (pages,))


class SqliteDayStore:
    """The days in a folder, one file each."""

    def __init__(self, folder: Path, *, searchable: bool) -> None:
        self.folder = folder
        self.searchable = searchable
        self._upgrader = DayUpgrader(self._upgrade)
        self._idle: list[_Reader] = []
        """Readers that nobody uses, in the order of their last use."""
        self._writers: dict[date, Writer] = {}
        """Writers that nobody uses, in the order of their last use."""
        self._day_locks: dict[date, threading.Lock] = {}
        self._lock = threading.Lock()
        self._times_closed = 0

    def path(self, day: date) -> Path:
        """Return the file of a day."""
        return self.folder / f"{day.isoformat()}.db"

    def list_days(self) -> list[date]:
        """Return the days there are, oldest first."""
        if not self.folder.is_dir():
            return []
        days = (parse_day(path.stem, "%Y-%m-%d") for path in self.folder.glob("????-??-??.db"))
        return sorted(day for day in days if day is not None)

    @contextmanager
    def read(self, day: date, *, upgrade: bool = True) -> Iterator[SqliteDay | None]:
        """Open a snapshot of a day, upgraded soon if it is of an older layout; None when there is no such file."""
        times_closed = self._times_closed
        reader = self._reader(day)
        if reader is None:
            yield None
            return
        if upgrade and not reader.is_current:
            self._upgrader.request(day)
        connection = reader.connection
        try:
            connection.execute("BEGIN")
            yield SqliteDay(day, connection, searchable=self.searchable)
            connection.execute("ROLLBACK")
        except apsw.Error as error:
            connection.close(True)
            raise translate_error(error) from error
        except BaseException:
            connection.close(True)
            raise
        self._keep_reader(reader, times_closed)

    def _reader(self, day: date) -> "_Reader | None":
        inode = file_inode(self.path(day))
        if inode is None:
            return None
        with self._lock:
            at = next((at for at in range(len(self._idle) - 1, -1, -1) if self._idle[at].day == day), None)
            reader = self._idle.pop(at) if at is not None else None
        if reader is not None and reader.inode == inode:
            return reader
        if reader is not None:  # another process has removed the day, and it came again
            reader.connection.close(True)
        try:
            return self._open_reader(day, inode)
        except apsw.CantOpenError:
            return None
        except apsw.Error as error:
            raise translate_error(error) from error

    def _open_reader(self, day: date, inode: int) -> "_Reader | None":
        connection = apsw.Connection(str(self.path(day)), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            connection.execute("PRAGMA query_only=1; PRAGMA mmap_size=4294967296; PRAGMA temp_store=MEMORY")
            layout = connection.pragma("user_version")
            if layout > VERSION:
                raise newer_layout(day, layout)
        except BaseException:
            connection.close(True)
            raise
        if not layout:
            connection.close(True)  # it is being created
            return None
        return _Reader(day, connection, inode, is_current=layout == VERSION)

    def _keep_reader(self, reader: "_Reader", times_closed: int) -> None:
        closing = reader
        if reader.is_current and reader.inode == file_inode(self.path(reader.day)):
            with self._lock:
                if self._times_closed == times_closed:
                    self._idle.append(reader)
                    if len(self._idle) <= IDLE_READERS:
                        return
                    closing = self._idle.pop(0)
        closing.connection.close(True)

    @contextmanager
    def write(self, day: date) -> Iterator[SqliteDay]:
        """Open a transaction on a day, which is created when it is missing."""
        with (
            self._day_lock(day),
            _translated(),
            self._transaction(day, self._writer(day) or self._open(day)) as sqlite_day,
        ):
            yield sqlite_day

    @contextmanager
    def update(self, day: date) -> Iterator[SqliteDay | None]:
        """Open a transaction on a day; None when there is no such day."""
        with self._day_lock(day), _translated():
            writer = self._writer(day) or self._open_stored(day)
            if writer is None:
                yield None
                return
            with self._transaction(day, writer) as sqlite_day:
                yield sqlite_day

    @contextmanager
    def _transaction(self, day: date, writer: Writer) -> Iterator[SqliteDay]:
        try:
            writer.connection.execute("BEGIN IMMEDIATE")
            sqlite_day = SqliteDay(day, writer.connection, searchable=self.searchable)
            yield sqlite_day
            sqlite_day.merge_words()
            writer.connection.execute("COMMIT")
            writer.checkpoint()
        except BaseException:
            # A new connection next time: after a full disk or a lost one nothing of the old is to be trusted.
            writer.close()
            raise
        self._keep_writer(day, writer)

    def _day_lock(self, day: date) -> threading.Lock:
        """Return the lock of a day: one thread writes to it, upgrades, rewrites or removes it at a time."""
        with self._lock:
            return self._day_locks.setdefault(day, threading.Lock())

    def _writer(self, day: date) -> Writer | None:
        """Take the writer of a day that is open; None when there is none."""
        with self._lock:
            writer = self._writers.pop(day, None)
        if writer is not None and writer.inode != file_inode(self.path(day)):
            writer.close()  # another process has removed the day
            return None
        return writer

    def _keep_writer(self, day: date, writer: Writer) -> None:
        with self._lock:
            self._writers[day] = writer
            closing = [self._writers.pop(old) for old in list(self._writers)[:-OPEN_DAYS]]
        for writer in closing:
            writer.close()

    def _open(self, day: date) -> Writer:
        """Return a writer of a day, which is created when it is missing."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._prepare(day, apsw.Connection(str(self.path(day))))

    def _open_stored(self, day: date) -> Writer | None:
        """Return a writer of a day; None when there is no such file."""
        try:
            connection = apsw.Connection(str(self.path(day)), flags=apsw.SQLITE_OPEN_READWRITE)
        except apsw.CantOpenError:
            if self.path(day).exists():
                raise
            return None
        return self._prepare(day, connection)

    def _prepare(self, day: date, connection: apsw.Connection) -> Writer:
        try:
            connection.set_busy_timeout(BUSY_MS)
            # Ids come in no order: each new one touches a page of its own in an index, so pages are small.
            connection.execute("PRAGMA page_size=4096")
            connection.execute("PRAGMA journal_mode=WAL")
            # FULL: what was answered with 200 survives a power cut, not only a killed process.
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY")
            if connection.pragma("user_version") != VERSION:
                self._create_or_upgrade(day, connection)
        except BaseException:
            connection.close(True)
            raise
        return Writer(self.path(day), connection)

    def _upgrade(self, day: date) -> None:
        with self._day_lock(day), _translated():
            writer = self._open_stored(day)
            if writer is not None:
                writer.close()

    def _create_or_upgrade(self, day: date, connection: apsw.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        version = connection.pragma("user_version")
        if version > VERSION:
            raise newer_layout(day, version)
        if not version:
            for statement in SQLITE:
                connection.execute(statement)
            connection.pragma("application_id", new_stamp())
        elif version < VERSION:
            log.info("upgrading the traces of %s from layout %d to %d", day, version, VERSION)
            for statement in UPGRADE_SQLITE:
                connection.execute(statement)
        connection.execute("COMMIT")

    def remove(self, day: date) -> int:
        """Remove the file of a day; return the bytes it took."""
        with self._day_lock(day):
            size = self.size(day)
            self._close_day(day)
            for path in (self.path(day), *self._beside(day)):
                path.unlink(missing_ok=True)
        return size

    def _close_day(self, day: date) -> None:
        """Close the connections to a day that nobody uses."""
        with self._lock:
            writer = self._writers.pop(day, None)
            readers = [reader for reader in self._idle if reader.day == day]
            self._idle = [reader for reader in self._idle if reader.day != day]
        if writer is not None:
            writer.close()
        for reader in readers:
            reader.connection.close(True)

    def reclaim(self, day: date) -> None:
        """Rewrite the file and empty its log, so that no deleted byte stays. Raises TracesUnavailable."""
        with self._day_lock(day):
            if not self.path(day).exists():
                return
            try:
                connection = apsw.Connection(str(self.path(day)), flags=apsw.SQLITE_OPEN_READWRITE)
                try:
                    connection.set_busy_timeout(BUSY_MS)
                    connection.execute("PRAGMA temp_store=MEMORY; PRAGMA secure_delete=ON")
                    connection.execute("VACUUM")
                    emptied = _empty_log(connection)
                finally:
                    connection.close(True)
            except apsw.Error as error:
                raise translate_error(error) from error
        if not emptied:
            raise TracesUnavailable(
                f"Somebody reads the traces of {day.isoformat()}, so their log cannot be emptied now.",
                hint="Erase the same user again: that does the rest.",
            )

    def _beside(self, day: date) -> list[Path]:
        return [Path(f"{self.path(day)}{end}") for end in ("-wal", "-shm")]

    def size(self, day: date) -> int:
        """Return the bytes of the file and its log."""
        files = (self.path(day), *self._beside(day))
        return sum(path.stat().st_size for path in files if path.exists())

    def close(self) -> None:
        """Close every connection: those in use as soon as they are not."""
        self._upgrader.close()
        with self._lock:
            self._times_closed += 1
            days = {*self._day_locks, *(reader.day for reader in self._idle)}
        for day in days:
            with self._day_lock(day):
                self._close_day(day)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what SQLite and the system raise into TracesFull or TracesUnavailable."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise translate_error(error) from error


@dataclass(frozen=True)
class _Reader:
    """A connection for reading, and the file it was opened on."""

    day: date
    connection: apsw.Connection
    inode: int
    is_current: bool
    """Whether the day had the layout of this version."""


def _empty_log(connection: apsw.Connection) -> bool:
    """Truncate the log; return whether it was. SQLite waits for readers itself, but not for another checkpoint."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
