"""What is known of the strings of each day, from one snapshot or transaction to the next."""

import threading
from datetime import date
from typing import Generic, TypeVar

from tidemill.traces.store.days import DayReader

K = TypeVar("K")
V = TypeVar("V")

MAX_ENTRIES = 50_000
"""Strings of a day that are cached."""


class DayCache(Generic[K, V]):
    """A dict for each of the days used last, as long as the stamp of the day is the same. Safe for many threads."""

    def __init__(self, days: int) -> None:
        self._days = days
        self._cached: dict[date, tuple[int, dict[K, V]]] = {}
        self._lock = threading.Lock()

    def get(self, reader: DayReader) -> dict[K, V]:
        """Return the dict of a day, for all threads to add to; an empty one once it has grown too large."""
        stamp = reader.stamp
        with self._lock:
            cached_stamp, cached = self._cached.pop(reader.day, (stamp, {}))
            if cached_stamp != stamp or len(cached) > MAX_ENTRIES:
                cached = {}
            self._cached[reader.day] = stamp, cached
            while len(self._cached) > self._days:
                del self._cached[next(iter(self._cached))]
        return cached

    def forget(self, day: date) -> None:
        """Drop the dict of a day."""
        with self._lock:
            self._cached.pop(day, None)
