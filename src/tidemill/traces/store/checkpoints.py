"""Checkpoints of the log of a day in a thread, beside the writing and not within a commit.

SQLite does it at the end of a commit by itself, and that commit then waits for thousands of pages to reach the disk.
Here a thread copies what there is while spans go on being stored; the writer copies only the few pages that came
meanwhile, whereupon SQLite begins the log from its start again. A commit is durable before and after: it is the log
that is waited for, as ever.
"""

import logging
import threading
from pathlib import Path

import apsw

log = logging.getLogger("tidemill.traces")

MIN_PAGES = 4000
"""So long a log is copied: several commits, since each writes to many of the same pages of the indexes."""
MAX_PAGES = 32_000
"""A log of so many pages is not let grow: the writer waits until it is copied."""


def file_inode(path: Path) -> int | None:
    """Return what tells a file from one that was removed before and had its name; None when there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


class Writer:
    """The one connection that writes to a day."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.connection = connection
        self.inode = file_inode(path)
        self._path = path
        self._running: threading.Thread | None = None
        self._pages = 0
        # It is called after each commit, in the place of SQLite's own checkpoints.
        connection.set_wal_hook(self._committed)

    def _committed(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def checkpoint(self) -> None:
        """Copy the log if it has become long. Call it after each commit."""
        if self._pages < MIN_PAGES:
            return
        if self._running is None:
            self._running = threading.Thread(target=self._beside, name="traces-checkpoint", daemon=True)
            self._running.start()
        elif not self._running.is_alive() or self._pages > MAX_PAGES:
            self._wait_for_copy()
            self._copy(self.connection)

    def close(self) -> None:
        """Close the connection once nothing is being copied."""
        self._wait_for_copy()
        self.connection.close(True)

    def _wait_for_copy(self) -> None:
        if self._running is not None:
            self._running.join()
            self._running = None

    def _beside(self) -> None:
        try:
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        except apsw.Error as error:
            log.warning("the log of %s cannot be copied now: %s", self._path.name, error)
            return
        try:
            connection.pragma("user_version")  # a connection that has read nothing knows of no log
            self._copy(connection)
        finally:
            connection.close(True)

    def _copy(self, connection: apsw.Connection) -> None:
        """Copy the pages that no reader holds. The others stay in the log, durable and readable."""
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            log.debug("the log of %s is being copied by somebody else", self._path.name)
        except apsw.Error as error:
            log.warning("the log of %s cannot be copied now: %s", self._path.name, error)
