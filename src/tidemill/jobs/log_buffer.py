"""What a job has said and its runner has not stored yet."""

import threading

from tidemill.jobs import store
from tidemill.jobs.types import Progress


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

    def take(self) -> tuple[Progress | None, list[store.Note]]:
        """Return the lines and progress since the last call, and empty the buffer."""
        with self._lock:
            progress, self.progress = self.progress, None
            lines, self._lines = self._lines, []
        return progress, lines

    def restore(self, progress: Progress | None, lines: list[store.Note]) -> None:
        """Put lines that could not be written back at the front."""
        with self._lock:
            self.progress = self.progress or progress
            self._lines = lines + self._lines
