"""Days as SQLite files: `traces/2026-11-21.db` in the home folder. Retention is a file removed."""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import apsw

from tidemill.core.errors import TidemillError
from tidemill.traces.store import keys, words
from tidemill.traces.store.checkpoints import Writer
from tidemill.traces.store.days import Row
from tidemill.traces.store.runs import Directories
from tidemill.traces.store.schema import OLD_INDEXES, RUNS, SQLITE, VERSION, WORDS_MERGED
from tidemill.traces.types import TracesFull, TracesUnavailable

log = logging.getLogger("tidemill.traces")

BUSY_MS = 15_000
IDLE_READERS = 4
"""Connections for reading that stay open for each day."""
OPEN_DAYS = 3
"""Days that stay open for writing: today, and where late spans go."""
MERGED, MERGED_FOR = 16, 8
"""Pages of words that each commit merges at least, and one more for so many spans."""
NEAR = 400
"""Reading so many more words costs as much as looking up one more span."""


def translated(error: apsw.Error | OSError) -> TidemillError:
    """The error as one of ours."""
    text = str(error) or type(error).__name__
    if isinstance(error, apsw.FullError | apsw.IOError) or getattr(error, "errno", None) == 28:
        return TracesFull(f"The span store cannot write: {text}.", hint="Free some disk space; then send it again.")
    return TracesUnavailable(f"The span store does not answer: {text}.", hint="Send it again a little later.")


class SqliteLook:
    """A snapshot of one file."""

    def __init__(self, day: date, connection: apsw.Connection, directories: Directories, *, searchable: bool) -> None:
        self.day = day
        self.connection = connection
        self.directories = directories
        self.searchable = searchable
        self._indexed = 0

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        return self.connection.execute(sql, values).fetchall()

    def found(self, text: str, below: int, limit: int) -> Iterable[int]:
        """Ids of spans with all words of `text`, newest first."""
        sql = "SELECT rowid FROM search WHERE search MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"
        return [row[0] for row in self.connection.execute(sql, (words.match_query(text), below, limit))]

    def having(self, text: str, ids: Sequence[int]) -> set[int]:
        """Those of these spans that have all words of `text`. Spans that lie near each other are looked up together."""
        query, ordered, found = words.match_query(text), sorted(ids), set[int]()
        sql = "SELECT rowid FROM search WHERE search MATCH ? AND rowid BETWEEN ? AND ?"
        first = 0
        for at, number in enumerate(ordered):
            if at + 1 == len(ordered) or ordered[at + 1] - number > NEAR:
                found.update(row[0] for row in self.connection.execute(sql, (query, ordered[first], number)))
                first = at + 1
        return found.intersection(ordered)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows."""
        marks = ",".join("?" * len(columns))
        self.connection.executemany(f"INSERT INTO {table} ({','.join(columns)}) VALUES ({marks})", rows)

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """One statement for each row."""
        self.connection.executemany(sql, rows)

    def close_block(self, number: int, data: bytes, texts: Sequence[tuple[int, str]]) -> None:
        """Store a block and index its texts."""
        self.connection.execute("INSERT INTO blocks (id, data) VALUES (?, ?)", (number, data))
        if self.searchable:
            self.connection.executemany("INSERT INTO search (rowid, body) VALUES (?, ?)", texts)
            self._indexed += len(texts)

    def merge_words(self) -> None:
        """Put some of the runs of words together, as many pages as keeps up with what this transaction added."""
        if self._indexed:
            pages = MERGED + self._indexed // MERGED_FOR
            self.connection.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (pages,))


class SqliteDays:
    """The folder of files."""

    def __init__(self, folder: Path, *, searchable: bool) -> None:
        self.folder = folder
        self.searchable = searchable
        self._directories = Directories()
        self._readers: dict[date, list[apsw.Connection]] = {}
        self._writers: dict[date, Writer] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def path(self, day: date) -> Path:
        """The file of a day."""
        return self.folder / f"{day.isoformat()}.db"

    def listing(self) -> list[date]:
        """The days there are, oldest first."""
        if not self.folder.is_dir():
            return []
        names = (path.stem for path in self.folder.glob("????-??-??.db"))
        return sorted(date.fromisoformat(name) for name in names)

    @contextmanager
    def look(self, day: date) -> Iterator[SqliteLook | None]:
        """A snapshot of a day; None when there is no such file."""
        connection = self._reader(day)
        if connection is None:
            yield None
            return
        try:
            connection.execute("BEGIN")
            yield SqliteLook(day, connection, self._directories, searchable=self.searchable)
            connection.execute("ROLLBACK")
        except apsw.Error as error:
            connection.close(True)
            raise translated(error) from error
        except BaseException:
            connection.close(True)
            raise
        with self._lock:
            idle = self._readers.setdefault(day, [])
            if len(idle) < IDLE_READERS and self.path(day).exists():
                idle.append(connection)
                return
        connection.close(True)

    def _reader(self, day: date) -> apsw.Connection | None:
        with self._lock:
            idle = self._readers.get(day)
            if idle:
                return idle.pop()
        if not self.path(day).exists():
            return None
        try:
            connection = apsw.Connection(str(self.path(day)), flags=apsw.SQLITE_OPEN_READWRITE)
            connection.set_busy_timeout(BUSY_MS)
            connection.execute("PRAGMA query_only=1; PRAGMA mmap_size=4294967296; PRAGMA temp_store=MEMORY")
            version = connection.pragma("user_version")
            if not version:
                connection.close(True)  # it is just being made
                return None
            if version != VERSION:
                connection.close(True)
                with self.change(day):  # which brings it to this layout, or says that it is a newer one
                    pass
                return self._reader(day)
        except apsw.CantOpenError:
            return None
        except apsw.Error as error:
            raise translated(error) from error
        return connection

    @contextmanager
    def change(self, day: date) -> Iterator[SqliteLook]:
        """A writing transaction on a day."""
        with self._writing:
            try:
                writer = self._writer(day)
                writer.connection.execute("BEGIN IMMEDIATE")
                look = SqliteLook(day, writer.connection, self._directories, searchable=self.searchable)
                yield look
                look.merge_words()
                writer.connection.execute("COMMIT")
                writer.look()
            except (apsw.Error, OSError) as error:
                self._abandon(day)
                raise translated(error) from error
            except BaseException:
                self._abandon(day)
                raise

    def _writer(self, day: date) -> Writer:
        writer = self._writers.pop(day, None)
        if writer is not None and not self.path(day).exists():
            writer.close()  # another process has removed the day
            writer = None
        if writer is None:
            writer = self._open(day)
        while len(self._writers) >= OPEN_DAYS:
            self._writers.pop(next(iter(self._writers))).close()
        self._writers[day] = writer
        return writer

    def _open(self, day: date) -> Writer:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = apsw.Connection(str(self.path(day)))
        try:
            connection.set_busy_timeout(BUSY_MS)
            connection.execute("PRAGMA page_size=8192")
            connection.execute("PRAGMA journal_mode=WAL")
            # FULL: what was answered with 200 survives a power cut, not only a killed process.
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY")
            if connection.pragma("user_version") != VERSION:
                self._lay_out(day, connection)
        except BaseException:
            connection.close(True)
            raise
        return Writer(self.path(day), connection)

    def _lay_out(self, day: date, connection: apsw.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        version = connection.pragma("user_version")
        if version > VERSION:
            text = f"The traces of {day} were stored by a newer version: layout {version}, this one knows {VERSION}."
            raise TracesUnavailable(text, hint="Start the newer version again.")
        if not version:
            for statement in SQLITE:
                connection.execute(statement)
        elif version < VERSION:
            log.info("the traces of %s are brought from layout %d to %d", day, version, VERSION)
            for name in OLD_INDEXES:
                connection.execute(f"DROP INDEX {name}")
            for statement in (*RUNS, *WORDS_MERGED, f"PRAGMA user_version = {VERSION}"):
                connection.execute(statement)
            keys.write_anew(SqliteLook(day, connection, self._directories, searchable=self.searchable))
        connection.execute("COMMIT")

    def _abandon(self, day: date) -> None:
        # A new connection next time: after a full disk or a lost one nothing of the old is to be trusted.
        writer = self._writers.pop(day, None)
        if writer is not None:
            writer.close()

    def erase(self, day: date) -> int:
        """Remove the file of a day."""
        with self._writing:
            size = self.size(day)
            self._abandon(day)
            with self._lock:
                for connection in self._readers.pop(day, []):
                    connection.close(True)
            for path in (self.path(day), *self._beside(day)):
                path.unlink(missing_ok=True)
        return size

    def _beside(self, day: date) -> list[Path]:
        return [Path(f"{self.path(day)}{end}") for end in ("-wal", "-shm")]

    def size(self, day: date) -> int:
        """Bytes of the file and its log."""
        files = (self.path(day), *self._beside(day))
        return sum(path.stat().st_size for path in files if path.exists())

    def close(self) -> None:
        """Close every connection."""
        with self._writing, self._lock:
            writers, readers = list(self._writers.values()), [c for idle in self._readers.values() for c in idle]
            self._writers.clear()
            self._readers.clear()
            for writer in writers:
                writer.close()
            for connection in readers:
                connection.close(True)
