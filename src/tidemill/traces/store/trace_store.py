"""The public face of the store: what it takes in, what it answers, and what it forgets."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime

from tidemill.core.db import Database
from tidemill.core.settings import Settings
from tidemill.traces.store import (
    callers,
    erasure,
    minutes,
    responses,
    series,
    sessions,
    span_list,
    totals,
    trace_list,
    trace_trees,
)
from tidemill.traces.store.batch import Batch
from tidemill.traces.store.blocks import compressor
from tidemill.traces.store.day_cache import DayCache
from tidemill.traces.store.days import DayStore
from tidemill.traces.store.minutes import MinuteCount
from tidemill.traces.store.postgres import PostgresDayStore
from tidemill.traces.store.rollups import MINUTE
from tidemill.traces.store.sessions import SessionPlace
from tidemill.traces.store.span_list import Position, SpanPlace
from tidemill.traces.store.sqlite import SqliteDayStore
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.trace_list import TracePlace
from tidemill.traces.types import (
    AnsweredCalls,
    Caller,
    DayUse,
    Grain,
    GroupBy,
    Measure,
    SeriesPoint,
    SessionSummary,
    SpanDetail,
    SpanRecord,
    TraceFilter,
    TraceSummary,
    TraceTree,
    UserSummary,
)

DAY_NS = 86_400_000_000_000
DAYS_INTERNED = 4
"""Days whose numbers of strings are cached for writing."""


class TraceStore:
    """Stores and finds spans. Reading is safe for many threads; writing waits for its turn."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self.settings = settings
        self.searchable = settings.trace_search
        self.days: DayStore = (
            SqliteDayStore(settings.home / "traces", searchable=self.searchable)
            if db.is_sqlite
            else PostgresDayStore(db, searchable=self.searchable)
        )
        self._stored = StoredDays(self.days)
        self._numbers: DayCache[str, int] = DayCache(DAYS_INTERNED)
        self._lock = threading.Lock()
        self._compressor = compressor()

    def write(self, records: Sequence[SpanRecord]) -> int:
        """Store spans, each on the day it began; return how many were new.

        Raises TracesFull, TracesUnavailable. Spans of several days are several transactions: after an error some days
        may be stored, which sending again does not double.
        """
        by_day: dict[int, list[SpanRecord]] = defaultdict(list)
        for record in records:
            by_day[record.start_ns // DAY_NS].append(record)
        stored = 0
        with self._lock:
            for number, of_day in sorted(by_day.items()):
                stored += self._write_day(datetime.fromtimestamp(number * 86_400, UTC).date(), of_day)
        return stored

    def _write_day(self, day: date, records: Sequence[SpanRecord]) -> int:
        try:
            with self.days.write(day) as writer:
                batch = Batch(writer, self._numbers.get(writer), self._compressor)
                stored = batch.store(records)
        except BaseException:
            self._numbers.forget(day)
            raise
        batch.remember_strings()
        return stored

    def get_trace(self, trace_id: bytes, *, payload: bool, limit: int) -> TraceTree | None:
        """Return a whole trace with at most `limit` of its spans; None when no day has it."""
        return trace_trees.get_trace(self._stored, trace_id, payload=payload, limit=limit)

    def trace_ids_with_prefix(self, digits: str) -> list[bytes]:
        """Return at most two trace ids that begin with these hexadecimal digits."""
        return trace_trees.trace_ids_with_prefix(self._stored, digits)

    def get_span(self, trace_id: bytes, span_id: bytes) -> SpanDetail | None:
        """Return one span with its payload; None when no day has it."""
        return trace_trees.get_span(self._stored, trace_id, span_id)

    def find_responses(self, response_ids: Sequence[str], *, payload: bool) -> dict[str, SpanDetail]:
        """Return response id -> span: the one that was counted, else any other. Ids that no day has are left out."""
        return responses.find_responses(self._stored, response_ids, payload=payload)

    def list_traces(
        self, where: TraceFilter, *, text: str | None = None, before: TracePlace | None = None, limit: int
    ) -> list[tuple[TracePlace, TraceSummary]]:
        """Return traces that began before a place, newest first; with `text` those with all its words in a span."""
        return trace_list.list_traces(self._stored, where, text=text, before=before, limit=limit)

    def list_spans(
        self, where: TraceFilter, *, limit: int, payload: bool, spread: bool = False, newest: bool = False
    ) -> list[SpanDetail]:
        """Return spans that began within the filter's time, oldest first.

        When there are more than `limit`: the oldest; with `spread` an even sample; with `newest` the newest.
        """
        return span_list.list_spans(self._stored, where, limit=limit, payload=payload, spread=spread, newest=newest)

    def search_spans(
        self, text: str, where: TraceFilter, *, before: SpanPlace | None = None, limit: int
    ) -> list[tuple[SpanPlace, SpanDetail]]:
        """Return spans with all words of a text, the latest stored first, each with its place."""
        return span_list.search_spans(self._stored, text, where, before=before, limit=limit)

    def read_tail(self, position: Position, where: TraceFilter, limit: int) -> tuple[list[SpanDetail], Position, bool]:
        """Return spans after a position in commit order, the position behind them, and whether there are more."""
        return span_list.read_tail(self._stored, position, where, limit)

    def tail_end(self) -> Position:
        """Return the position behind everything that is stored."""
        return span_list.tail_end(self._stored)

    def get_series(
        self,
        since: datetime,
        until: datetime,
        grain: Grain,
        *,
        by: GroupBy | None,
        key: str | None,
        measure: Measure,
        top: int,
    ) -> list[SeriesPoint]:
        """Return the steps with requests, oldest first: of one `key` of the group, or of its `top` busiest keys."""
        time = series.TimeRange(since, until, grain)
        return series.get_series(self._stored, time, by=by, key=key, measure=measure, top=top)

    def count_by_minute(self, where: TraceFilter, *, slow_us: int | None) -> list[MinuteCount]:
        """Return counts of the spans that fit by the minute they began in, oldest first; without empty minutes."""
        return minutes.count_by_minute(self._stored, where, slow_us=slow_us)

    def touched_minutes(self, position: Position, where: TraceFilter) -> list[int]:
        """Return the minutes in which spans began that fit and were stored after a position, oldest first."""
        return minutes.touched_minutes(self._stored, position, where)

    def list_sessions(
        self, where: TraceFilter, *, before: SessionPlace | None = None, limit: int
    ) -> list[SessionSummary]:
        """Return sessions that were last active before a place, the latest first, each with its user."""
        return sessions.list_sessions(self._stored, where, before=before, limit=limit)

    def list_users(self, since: datetime, until: datetime | None, limit: int) -> list[UserSummary]:
        """Return the users with the most calls, to the hour, the busiest first."""
        return totals.list_users(self._stored, since, until, limit)

    def list_callers(self, where: TraceFilter, limit: int) -> list[Caller]:
        """Return who made the calls that fit: the busiest `limit`, the busiest first."""
        return callers.list_callers(self._stored, where, limit)

    def count_answered(self, by: GroupBy, keys: Sequence[str], since: datetime | None) -> dict[str, AnsweredCalls]:
        """Return key -> its model calls over all days from a time on; keys without any are left out."""
        return totals.count_answered(self._stored, by, keys, since)

    def traces_of_users(self, users: Sequence[str]) -> set[bytes]:
        """Return the traces of users on all days: with the user in any span, or with one of their responses."""
        return erasure.traces_of_users(self._stored, users)

    def response_ids_in(self, traces: set[bytes]) -> set[str]:
        """Return the response ids in these traces, on all days."""
        return erasure.response_ids_in(self._stored, traces)

    def count_spans(self, traces: set[bytes]) -> dict[date, int]:
        """Return day -> how many spans of these traces it has; days without any are left out."""
        return erasure.count_spans(self._stored, traces)

    def erase_traces(self, day: date, traces: set[bytes]) -> int:
        """Take traces out of a day so that no byte of them stays; return how many spans went.

        Raises TracesUnavailable when the day cannot be rewritten because somebody reads for long; what is erased stays
        erased, and doing it again finishes it. 0 when there is no such day.
        """
        with self.days.update(day) as writer:
            erased = erasure.DayEraser(writer).erase(traces) if writer is not None else 0
        self._forget(day)
        self.days.reclaim(day)
        return erased

    def list_days(self) -> list[date]:
        """Return the days there are, oldest first."""
        return self.days.list_days()

    def use(self, day: date) -> DayUse | None:
        """Return what a day takes up; None when there is no such day."""
        with self.days.read(day, upgrade=False) as reader:
            if reader is None:
                return None
            spans = reader.rows("SELECT count(*) FROM spans")[0][0]
            traces = reader.rows("SELECT count(*) FROM traces")[0][0]
        return DayUse(day=day.isoformat(), spans=spans, traces=traces, size_bytes=self.days.size(day))

    def erase_day(self, day: date) -> int:
        """Remove a day; return the bytes it took."""
        size = self.days.remove(day)
        self._forget(day)
        return size

    def _forget(self, day: date) -> None:
        """Drop the cached strings of a day."""
        self._numbers.forget(day)
        self._stored.forget(day)

    def drop_minutes(self, before: date) -> None:
        """Remove the sums by the minute of the days before one."""
        for day in self.days.list_days():
            if day >= before:
                continue
            with self.days.read(day, upgrade=False) as reader:
                has_minutes = reader is not None and reader.rows(
                    "SELECT 1 FROM rollups WHERE grain = ? LIMIT 1", (MINUTE,)
                )
            if has_minutes:
                with self.days.update(day) as writer:
                    if writer is not None:
                        writer.execute_many("DELETE FROM rollups WHERE grain = ?", [(MINUTE,)])

    def close(self) -> None:
        """Close all connections that are held."""
        self.days.close()
