"""Days of older layouts are upgraded in a thread, while everybody goes on reading them as they are."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import date

from tidemill.core.errors import TidemillError

log = logging.getLogger("tidemill.traces")

RETRY_S = 60.0
"""A day whose upgrade failed is tried again after so long, if somebody reads it."""


class DayUpgrader:
    """Upgrades the days that are requested, one after the other, the newest first. Safe for many threads."""

    def __init__(self, upgrade: Callable[[date], None]) -> None:
        self._upgrade = upgrade
        self._waiting: set[date] = set()
        self._tried: dict[date, float] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def request(self, day: date) -> None:
        """Let a day be upgraded soon, unless that was tried a moment ago."""
        with self._lock:
            if time.monotonic() - self._tried.get(day, -RETRY_S) < RETRY_S:
                return
            self._waiting.add(day)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="traces-upgrade", daemon=True)
                self._thread.start()

    def join(self) -> None:
        """Wait until all days that were requested are upgraded."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Finish the day that is being upgraded, and leave the others as they are."""
        with self._lock:
            self._waiting.clear()
        self.join()

    def _run(self) -> None:
        while (day := self._next()) is not None:
            try:
                self._upgrade(day)
            except TidemillError as error:
                log.warning("the traces of %s cannot be upgraded now: %s", day, error.message)
            except Exception:
                log.exception("the traces of %s cannot be upgraded", day)

    def _next(self) -> date | None:
        with self._lock:
            if not self._waiting:
                self._thread = None
                return None
            day = max(self._waiting)
            self._waiting.remove(day)
            self._tried[day] = time.monotonic()
            return day
