"""What is known of the strings of each day, from one snapshot or transaction to the next."""

import sys
import threading
from collections.abc import Mapping
from datetime import date
from typing import Generic, TypeVar

from tidemill.traces.store.days import DayReader

K = TypeVar("K")
V = TypeVar("V")

MAX_BYTES = 4 << 20
"""Memory for the strings of one day: some 25,000 of them, or 1,000 of the longest."""
ENTRY_BYTES = 100
"""What an entry takes beside its key and its value."""


class CachedStrings(Generic[K, V]):
    """Strings of one day and their numbers. Nothing is ever taken out, since other threads read it too."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._entries: dict[K, V] = {}
        self._bytes_left = max_bytes
        self.is_full = False

    def __len__(self) -> int:
        return len(self._entries)

    def known(self, keys: set[K]) -> dict[K, V]:
        """Return the entries of those of these keys that are cached."""
        entries = self._entries
        return {key: entries[key] for key in keys if key in entries}

    def add(self, entries: Mapping[K, V]) -> None:
        """Add entries until the memory is used up; the others are left out."""
        for key, value in entries.items():
            if key not in self._entries:
                size = sys.getsizeof(key) + sys.getsizeof(value) + ENTRY_BYTES
                if size > self._bytes_left:
                    self.is_full = True
                    return
                self._bytes_left -= size
                self._entries[key] = value


class DayCache(Generic[K, V]):
    """The strings of each of the days used last, as long as the stamp of the day is the same. Safe for many threads."""

    def __init__(self, days: int) -> None:
        self._days = days
        self._cached: dict[date, tuple[int, CachedStrings[K, V]]] = {}
        self._lock = threading.Lock()

    def get(self, reader: DayReader) -> CachedStrings[K, V]:
        """Return the strings of a day, for all threads to add to; none once they are too many."""
        stamp = reader.stamp
        with self._lock:
            cached_stamp, cached = self._cached.pop(reader.day, (stamp, CachedStrings[K, V]()))
            if cached_stamp != stamp or cached.is_full:
                cached = CachedStrings[K, V]()
            self._cached[reader.day] = stamp, cached
            while len(self._cached) > self._days:
                del self._cached[next(iter(self._cached))]
        return cached

    def forget(self, day: date) -> None:
        """Drop the strings of a day."""
        with self._lock:
            self._cached.pop(day, None)
