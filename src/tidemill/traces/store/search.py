"""Spans and traces of one day that have words and fit a filter, read from the side that is rarer."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from tidemill.traces.store.days import DayReader, Row
from tidemill.traces.store.filters import SpanCondition
from tidemill.traces.store.schema import TRACE_COLUMNS
from tidemill.traces.store.strings import chunks

FIRST_TESTED = 400
"""So many spans with the words are tested first."""
MAX_TESTED = 16_000
"""When more spans with the words would have to be read for a page, the spans that fit are tested for the words."""
RARE_SPANS = 5000
"""Words that at most so many spans of a day have are looked up by their spans."""
MAX_PORTION = 4000
"""At most so many traces are tested for the words at once."""

COLUMNS = ", ".join(f"t.{name}" for name in TRACE_COLUMNS)
AT = {name: number for number, name in enumerate(TRACE_COLUMNS)}


def find_spans(reader: DayReader, condition: SpanCondition, text: str, below: int, room: int) -> list[int]:
    """Return ids below `below` of spans that fit and have all words: the newest `room`, newest first."""
    fits, values = condition.spans()
    if fits == "1 = 1":
        return list(islice(reader.search(text, below, room), room))
    fitting: list[int] = []
    step, tested = FIRST_TESTED, 0
    while True:
        ids = list(islice(reader.search(text, below, step), step))
        tested += len(ids)
        for chunk in chunks(ids):
            sql = f"SELECT id FROM spans WHERE id IN ({_marks(chunk)}) AND {fits} ORDER BY id DESC"
            fitting += [row[0] for row in reader.rows(sql, (*chunk, *values))]
        if len(fitting) >= room or len(ids) < step:
            return fitting[:room]
        below, step = ids[-1], step * 4
        if (room - len(fitting)) * tested > MAX_TESTED * max(len(fitting), 1):
            break
    for chunk in _fitting(reader, fits, values, below, room):
        with_words = reader.with_words(text, chunk)
        fitting += [number for number in chunk if number in with_words]
        if len(fitting) >= room:
            break
    return fitting[:room]


def _fitting(reader: DayReader, fits: str, values: Sequence[Any], below: int, step: int) -> Iterator[list[int]]:
    """Yield ids of spans that fit, newest first, in portions that grow."""
    sql = f"SELECT id FROM spans WHERE id < ? AND {fits} ORDER BY id DESC LIMIT ?"
    while True:
        ids = [row[0] for row in reader.rows(sql, (below, *values, step))]
        if ids:
            yield ids
        if len(ids) < step:
            return
        below, step = ids[-1], min(step * 2, MAX_PORTION)


def find_traces(
    reader: DayReader, condition: SpanCondition, parts: Sequence[str], values: Sequence[Any], text: str, limit: int
) -> list[Row]:
    """Return the newest `limit` traces that `parts` select and that have a span which fits and has all words."""
    matching: list[Row] = []
    before: tuple[int, bytes] | None = None
    portion = 2 * limit
    while True:
        rows = list_newest(reader, parts, values, portion, before)
        with_words = _with_words(reader, condition, text, [row[0] for row in rows])
        matching += [row for row in rows if row[0] in with_words]
        if len(matching) >= limit or len(rows) < portion:
            return matching[:limit]
        if before is None:
            rare = _rare_traces(reader, condition, text)
            if rare is not None:
                return list_newest_among(reader, rare, parts, values, limit)
        before, portion = (rows[-1][AT["start_us"]], bytes(rows[-1][AT["trace"]])), min(portion * 2, MAX_PORTION)


def _rare_traces(reader: DayReader, condition: SpanCondition, text: str) -> list[int] | None:
    """Return the traces with a span that fits and has the words, if the words or what fits are rare; else None."""
    fits = " AND ".join(condition.parts) or "1 = 1"
    ids = list(islice(reader.search(text, 1 << 62, RARE_SPANS + 1), RARE_SPANS + 1))
    if len(ids) > RARE_SPANS and condition.parts:
        rows = reader.rows(f"SELECT id FROM spans WHERE {fits} LIMIT ?", (*condition.values, RARE_SPANS + 1))
        ids = [row[0] for row in rows]
        if len(ids) <= RARE_SPANS:
            ids = list(reader.with_words(text, ids))
    if len(ids) > RARE_SPANS:
        return None
    numbers: dict[int, None] = {}
    for chunk in chunks(ids):
        sql = f"SELECT trace FROM spans WHERE id IN ({_marks(chunk)}) AND {fits}"
        numbers |= dict.fromkeys(row[0] for row in reader.rows(sql, (*chunk, *condition.values)))
    return list(numbers)


def _with_words(reader: DayReader, condition: SpanCondition, text: str, numbers: Sequence[int]) -> set[int]:
    """Return those of these traces that have a span which fits and has the words."""
    fits = " AND ".join(condition.parts) or "1 = 1"
    owners: dict[int, int] = {}
    for chunk in chunks(numbers):
        sql = f"SELECT id, trace FROM spans WHERE trace IN ({_marks(chunk)}) AND {fits}"
        owners.update(reader.rows(sql, (*chunk, *condition.values)))
    return {owners[number] for number in reader.with_words(text, list(owners))}


def list_newest(
    reader: DayReader,
    parts: Sequence[str],
    values: Sequence[Any],
    limit: int,
    before: tuple[int, bytes] | None = None,
) -> list[Row]:
    """Return the newest traces that `parts` select, before a place."""
    if before is not None:
        # The first condition is what an index can begin with.
        parts = [*parts, "t.start_us <= ?", "(t.start_us < ? OR t.trace < ?)"]
        values = [*values, before[0], before[0], before[1]]
    sql = f"SELECT {COLUMNS} FROM traces t WHERE {' AND '.join(parts) or '1 = 1'} "
    return reader.rows(f"{sql} ORDER BY t.start_us DESC, t.trace DESC LIMIT ?", (*values, limit))


def list_newest_among(
    reader: DayReader, numbers: Sequence[int], parts: Sequence[str], values: Sequence[Any], limit: int
) -> list[Row]:
    """Return the newest of these traces that `parts` select."""
    rows: list[Row] = []
    for chunk in chunks(numbers):
        rows += list_newest(reader, [*parts, f"t.id IN ({_marks(chunk)})"], (*values, *chunk), limit)
    rows.sort(key=lambda row: (row[AT["start_us"]], bytes(row[AT["trace"]])), reverse=True)
    return rows[:limit]


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
