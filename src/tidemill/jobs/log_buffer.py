"""What a job has said and its runner has not stored yet."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tidemill.jobs import store
from tidemill.jobs.types import Progress

MAX_CHARS = 4_000_000
"""Characters of lines that may wait to be stored: a job that logs while the database is away must not fill memory."""


class PendingNotes(NamedTuple):
    """What one write stores: the newest progress, when there is a new one, and the lines since the last write."""

    progress: Progress | None
    lines: list[store.Note]


class LogBuffer:
    """Log lines and the newest progress of one job, until a thread of the runner stores them."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self._lines: list[store.Note] = []
        self._chars = 0
        self._left_out = 0
        self._last_left_out: store.Note | None = None
        self._lock = threading.Lock()

    def add(self, note: store.Note) -> None:
        """Append a line for the next write. What does not fit any more is left out, and a line says how many."""
        size = _chars_of(note)
        with self._lock:
            if self._lines and self._chars + size > MAX_CHARS:
                self._left_out += 1
                self._last_left_out = note
                return
            self._chars += size
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
            progress, lines, chars = self.progress, self._lines, self._chars
            left_out, last_left_out = self._left_out, self._last_left_out
            self.progress, self._lines, self._chars = None, [], 0
            self._left_out, self._last_left_out = 0, None
        try:
            notice = [_notice(last_left_out, left_out)] if last_left_out is not None else []
            yield PendingNotes(progress, [*lines, *notice])
        except BaseException:
            with self._lock:
                self.progress = self.progress or progress
                self._lines = lines + self._lines
                self._chars += chars
                self._left_out += left_out
                self._last_left_out = self._last_left_out or last_left_out
            raise


def _notice(last: store.Note, count: int) -> store.Note:
    text = f"{count} lines were left out: too many came while none could be stored."
    return last.model_copy(update={"level": "warning", "message": text, "data": None})


def _chars_of(note: store.Note) -> int:
    return len(note.message) + (len(json.dumps(note.data, default=str)) if note.data is not None else 0)
