"""The days of one store as its queries see them: snapshots, and the strings that were read before."""

import threading
from contextlib import AbstractContextManager
from datetime import date

from tidemill.traces.store.days import DayReader, DayStore
from tidemill.traces.store.strings import CACHED

DAYS_CACHED = 16
"""Days whose strings are cached."""


class StoredDays:
    """Gives snapshots of days, and caches their strings. Safe for many threads."""

    def __init__(self, day_store: DayStore) -> None:
        self._day_store = day_store
        self._texts: dict[date, dict[int, str]] = {}
        self._lock = threading.Lock()

    def list_days(self) -> list[date]:
        """Return the days there are, oldest first."""
        return self._day_store.list_days()

    def read(self, day: date) -> AbstractContextManager[DayReader | None]:
        """Open a snapshot of a day; None when there is no such day."""
        return self._day_store.read(day)

    def texts(self, day: date) -> dict[int, str]:
        """Return the cached strings of a day: one dict for all threads, replaced when it grows too large."""
        with self._lock:
            cached = self._texts.pop(day, None)
            if cached is None or len(cached) > CACHED:
                cached = {}
            self._texts[day] = cached
            while len(self._texts) > DAYS_CACHED:
                del self._texts[next(iter(self._texts))]
        return cached

    def forget(self, day: date) -> None:
        """Drop the cached strings of a day."""
        with self._lock:
            self._texts.pop(day, None)
