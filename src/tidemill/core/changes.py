"""Tells loops that something was committed, so that they need not ask the database again and again.

A commit of this process tells them at once. Commits of other processes are found by one thread: on SQLite it asks for
`PRAGMA data_version`, one number in the memory that all processes with the file share; PostgreSQL has nothing so
cheap, so there every loop is told once a second that something may have changed.
"""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from urllib.parse import quote

WATCH_S = 1.0
"""Seconds until a commit of another process is noticed."""


class Changes:
    """The commits to one database. `sqlite_path` is None for PostgreSQL."""

    def __init__(self, sqlite_path: str | None) -> None:
        self._sqlite_path = sqlite_path
        self._listeners: tuple[Callable[[], None], ...] = ()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def notify(self) -> None:
        """Call every listener: something was committed, or may have been."""
        for listener in self._listeners:
            listener()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit, in whatever thread. It must not block."""
        with self._lock:
            self._listeners += (listener,)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="tidemill-changes", daemon=True)
                self._watcher.start()

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other != listener)

    def close(self) -> None:
        """Watch other processes no more, and let go of the file."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            with suppress(sqlite3.Error):  # a full disk, or a file that is moved away: try again in a while
                if self._sqlite_path is not None:
                    self._watch_file(self._sqlite_path)
            if not self._stopping.wait(WATCH_S):
                self.notify()

    def _watch_file(self, path: str) -> None:
        """Notify of commits to a SQLite file until `close`."""
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True)) as connection:
            version = None
            while not self._stopping.wait(WATCH_S):
                before, version = version, connection.execute("PRAGMA data_version").fetchone()
                if version != before:
                    self.notify()


class Pace:
    """When a loop in a thread goes on: at once after `wake`, some time after a commit, or when its time is over."""

    def __init__(self, changes: Changes, calm_s: float) -> None:
        self.changes = changes
        self.calm_s = calm_s
        """Seconds that commits cannot shorten, so that a busy database does not keep the loop busy."""
        self._event = threading.Event()
        self._changed = False
        self._attentive = False
        changes.subscribe(self._note_change)

    def wake(self) -> None:
        """End the wait under way, or else the next one."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Return when the loop is to go on, after `seconds` at the latest."""
        if not self._event.wait(min(seconds, self.calm_s)) and seconds > self.calm_s:
            self._attentive = True
            if not self._changed:
                self._event.wait(seconds - self.calm_s)
            self._attentive = False
        # What is committed from here on ends the next wait.
        self._event.clear()
        self._changed = False

    def close(self) -> None:
        """Listen no more, and end the wait."""
        self.changes.unsubscribe(self._note_change)
        self._event.set()

    def _note_change(self) -> None:
        self._changed = True
        if self._attentive:
            self._event.set()
