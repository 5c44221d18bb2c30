"""Taking whole traces out of their days, so that no byte of them stays: rows, payloads, words, sums and names."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import apsw

from tidemill.traces.sketch import bucket, encode
from tidemill.traces.store import blocks, keys, words
from tidemill.traces.store.days import Change, Look
from tidemill.traces.store.postgres import PostgresDays
from tidemill.traces.store.rollups import BY_MINUTE, HOUR, MINUTE, SKETCHED, Place, Sums
from tidemill.traces.store.schema import INTERNED, ROLLUP_COLUMNS, SPAN_COLUMNS, SUMS
from tidemill.traces.store.sqlite import BUSY_MS, SqliteDays, translated
from tidemill.traces.store.strings import chunks
from tidemill.traces.types import SpanPayload, SpanRecord, TracesUnavailable

if TYPE_CHECKING:
    from tidemill.traces.store import TraceStore

Wanted = set[bytes]
"""Ids of traces."""

_LEVELS = ("model", "release_id", "prompt", "environment", "deployment_id", "key_id", "user_id", "session_id")
"""The columns behind the levels of sums that follow `total`."""
_BLOCKS_AT_ONCE = 64


def traces_of(store: "TraceStore", users: Sequence[str]) -> Wanted:
    """The traces of a user on all days: those that tell the user in any span, and those that report the same reply."""
    found: Wanted = set()
    fresh: Wanted = set()
    for day in store.days.listing():
        with store.days.look(day) as look:
            if look is not None:
                fresh |= _told(look, users)
    while fresh:
        found |= fresh
        replies = replies_of(store, fresh)
        fresh = {trace for day in store.days.listing() for trace in _reporting(store, day, replies)} - found
    return found


def replies_of(store: "TraceStore", traces: Wanted) -> set[str]:
    """The response ids in these traces, on all days."""
    return {reply for day in store.days.listing() for reply in _replies(store, day, traces)}


def _told(look: Look, users: Sequence[str]) -> Wanted:
    numbers = [number for user in users if (number := keys.number_of(look, user)) is not None]
    found: Wanted = set()
    for number in numbers:
        sql = "SELECT trace FROM traces WHERE user_id = ? OR id IN (SELECT trace FROM spans WHERE user_id = ?)"
        found |= {bytes(row[0]) for row in look.rows(sql, (number, number))}
    return found


def _replies(store: "TraceStore", day: date, traces: Wanted) -> set[str]:
    with store.days.look(day) as look:
        if look is None:
            return set()
        numbers = _numbers(look, traces)
        return {
            row[0]
            for marks, part in _parts(numbers)
            for row in look.rows(
                f"SELECT DISTINCT response_id FROM spans WHERE trace IN ({marks}) AND response_id IS NOT NULL", part
            )
        }


def _reporting(store: "TraceStore", day: date, replies: Iterable[str]) -> Wanted:
    with store.days.look(day) as look:
        if look is None:
            return set()
        sql = """SELECT DISTINCT t.trace FROM spans s JOIN traces t ON t.id = s.trace
            WHERE s.id IN ({}) AND s.response_id IN ({})"""
        return {
            bytes(row[0])
            for marks, part in _parts(sorted(replies))
            if (numbers := keys.replies(look, part))
            for row in look.rows(sql.format(keys.literal(numbers), marks), part)
        }


def _parts(values: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    return ((",".join("?" * len(part)), part) for part in chunks(values))


def _numbers(look: Look, traces: Wanted) -> list[int]:
    return sorted(keys.traces(look, traces).values())


def count(store: "TraceStore", traces: Wanted) -> dict[date, int]:
    """Day -> how many spans of these traces it has; days without any are left out."""
    found = {}
    for day in store.days.listing():
        with store.days.look(day) as look:
            if look is None:
                continue
            spans = sum(
                look.rows(f"SELECT count(*) FROM spans WHERE trace IN ({marks})", part)[0][0]
                for marks, part in _parts(_numbers(look, traces))
            )
        if spans:
            found[day] = spans
    return found


def erase(store: "TraceStore", day: date, traces: Wanted) -> int:
    """Take traces out of a day; returns how many spans went. The file or the tables are written anew behind it.

    Nobody stores spans on that store meanwhile. Raises TracesUnavailable when the day cannot be written anew because
    somebody reads for long; what is erased stays erased, and doing it again finishes it.
    """
    with store.rewriting(day) as change:
        gone = _Day(store, change).erase(traces)
    with store.resting():
        _write_anew(store, day)
    return gone


class _Day:
    """One day, in one transaction."""

    def __init__(self, store: "TraceStore", change: Change) -> None:
        self._change = change
        self._compressor = blocks.compressor()
        self._postgres = isinstance(store.days, PostgresDays)

    def erase(self, traces: Wanted) -> int:
        """Take the traces out; returns how many spans went."""
        numbers = _numbers(self._change, traces)
        if not numbers:
            return 0
        columns = ("id", "block", "start_us", "user_id", "session_id")
        rows = self._of("spans", columns, "trace", numbers)
        named = self._of("traces", ("user_id", "session_id"), "id", numbers)
        last = self._change.rows("SELECT max(id), max(block) FROM spans")[0]
        self._change.many("DELETE FROM spans WHERE trace = ?", [(number,) for number in numbers])
        self._change.many("DELETE FROM traces WHERE id = ?", [(number,) for number in numbers])
        hours = {row[2] // 1_000_000 // HOUR * HOUR for row in rows}
        hours |= self._keep_last(*last)
        self._blocks({row[1] for row in rows})
        self._words()
        self._count_anew(hours)
        self._rename({number for row in rows for number in row[3:]} | {number for row in named for number in row})
        keys.write_anew(self._change)
        return len(rows)

    def _of(self, table: str, columns: Sequence[str], key: str, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        return [
            row
            for marks, part in _parts(numbers)
            for row in self._change.rows(f"SELECT {','.join(columns)} FROM {table} WHERE {key} IN ({marks})", part)
        ]

    def _keep_last(self, last: int, block: int) -> set[int]:
        """Ids go on behind the last one given, or who reads on from it would miss spans: an empty row keeps its place.

        It belongs to no trace, so nothing shows it. Returns the hours whose sums it changes.
        """
        midnight = int(datetime.combine(self._change.day, datetime.min.time(), UTC).timestamp())
        old = self._change.rows("SELECT id FROM spans WHERE trace = 0")
        self._change.many("DELETE FROM spans WHERE id = ?", old)
        if self._change.rows("SELECT coalesce(max(id), 0) FROM spans")[0][0] < last:
            blank = {name: 0 for name in ("trace", "span", "parent", "status", "duration_us", "counted", "slot")}
            blank |= {"id": last, "kind": 0, "start_us": midnight * 1_000_000, "block": block}
            self._change.insert("spans", SPAN_COLUMNS, [tuple(blank.get(name) for name in SPAN_COLUMNS)])
            return {midnight}
        return {midnight} if old else set()

    def _blocks(self, numbers: set[int]) -> None:
        """Payloads that go leave an empty one in their slot, so that the others keep theirs."""
        for part in chunks(sorted(numbers)):
            held = self._held(part)
            for number, data in self._data(part):
                if number not in held:
                    self._change.many("DELETE FROM blocks WHERE id = ?", [(number,)])
                    continue
                block = blocks.Block(data)
                parts = [blocks.packed(SpanPayload())] * (max(held[number]) + 1)
                for slot in held[number]:
                    parts[slot] = blocks.packed(block.payload(slot))
                closed = blocks.close(parts, self._compressor)
                self._change.many("UPDATE blocks SET data = ? WHERE id = ?", [(closed, number)])
                if self._postgres:
                    texts = (words.text(record) for record in self._records(block, held[number]))
                    known = sorted(words.numbers("\n".join(texts)))
                    sql = "UPDATE blocks SET words = CASE WHEN words IS NULL THEN NULL ELSE ?::int[] END WHERE id = ?"
                    self._change.many(sql, [(known, number)])

    def _held(self, numbers: Sequence[int]) -> dict[int, dict[int, tuple[int, str, str | None]]]:
        """Block -> slot -> id, name and message of the spans that are there."""
        marks = ",".join("?" * len(numbers))
        sql = f"""SELECT s.block, s.slot, s.id, n.text, s.status_message FROM spans s JOIN strings n ON n.id = s.name
            WHERE s.block IN ({marks})"""
        found: dict[int, dict[int, tuple[int, str, str | None]]] = defaultdict(dict)
        for block, slot, *rest in self._change.rows(sql, numbers):
            found[block][slot] = (rest[0], rest[1], rest[2])
        return found

    def _data(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        marks = ",".join("?" * len(numbers))
        return self._change.rows(f"SELECT id, data FROM blocks WHERE id IN ({marks})", numbers)

    def _records(self, block: blocks.Block, held: dict[int, tuple[int, str, str | None]]) -> Iterator[SpanRecord]:
        for slot, (_, name, message) in held.items():
            yield SpanRecord(b"", b"", name, 0, 0, status_message=message, payload=block.payload(slot))

    def _words(self) -> None:
        """SQLite's index does not keep its texts, so it is made anew from the spans that stay."""
        if self._postgres or not self._change.rows("SELECT 1 FROM search_idx LIMIT 1"):
            return
        self._change.rows("INSERT INTO search(search) VALUES ('delete-all')")
        numbers = [row[0] for row in self._change.rows("SELECT id FROM blocks ORDER BY id")]
        for at in range(0, len(numbers), _BLOCKS_AT_ONCE):
            part = numbers[at : at + _BLOCKS_AT_ONCE]
            held = self._held(part)
            for number, data in self._data(part):
                spans = held.get(number, {})
                texts = [words.text(record) for record in self._records(blocks.Block(data), spans)]
                rows = [(span, text) for (span, *_), text in zip(spans.values(), texts, strict=True)]
                self._change.many("INSERT INTO search (rowid, body) VALUES (?, ?)", rows)
        self._change.rows("INSERT INTO search(search) VALUES ('optimize')")

    def _count_anew(self, hours: set[int]) -> None:
        """The sums of some hours, from the spans that are there."""
        minutes = bool(self._change.rows("SELECT 1 FROM rollups WHERE grain = ? LIMIT 1", (MINUTE,)))
        for hour in sorted(hours):
            self._change.many("DELETE FROM rollups WHERE t >= ? AND t < ?", [(hour, hour + HOUR)])
            sql = f"""SELECT start_us, duration_us, CASE WHEN parent IS NULL THEN 1 ELSE 0 END, counted, status,
                input_tokens, output_tokens, cost, {",".join(_LEVELS)}
                FROM spans WHERE start_us >= ? AND start_us < ?"""
            places: dict[Place, Sums] = defaultdict(Sums)
            for row in self._change.rows(sql, (hour * 1_000_000, (hour + HOUR) * 1_000_000)):
                for level, key in enumerate((0, *row[8:])):
                    if key is not None:
                        _add(places[HOUR, level, hour, key], row, level)
                        if minutes and level < BY_MINUTE:
                            _add(places[MINUTE, level, row[0] // 1_000_000 // MINUTE * MINUTE, key], row, level)
            made = [
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
            if made:
                self._change.insert("rollups", ROLLUP_COLUMNS, made)

    def _rename(self, candidates: set[int | None]) -> None:
        """Users and sessions that nothing names any more lose their names. Their numbers are never given out again."""
        numbers = sorted(number for number in candidates if number is not None)
        used: set[int] = set()
        for name in INTERNED:
            for marks, part in _parts(numbers):
                sql = f"SELECT DISTINCT {name} FROM spans WHERE {name} IN ({marks})"
                used |= {row[0] for row in self._change.rows(sql, part)}
        gone = [(f"(erased {number})", number) for number in numbers if number not in used]
        self._change.many("UPDATE strings SET text = ? WHERE id = ?", gone)


def _add(sums: Sums, row: tuple[Any, ...], level: int) -> None:
    start, duration, root, counted, status, input_tokens, output_tokens, cost = row[:8]
    sums.spans += 1
    sums.first_us = min(sums.first_us, start)
    sums.last_us = max(sums.last_us, start + duration)
    if root:
        sums.traces += 1
        sums.trace_errors += status == 2
    if counted:
        sums.calls += 1
        sums.errors += status == 2
        sums.input_tokens += input_tokens or 0
        sums.output_tokens += output_tokens or 0
        sums.cost += cost or 0.0
    number = bucket(duration)
    for wanted, sketch in ((counted, sums.sketch), (root, sums.trace_sketch)):
        if wanted and level < SKETCHED:
            sketch[number] = sketch.get(number, 0) + 1


def _write_anew(store: "TraceStore", day: date) -> None:
    """What a database gives up it does not overwrite at once: pages and log are made anew from what is there."""
    if isinstance(store.days, SqliteDays):
        _vacuum(store.days, day)
    elif isinstance(store.days, PostgresDays):
        with store.days.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            for table in ("spans", "traces", "blocks", "strings", "rollups", "runs", "parts"):
                conn.exec_driver_sql(f"VACUUM (FULL) traces_{day:%Y%m%d}.{table}")


def _vacuum(days: SqliteDays, day: date) -> None:
    if not days.path(day).exists():
        return
    try:
        connection = apsw.Connection(str(days.path(day)), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            connection.execute("PRAGMA temp_store=MEMORY; PRAGMA secure_delete=ON")
            connection.execute("VACUUM")
            busy = not _log_emptied(connection)
        finally:
            connection.close(True)
    except apsw.Error as error:
        raise translated(error) from error
    if busy:
        raise TracesUnavailable(
            f"Somebody reads the traces of {day.isoformat()}, so their log cannot be emptied now.",
            hint="Erase the same user again: that does the rest.",
        )


def _log_emptied(connection: apsw.Connection) -> bool:
    """Empty the log. SQLite waits for readers by itself, and not for somebody else who copies the log."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
