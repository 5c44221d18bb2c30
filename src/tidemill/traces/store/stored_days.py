"""The days of one store as its queries see them: snapshots, and the strings that were read before."""

from contextlib import AbstractContextManager
from datetime import date

from tidemill.traces.store.day_cache import CachedStrings, DayCache
from tidemill.traces.store.days import DayReader, DayStore

DAYS_CACHED = 16
"""Days whose strings are cached."""


class StoredDays:
    """Gives snapshots of days, and caches their strings. Safe for many threads."""

    def __init__(self, day_store: DayStore) -> None:
        self._day_store = day_store
        self._texts: DayCache[int, str] = DayCache(DAYS_CACHED)

    def list_days(self) -> list[date]:
        """Return the days there are, oldest first."""
        return self._day_store.list_days()

    def read(self, day: date) -> AbstractContextManager[DayReader | None]:
        """Open a snapshot of a day; None when there is no such day."""
        return self._day_store.read(day)

    def texts(self, reader: DayReader) -> CachedStrings[int, str]:
        """Return the cached strings of a day: the same for all threads."""
        return self._texts.get(reader)

    def forget(self, day: date) -> None:
        """Drop the cached strings of a day."""
        self._texts.forget(day)
