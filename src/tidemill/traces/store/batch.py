"""One batch of spans for one day: leaves out what is stored, writes blocks and rows, and adds to the roll-ups."""

from collections.abc import Collection, Sequence
from operator import attrgetter, itemgetter

import zstandard

from tidemill.traces.sketch import decode, encode, merge
from tidemill.traces.store import blocks, words
from tidemill.traces.store.day_cache import CachedStrings
from tidemill.traces.store.days import DayWriter, Row
from tidemill.traces.store.rollups import Counted, Place, Sums, Tally
from tidemill.traces.store.schema import INTERNED, ROLLUP_COLUMNS, SPAN_COLUMNS, SUMS, TRACE_COLUMNS
from tidemill.traces.store.strings import Interner, chunks, clean
from tidemill.traces.store.summaries import TraceRow
from tidemill.traces.types import KINDS, MODEL_CALLS, SpanRecord

KIND: dict[str, int] = {name: number for number, name in enumerate(KINDS)}
STATUS = {"unset": 0, "ok": 1, "error": 2}
ERROR = STATUS["error"]

_SOURCES = tuple({"user_id": "user", "session_id": "session"}.get(name, name) for name in INTERNED)
"""The fields of a record behind the interned columns."""
_texts = attrgetter(*_SOURCES)

_INSERT_ROLLUP = (
    f"INSERT INTO rollups ({','.join(ROLLUP_COLUMNS)}) VALUES ({','.join('?' * len(ROLLUP_COLUMNS))}) "
    "ON CONFLICT (grain, level, t, key) DO UPDATE SET "
    + ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in SUMS)
    + ", first_us = CASE WHEN rollups.first_us < excluded.first_us THEN rollups.first_us ELSE excluded.first_us END"
    + ", last_us = CASE WHEN rollups.last_us > excluded.last_us THEN rollups.last_us ELSE excluded.last_us END"
    + ", sketch = excluded.sketch, trace_sketch = excluded.trace_sketch"
)
_UPDATE_TRACE = f"UPDATE traces SET {', '.join(f'{name} = ?' for name in TRACE_COLUMNS[2:])} WHERE id = ?"


def signed(span_id: bytes) -> int:
    """Return a span id as the signed 64-bit number it is stored as."""
    return int.from_bytes(span_id, "big", signed=True)


class Batch:
    """Stores one batch of spans in one day."""

    def __init__(
        self, writer: DayWriter, cached_numbers: CachedStrings[str, int], compressor: zstandard.ZstdCompressor
    ) -> None:
        self._writer = writer
        self._strings = Interner(writer, cached_numbers)
        self._compressor = compressor

    def store(self, records: Sequence[SpanRecord]) -> int:
        """Write the spans that are not stored yet, with their traces and sums; return how many."""
        records = _distinct(records)
        texts_of_records = [_texts(record) for record in records]
        clean_texts = {text: clean(text) for text in set().union(*texts_of_records) if text is not None}
        traces = self._traces({record.trace_id for record in records})
        new_records = self._new_records(records, traces)
        if not new_records:
            return 0
        if len(new_records) < len(records):
            texts_of_records = [_texts(record) for record in new_records]
            texts_in_use = set().union(*texts_of_records)
            clean_texts = {text: clean_text for text, clean_text in clean_texts.items() if text in texts_in_use}
        numbers = self._intern(clean_texts)
        is_counted = self._counted(new_records)
        first = self._next("spans")
        slots = self._blocks(new_records, first)
        self._new_traces(new_records, traces)
        tally = Tally()
        rows: list[Row] = []
        number_of = numbers.__getitem__
        for number, record, call, place, texts in zip(
            range(first, first + len(new_records)), new_records, is_counted, slots, texts_of_records, strict=True
        ):
            names = tuple(map(number_of, texts))
            trace = traces[record.trace_id]
            trace.add(record, number, call, names)
            rows.append(_row(record, number, trace.id, call, place, names))
            tally.add(_counted(record, call), _levels(names))
        self._writer.insert("spans", SPAN_COLUMNS, rows)
        self._write_traces(traces)
        self._write_rollups(tally.places())
        return len(new_records)

    def remember_strings(self) -> None:
        """Cache the numbers of strings, once they are committed."""
        self._strings.remember()

    def _next(self, table: str) -> int:
        return int(self._writer.rows(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")[0][0])

    def _traces(self, ids: Collection[bytes]) -> dict[bytes, TraceRow]:
        """Return those of these traces that are stored already."""
        traces: dict[bytes, TraceRow] = {}
        for chunk in chunks(list(ids)):
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT {','.join(TRACE_COLUMNS)} FROM traces WHERE trace IN ({marks})"
            for row in self._writer.rows(sql, chunk):
                trace = TraceRow(row[0], bytes(row[1]), *row[2:])
                traces[trace.trace] = trace
        return traces

    def _new_records(self, records: Sequence[SpanRecord], traces: dict[bytes, TraceRow]) -> list[SpanRecord]:
        """Return the spans that are not stored yet. Only a trace that is stored can have a span that is."""
        pairs = [(traces[r.trace_id].id, signed(r.span_id)) for r in records if r.trace_id in traces]
        stored: set[tuple[int, int]] = set()
        for chunk in chunks(pairs):
            marks = ",".join(["(?,?)"] * len(chunk))
            sql = f"SELECT trace, span FROM spans WHERE (trace, span) IN (VALUES {marks})"
            rows = self._writer.rows(sql, [value for pair in chunk for value in pair])
            stored.update((trace, span) for trace, span in rows)
        if not stored:
            return list(records)
        return [
            r for r in records if r.trace_id not in traces or (traces[r.trace_id].id, signed(r.span_id)) not in stored
        ]

    def _intern(self, clean_texts: dict[str, str]) -> dict[str | None, int | None]:
        """Return text as sent -> number, also None -> None; `clean_texts` maps each text to what is stored."""
        numbers = self._strings.numbers(set(clean_texts.values()))
        return {None: None} | {text: numbers[clean_text] for text, clean_text in clean_texts.items()}

    def _counted(self, records: Sequence[SpanRecord]) -> list[bool]:
        """Return which are model calls to count. A response that gateway and application both report counts once."""
        seen_ids: set[str] = set()
        for chunk in chunks(_response_ids(records)):
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT response_id FROM spans WHERE counted = 1 AND response_id IN ({marks})"
            seen_ids.update(row[0] for row in self._writer.rows(sql, chunk))
        flags = []
        for record in records:
            call = record.kind in MODEL_CALLS
            if call and record.response_id is not None:
                response_id = clean(record.response_id)
                call = response_id not in seen_ids
                seen_ids.add(response_id)
            flags.append(call)
        return flags

    def _blocks(self, records: Sequence[SpanRecord], first: int) -> list[tuple[int, int]]:
        """Write the payloads; return block and slot of each span."""
        number = self._next("blocks")
        slots: list[tuple[int, int]] = []
        parts: list[bytes] = []
        texts: list[tuple[int, str]] = []
        size = 0
        for span, record in enumerate(records, first):
            data = record.packed if record.packed is not None else blocks.pack_payload(record.payload)
            slots.append((number, len(parts)))
            parts.append(data)
            texts.append((span, words.searchable_text(record)))
            size += len(data)
            if len(parts) >= blocks.SPANS or size >= blocks.BYTES:
                self._writer.write_block(number, blocks.compress_block(parts, self._compressor), texts)
                number, parts, texts, size = number + 1, [], [], 0
        if parts:
            self._writer.write_block(number, blocks.compress_block(parts, self._compressor), texts)
        return slots

    def _new_traces(self, records: Sequence[SpanRecord], traces: dict[bytes, TraceRow]) -> None:
        number = self._next("traces")
        for record in records:
            if record.trace_id not in traces:
                traces[record.trace_id] = TraceRow(number, record.trace_id, is_new=True)
                number += 1

    def _write_traces(self, traces: dict[bytes, TraceRow]) -> None:
        rows = [t.row() for t in traces.values() if t.is_new]
        self._writer.insert("traces", TRACE_COLUMNS, rows)
        changed = [t.row() for t in traces.values() if t.changed and not t.is_new]
        if changed:
            self._writer.execute_many(_UPDATE_TRACE, [(*row[2:], row[0]) for row in changed])

    def _write_rollups(self, places: dict[Place, Sums]) -> None:
        for chunk in chunks([place for place, sums in places.items() if sums.sketch or sums.trace_sketch]):
            marks = ",".join(["(?,?,?,?)"] * len(chunk))
            sql = (
                "SELECT grain, level, t, key, sketch, trace_sketch FROM rollups "
                f"WHERE (grain, level, t, key) IN (VALUES {marks})"
            )
            rows = self._writer.rows(sql, [value for place in chunk for value in place])
            for grain, level, t, key, sketch, trace_sketch in rows:
                sums = places[grain, level, t, key]
                sums.sketch = merge(decode(sketch), sums.sketch)
                sums.trace_sketch = merge(decode(trace_sketch), sums.trace_sketch)
        self._writer.execute_many(_INSERT_ROLLUP, [_rollup_row(place, sums) for place, sums in places.items()])


def _response_ids(records: Sequence[SpanRecord]) -> list[str]:
    """Return the response ids that must be counted once."""
    return [clean(r.response_id) for r in records if r.response_id is not None and r.kind in MODEL_CALLS]


def _distinct(records: Sequence[SpanRecord]) -> list[SpanRecord]:
    by_ids: dict[tuple[bytes, bytes], SpanRecord] = {}
    for record in records:
        by_ids.setdefault((record.trace_id, record.span_id), record)
    return list(by_ids.values())


def _row(
    record: SpanRecord, number: int, trace: int, call: bool, place: tuple[int, int], names: tuple[int | None, ...]
) -> Row:
    parent = record.parent_id
    return (
        number,
        trace,
        signed(record.span_id),
        None if parent is None else signed(parent),
        KIND.get(record.kind, KIND["other"]),
        STATUS.get(record.status, 0),
        record.start_ns // 1000,
        record.duration_ns // 1000,
        int(call),
        clean(record.status_message) if record.status_message is not None else None,
        clean(record.response_id) if record.response_id is not None else None,
        record.input_tokens,
        record.output_tokens,
        record.cached_tokens,
        record.reasoning_tokens,
        round(record.ttft_ms * 1000) if record.ttft_ms is not None else None,
        record.cost_usd,
        "\n".join(record.truncated) if record.truncated else None,
        *place,
        *names,
    )


_AT = {name: number for number, name in enumerate(INTERNED)}
_levels = itemgetter(
    *(
        _AT[name] for name in ("model", "release_id", "prompt", "environment", "deployment_id", "key_id", "user_id",
                               "session_id")
    )
)  # fmt: skip
"""Of the numbers of the interned columns those that sums are kept by."""


def _counted(record: SpanRecord, call: bool) -> Counted:
    start_us = record.start_ns // 1000
    return Counted(
        start_us,
        record.duration_ns // 1000,
        start_us + record.duration_ns // 1000,
        record.parent_id is None,
        call,
        record.status == "error",
        record.input_tokens or 0,
        record.output_tokens or 0,
        record.cost_usd or 0.0,
    )


_summed = attrgetter(*SUMS, "first_us", "last_us")


def _rollup_row(place: Place, sums: Sums) -> Row:
    return (*place, *_summed(sums), encode(sums.sketch), encode(sums.trace_sketch))
