"""Taking whole traces out of their days, so that no byte of them stays: rows, payloads, words, sums and names."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from tidemill.traces.sketch import bucket_of, encode
from tidemill.traces.store import blocks, words
from tidemill.traces.store.days import DayReader, DayWriter
from tidemill.traces.store.rollups import BY_MINUTE, HOUR, MINUTE, SKETCHED, Place, Sums
from tidemill.traces.store.schema import INTERNED, ROLLUP_COLUMNS, SPAN_COLUMNS, SUMS
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.strings import chunks, number_of
from tidemill.traces.types import SpanPayload, SpanRecord

TraceIds = set[bytes]

_LEVELS = ("model", "release_id", "prompt", "environment", "deployment_id", "key_id", "user_id", "session_id")
"""The columns behind the levels of sums that follow `total`."""
_BLOCKS_AT_ONCE = 64


def traces_of_users(days: StoredDays, users: Sequence[str]) -> TraceIds:
    """Return the traces of users on all days: with the user in any span, or with one of their responses."""
    trace_ids: TraceIds = set()
    new_ids: TraceIds = set()
    for day in days.list_days():
        with days.read(day) as reader:
            if reader is not None:
                new_ids |= _with_user(reader, users)
    while new_ids:
        trace_ids |= new_ids
        response_ids = response_ids_in(days, new_ids)
        new_ids = {trace for day in days.list_days() for trace in _with_responses(days, day, response_ids)} - trace_ids
    return trace_ids


def response_ids_in(days: StoredDays, traces: TraceIds) -> set[str]:
    """Return the response ids in these traces, on all days."""
    return {response_id for day in days.list_days() for response_id in _response_ids(days, day, traces)}


def _with_user(reader: DayReader, users: Sequence[str]) -> TraceIds:
    numbers = [number for user in users if (number := number_of(reader, user)) is not None]
    trace_ids: TraceIds = set()
    for number in numbers:
        sql = "SELECT trace FROM traces WHERE user_id = ? OR id IN (SELECT trace FROM spans WHERE user_id = ?)"
        trace_ids |= {bytes(row[0]) for row in reader.rows(sql, (number, number))}
    return trace_ids


def _response_ids(days: StoredDays, day: date, traces: TraceIds) -> set[str]:
    with days.read(day) as reader:
        if reader is None:
            return set()
        numbers = _numbers(reader, traces)
        return {
            row[0]
            for marks, part in _parts(numbers)
            for row in reader.rows(
                f"SELECT DISTINCT response_id FROM spans WHERE trace IN ({marks}) AND response_id IS NOT NULL", part
            )
        }


def _with_responses(days: StoredDays, day: date, response_ids: Iterable[str]) -> TraceIds:
    with days.read(day) as reader:
        if reader is None:
            return set()
        sql = "SELECT DISTINCT t.trace FROM spans s JOIN traces t ON t.id = s.trace WHERE s.response_id IN ({})"
        return {
            bytes(row[0])
            for marks, part in _parts(sorted(response_ids))
            for row in reader.rows(sql.format(marks), part)
        }


def _parts(values: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    return ((",".join("?" * len(part)), part) for part in chunks(values))


def _numbers(reader: DayReader, traces: TraceIds) -> list[int]:
    return sorted(
        row[0]
        for marks, part in _parts(sorted(traces))
        for row in reader.rows(f"SELECT id FROM traces WHERE trace IN ({marks})", part)
    )


def count_spans(days: StoredDays, traces: TraceIds) -> dict[date, int]:
    """Return day -> how many spans of these traces it has; days without any are left out."""
    counts = {}
    for day in days.list_days():
        with days.read(day) as reader:
            if reader is None:
                continue
            spans = sum(
                reader.rows(f"SELECT count(*) FROM spans WHERE trace IN ({marks})", part)[0][0]
                for marks, part in _parts(_numbers(reader, traces))
            )
        if spans:
            counts[day] = spans
    return counts


class DayEraser:
    """Takes traces out of one day, in one transaction."""

    def __init__(self, writer: DayWriter) -> None:
        self._writer = writer
        self._compressor = blocks.compressor()

    def erase(self, traces: TraceIds) -> int:
        """Take the traces out; return how many spans went. The freed pages are not overwritten yet."""
        numbers = _numbers(self._writer, traces)
        if not numbers:
            return 0
        columns = ("id", "block", "start_us", "user_id", "session_id")
        rows = self._of("spans", columns, "trace", numbers)
        owner_rows = self._of("traces", ("user_id", "session_id"), "id", numbers)
        last = self._writer.rows("SELECT max(id), max(block) FROM spans")[0]
        self._writer.execute_many("DELETE FROM spans WHERE trace = ?", [(number,) for number in numbers])
        self._writer.execute_many("DELETE FROM traces WHERE id = ?", [(number,) for number in numbers])
        hours = {row[2] // 1_000_000 // HOUR * HOUR for row in rows}
        hours |= self._keep_last_id(*last)
        self._blocks({row[1] for row in rows})
        self._rebuild_words()
        self._recount(hours)
        self._redact_names(
            {number for row in rows for number in row[3:]} | {number for row in owner_rows for number in row}
        )
        return len(rows)

    def _of(self, table: str, columns: Sequence[str], key: str, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        return [
            row
            for marks, part in _parts(numbers)
            for row in self._writer.rows(f"SELECT {','.join(columns)} FROM {table} WHERE {key} IN ({marks})", part)
        ]

    def _keep_last_id(self, last: int, block: int) -> set[int]:
        """Keep the last id with an empty row, since readers of the tail continue from it; return the hours it changes.

        The row belongs to no trace, so nothing shows it.
        """
        midnight = int(datetime.combine(self._writer.day, datetime.min.time(), UTC).timestamp())
        old = self._writer.rows("SELECT id FROM spans WHERE trace = 0")
        self._writer.execute_many("DELETE FROM spans WHERE id = ?", old)
        if self._writer.rows("SELECT coalesce(max(id), 0) FROM spans")[0][0] < last:
            blank = {name: 0 for name in ("trace", "span", "parent", "status", "duration_us", "counted", "slot")}
            blank |= {"id": last, "kind": 0, "start_us": midnight * 1_000_000, "block": block}
            self._writer.insert("spans", SPAN_COLUMNS, [tuple(blank.get(name) for name in SPAN_COLUMNS)])
            return {midnight}
        return {midnight} if old else set()

    def _blocks(self, numbers: set[int]) -> None:
        """Rewrite blocks: an erased payload leaves an empty one in its slot, so that the others keep theirs."""
        for part in chunks(sorted(numbers)):
            spans = self._spans_of_blocks(part)
            for number, before in self._data(part):
                if number not in spans:
                    self._writer.execute_many("DELETE FROM blocks WHERE id = ?", [(number,)])
                    continue
                block = blocks.Block(before)
                parts = [blocks.pack_payload(SpanPayload())] * (max(spans[number]) + 1)
                for slot in spans[number]:
                    parts[slot] = blocks.pack_payload(block.payload(slot))
                data = blocks.compress_block(parts, self._compressor)
                self._writer.execute_many("UPDATE blocks SET data = ? WHERE id = ?", [(data, number)])
                if self._writer.words_by_block:
                    texts = (words.searchable_text(record) for record in self._records(block, spans[number]))
                    word_numbers = sorted(words.word_numbers("\n".join(texts)))
                    sql = "UPDATE blocks SET words = CASE WHEN words IS NULL THEN NULL ELSE ?::int[] END WHERE id = ?"
                    self._writer.execute_many(sql, [(word_numbers, number)])

    def _spans_of_blocks(self, numbers: Sequence[int]) -> dict[int, dict[int, tuple[int, str, str | None]]]:
        """Return block -> slot -> id, name and message of the spans that are there."""
        marks = ",".join("?" * len(numbers))
        sql = f"""SELECT s.block, s.slot, s.id, n.text, s.status_message FROM spans s JOIN strings n ON n.id = s.name
            WHERE s.block IN ({marks})"""
        spans: dict[int, dict[int, tuple[int, str, str | None]]] = defaultdict(dict)
        for block, slot, *rest in self._writer.rows(sql, numbers):
            spans[block][slot] = (rest[0], rest[1], rest[2])
        return spans

    def _data(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        marks = ",".join("?" * len(numbers))
        return self._writer.rows(f"SELECT id, data FROM blocks WHERE id IN ({marks})", numbers)

    def _records(self, block: blocks.Block, spans: dict[int, tuple[int, str, str | None]]) -> Iterator[SpanRecord]:
        for slot, (_, name, message) in spans.items():
            yield SpanRecord(b"", b"", name, 0, 0, status_message=message, payload=block.payload(slot))

    def _rebuild_words(self) -> None:
        """Rebuild the index of SQLite, which does not keep its texts, from the spans that stay."""
        if self._writer.words_by_block:
            return
        sql = "SELECT name FROM sqlite_master WHERE name IN ('search', 'words')"
        tables = [name for (name,) in self._writer.rows(sql)]
        if not any(self._writer.rows(f"SELECT 1 FROM {table}_idx LIMIT 1") for table in tables):
            return
        for table in tables:
            self._writer.rows(f"INSERT INTO {table}({table}) VALUES ('delete-all')")
        numbers = [row[0] for row in self._writer.rows("SELECT id FROM blocks ORDER BY id")]
        for at in range(0, len(numbers), _BLOCKS_AT_ONCE):
            part = numbers[at : at + _BLOCKS_AT_ONCE]
            spans = self._spans_of_blocks(part)
            for number, data in self._data(part):
                block_spans = spans.get(number, {})
                texts = [
                    words.indexed_text(words.searchable_text(record))
                    for record in self._records(blocks.Block(data), block_spans)
                ]
                rows = [(span, text) for (span, *_), text in zip(block_spans.values(), texts, strict=True)]
                self._writer.execute_many("INSERT INTO words (rowid, body) VALUES (?, ?)", rows)
        self._writer.rows("INSERT INTO words(words) VALUES ('optimize')")

    def _recount(self, hours: set[int]) -> None:
        """Compute the sums of some hours from the spans that are there."""
        minutes = bool(self._writer.rows("SELECT 1 FROM rollups WHERE grain = ? LIMIT 1", (MINUTE,)))
        for hour in sorted(hours):
            self._writer.execute_many("DELETE FROM rollups WHERE t >= ? AND t < ?", [(hour, hour + HOUR)])
            sql = f"""SELECT start_us, duration_us, CASE WHEN parent IS NULL THEN 1 ELSE 0 END, counted, status,
                input_tokens, output_tokens, cost, {",".join(_LEVELS)}
                FROM spans WHERE start_us >= ? AND start_us < ?"""
            places: dict[Place, Sums] = defaultdict(Sums)
            for row in self._writer.rows(sql, (hour * 1_000_000, (hour + HOUR) * 1_000_000)):
                for level, key in enumerate((0, *row[8:])):
                    if key is not None:
                        _add(places[HOUR, level, hour, key], row, level)
                        if minutes and level < BY_MINUTE:
                            _add(places[MINUTE, level, row[0] // 1_000_000 // MINUTE * MINUTE, key], row, level)
            rollups = [
                (
                    *place,
                    *(getattr(sums, name) for name in SUMS),
                    sums.first_us,
                    sums.last_us,
                    encode(sums.sketch),
                    encode(sums.trace_sketch),
                )
                for place, sums in sorted(places.items())
            ]
            if rollups:
                self._writer.insert("rollups", ROLLUP_COLUMNS, rollups)

    def _redact_names(self, candidates: set[int | None]) -> None:
        """Redact users and sessions that no span refers to any more. Their numbers are not used again."""
        numbers = sorted(number for number in candidates if number is not None)
        used: set[int] = set()
        for name in INTERNED:
            for marks, part in _parts(numbers):
                sql = f"SELECT DISTINCT {name} FROM spans WHERE {name} IN ({marks})"
                used |= {row[0] for row in self._writer.rows(sql, part)}
        redacted = [(f"(erased {number})", number) for number in numbers if number not in used]
        self._writer.execute_many("UPDATE strings SET text = ? WHERE id = ?", redacted)
        self._writer.renew_stamp()


def _add(sums: Sums, row: tuple[Any, ...], level: int) -> None:
    start, duration, root, is_call, status, input_tokens, output_tokens, cost = row[:8]
    sums.spans += 1
    sums.first_us = min(sums.first_us, start)
    sums.last_us = max(sums.last_us, start + duration)
    if root:
        sums.traces += 1
        sums.trace_errors += status == 2
    if is_call:
        sums.calls += 1
        sums.errors += status == 2
        sums.input_tokens += input_tokens or 0
        sums.output_tokens += output_tokens or 0
        sums.cost += cost or 0.0
    number = bucket_of(duration)
    for counts, sketch in ((is_call, sums.sketch), (root, sums.trace_sketch)):
        if counts and level < SKETCHED:
            sketch[number] = sketch.get(number, 0) + 1
