"""What a job has said and its runner has not stored yet."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tidemill.jobs import store
from tidemill.jobs.types import Progress


class PendingNotes(NamedTuple):
    """What one write stores: the newest progress, when there is a new one, and the lines since the last write."""

    progress: Progress | None
    lines: list[store.Note]


class LogBuffer:
    """Log lines and the newest progress of one job, until a thread of the runner stores them."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self._lines: list[store.Note] = []
        self._lock = threading.Lock()

    def add(self, note: store.Note) -> None:
        """Append a line for the next write."""
        with self._lock:
            self._lines.append(note)

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to write."""
        return self.progress is None and not self._lines

    @contextmanager
    def taken(self) -> Iterator[PendingNotes]:
        """Yield what is to be written, and put it back when the block raises.

        The block holds the whole transaction: one that is rolled back at its commit has written nothing.
        """
        with self._lock:
            notes = PendingNotes(self.progress, self._lines)
            self.progress, self._lines = None, []
        try:
            yield notes
        except BaseException:
            with self._lock:
                self.progress = self.progress or notes.progress
                self._lines = notes.lines + self._lines
            raise
