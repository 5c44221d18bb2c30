"""The span store: one file a day under SQLite, one schema a day under PostgreSQL."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime

from tidemill.core.db import Database
from tidemill.core.settings import Settings
from tidemill.traces.store.batch import Batch
from tidemill.traces.store.blocks import compressor
from tidemill.traces.store.days import Change, Days
from tidemill.traces.store.postgres import PostgresDays
from tidemill.traces.store.rollups import MINUTE
from tidemill.traces.store.sqlite import SqliteDays
from tidemill.traces.store.strings import CACHED
from tidemill.traces.types import DayUse, SpanRecord

DAY_NS = 86_400_000_000_000
DAYS_READ = 16
"""Days whose strings are held for reading."""


class TraceStore:
    """Where spans are. `kernel.get(TraceStore)`; other features ask through `traces.service`."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self.settings = settings
        self.searchable = settings.trace_search
        self.days: Days = (
            SqliteDays(settings.home / "traces", searchable=self.searchable)
            if db.is_sqlite
            else PostgresDays(db.engine, searchable=self.searchable)
        )
        self._numbers: dict[date, dict[str, int]] = {}
        self._texts: dict[date, dict[int, str]] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._compressor = compressor()

    def write(self, records: Sequence[SpanRecord]) -> int:
        """Store spans, each on the day it began; returns how many were new. Called by one thread at a time.

        Raises TracesFull, TracesUnavailable. Spans of several days are several transactions: after an error some days
        may be stored, which sending again does not double.
        """
        by_day: dict[int, list[SpanRecord]] = defaultdict(list)
        for record in records:
            by_day[record.start_ns // DAY_NS].append(record)
        stored = 0
        with self._lock:
            for number, of_day in sorted(by_day.items()):
                stored += self._write_day(day_of(number), of_day)
        return stored

    def _write_day(self, day: date, records: Sequence[SpanRecord]) -> int:
        known = self._numbers.setdefault(day, {})
        while len(self._numbers) > 4:
            del self._numbers[next(number for number in self._numbers if number != day)]
        try:
            with self.days.change(day) as change:
                batch = Batch(change, known, self._compressor)
                stored = batch.store(records)
        except BaseException:
            self._numbers.pop(day, None)
            raise
        batch.keep()
        return stored

    def texts(self, day: date) -> dict[int, str]:
        """The strings of a day that were read before: one dict for all threads, replaced when it grows too large."""
        with self._reading:
            held = self._texts.pop(day, None)
            if held is None or len(held) > CACHED:
                held = {}
            self._texts[day] = held
            while len(self._texts) > DAYS_READ:
                del self._texts[next(iter(self._texts))]
        return held

    def use(self, day: date) -> DayUse | None:
        """What a day takes up; None when there is none."""
        with self.days.look(day) as look:
            if look is None:
                return None
            spans = look.rows("SELECT count(*) FROM spans")[0][0]
            traces = look.rows("SELECT count(*) FROM traces")[0][0]
        return DayUse(day=day.isoformat(), spans=spans, traces=traces, size_bytes=self.days.size(day))

    def forget_minutes(self, before: date) -> None:
        """Remove the sums by the minute of the days before one."""
        for day in self.days.listing():
            if day >= before:
                continue
            with self.days.look(day) as look:
                there = look is not None and look.rows("SELECT 1 FROM rollups WHERE grain = ? LIMIT 1", (MINUTE,))
            if there:
                with self._lock, self.days.change(day) as change:
                    change.many("DELETE FROM rollups WHERE grain = ?", [(MINUTE,)])

    def erase(self, day: date) -> int:
        """Remove a day; returns the bytes it took."""
        with self._lock:
            self._numbers.pop(day, None)
            size = self.days.erase(day)
        with self._reading:
            self._texts.pop(day, None)
        return size

    @contextmanager
    def rewriting(self, day: date) -> Iterator[Change]:
        """A change of what is there already. What was remembered of the day is forgotten."""
        with self._lock:
            self._numbers.pop(day, None)
            with self.days.change(day) as change:
                yield change
            with self._reading:
                self._texts.pop(day, None)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While nothing is stored."""
        with self._lock:
            yield

    def close(self) -> None:
        """Give back what is held."""
        self.days.close()


def day_of(number: int) -> date:
    """The day with this number, counted from 1970."""
    return datetime.fromtimestamp(number * 86_400, UTC).date()


def day_at(moment: datetime) -> date:
    """The day of a moment, in UTC."""
    return moment.astimezone(UTC).date()
