"""Time series from the roll-ups."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemill.traces.sketch import decode, percentiles
from tidemill.traces.store.rollups import HOUR, LEVEL, MINUTE, Sums
from tidemill.traces.store.schema import SUMS
from tidemill.traces.store.span_rows import moment
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.strings import number_of, texts_of
from tidemill.traces.store.totals import sums_of
from tidemill.traces.store.trace_list import days_within
from tidemill.traces.types import Grain, GroupBy, Measure, SeriesPoint, TraceFilter

STEP = {"minute": MINUTE, "hour": HOUR, "day": 86_400}
_SUMS = ", ".join(SUMS)


@dataclass(frozen=True)
class TimeRange:
    """The time of a series, and its steps."""

    since: datetime
    until: datetime
    grain: Grain

    def condition(self, level: str) -> tuple[str, list[int]]:
        """Return what selects the roll-ups of a level, and its values."""
        stored = MINUTE if self.grain == "minute" else HOUR
        first, last = int(self.since.timestamp()), math.ceil(self.until.timestamp())
        return "grain = ? AND level = ? AND t >= ? AND t < ?", [stored, LEVEL[level], first - first % stored, last]


def get_series(
    days: StoredDays, time: TimeRange, *, by: GroupBy | None, key: str | None, measure: Measure, top: int
) -> list[SeriesPoint]:
    """Return the steps with requests, oldest first: of one `key` of the group, or of its `top` busiest keys."""
    keys = [key] if key is not None else None
    if by is not None and keys is None:
        keys = _busiest(days, time, level=by, measure=measure, top=top)
    sums = _sums(days, time, level=by or "total", keys=keys, measure=measure)
    points = [_point(t, name, figures, measure) for (t, name), figures in sums.items()]
    return sorted((p for p in points if p.requests), key=lambda p: (p.t, p.key or ""))


def _sums(
    days: StoredDays, time: TimeRange, *, level: str, keys: Sequence[str] | None, measure: Measure
) -> dict[tuple[int, str | None], Sums]:
    """Return the sums of each step, given by its begin in seconds, and key; of these keys only, unless None.

    Only the latencies of `measure` are read.
    """
    step = STEP[time.grain]
    by_step: dict[tuple[int, str | None], Sums] = defaultdict(Sums)
    condition, values = time.condition(level)
    for day in days_within(days, TraceFilter(since=time.since, until=time.until)):
        with days.read(day) as reader:
            if reader is None:
                continue
            numbers = [number_of(reader, key) for key in keys] if keys is not None else []
            numbers = [number for number in numbers if number is not None]
            if keys is not None and not numbers:
                continue
            only = f" AND key IN ({','.join('?' * len(numbers))})" if numbers else ""
            columns = f"t, key, {_SUMS}, first_us, last_us, {'sketch' if measure == 'calls' else 'trace_sketch'}"
            rows = reader.rows(f"SELECT {columns} FROM rollups WHERE {condition}{only}", [*values, *numbers])
            names = texts_of(reader, [row[1] for row in rows if row[1]], days.texts(reader))
            for t, number, *sums, latencies in rows:
                sketches = (decode(latencies), {}) if measure == "calls" else ({}, decode(latencies))
                by_step[t - t % step, names[number] if number else None].add(sums_of(sums, *sketches))
    return by_step


def _busiest(days: StoredDays, time: TimeRange, *, level: str, measure: Measure, top: int) -> list[str]:
    """Return the keys with the most requests. Reads no latencies."""
    counts: dict[str, int] = defaultdict(int)
    condition, values = time.condition(level)
    for day in days_within(days, TraceFilter(since=time.since, until=time.until)):
        with days.read(day) as reader:
            if reader is None:
                continue
            rows = reader.rows(f"SELECT key, sum({measure}) FROM rollups WHERE {condition} GROUP BY key", values)
            names = texts_of(reader, [row[0] for row in rows], days.texts(reader))
            for number, count in rows:
                counts[names[number]] += int(count)
    return sorted(counts, key=lambda name: (-counts[name], name))[:top]


def _point(t: int, key: str | None, sums: Sums, measure: Measure) -> SeriesPoint:
    calls = measure == "calls"
    p50, p90, p99 = percentiles(sums.sketch if calls else sums.trace_sketch, (0.5, 0.9, 0.99))
    return SeriesPoint.model_construct(
        t=moment(t * 1_000_000),
        key=key,
        requests=sums.calls if calls else sums.traces,
        errors=sums.errors if calls else sums.trace_errors,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost_usd=round(sums.cost, 9),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
    )
