"""Rows and blocks of a day as spans."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.traces.store.blocks import Block
from tidemill.traces.store.day_cache import CachedStrings
from tidemill.traces.store.days import DayReader, Row
from tidemill.traces.store.schema import INTERNED, SPAN_COLUMNS
from tidemill.traces.store.strings import chunks, texts_of
from tidemill.traces.types import KINDS, SpanDetail, SpanEvent, SpanLink, SpanPayload, Status

STATUSES: tuple[Status, ...] = ("unset", "ok", "error")
SELECT = (
    "SELECT "
    + ", ".join(f"s.{name}" for name in SPAN_COLUMNS)
    + ", t.trace FROM spans s JOIN traces t ON t.id = s.trace"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_NAME = len(SPAN_COLUMNS) - len(INTERNED)
_BLOCK, _SLOT = SPAN_COLUMNS.index("block"), SPAN_COLUMNS.index("slot")


def moment(microseconds: int) -> datetime:
    """Return a stored time as a moment in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def hex_id(number: int | None) -> str | None:
    """Return a stored span id as its 16 hexadecimal digits."""
    return None if number is None else f"{number & 0xFFFFFFFFFFFFFFFF:016x}"


class SpanReader:
    """Reads the spans of one day, each block and string once."""

    def __init__(self, reader: DayReader, cached_texts: CachedStrings[int, str]) -> None:
        self.reader = reader
        self._cached_texts = cached_texts
        self._texts: dict[int, str] = {}
        self._blocks: dict[int, Block] = {}

    def text(self, number: int | None) -> str | None:
        """Return a string that was loaded; None for None."""
        return None if number is None else self._texts[number]

    def load_texts(self, numbers: Sequence[int | None]) -> None:
        """Load the strings with these numbers."""
        missing = [number for number in numbers if number not in self._texts]
        self._texts |= texts_of(self.reader, missing, self._cached_texts)

    def query(self, condition: str, values: Sequence[Any], *, payload: bool) -> list[SpanDetail]:
        """Return the spans (`s`, of traces `t`) that `condition` selects, in its order."""
        return self.values(self.reader.rows(f"{SELECT} {condition}", values), payload=payload)

    def values(self, rows: Sequence[Row], *, payload: bool) -> list[SpanDetail]:
        """Return rows of SELECT as spans."""
        self.load_texts([number for row in rows for number in row[_FIRST_NAME:-1]])
        if payload:
            self._open(rows)
        return [self._span(row, payload) for row in rows]

    def _open(self, rows: Sequence[Row]) -> None:
        numbers = sorted({row[_BLOCK] for row in rows} - set(self._blocks))
        for chunk in chunks(numbers):
            marks = ",".join("?" * len(chunk))
            for number, data in self.reader.rows(f"SELECT id, data FROM blocks WHERE id IN ({marks})", chunk):
                self._blocks[number] = Block(data)

    def _span(self, row: Row, payload: bool) -> SpanDetail:
        (_, _, span, parent, kind, status, start_us, duration_us, _, message, response_id, *tokens) = row[:15]
        ttft, cost, truncated = row[15], row[16], row[17]
        names = [self.text(number) for number in row[_FIRST_NAME:-1]]
        fields: dict[str, Any] = dict(zip(INTERNED, names, strict=True))
        user, session = fields.pop("user_id"), fields.pop("session_id")
        input_tokens, output_tokens, cached_tokens, reasoning_tokens = tokens
        content = self._blocks[row[_BLOCK]].payload(row[_SLOT]) if payload else None
        return SpanDetail.model_construct(
            trace_id=bytes(row[-1]).hex(),
            span_id=hex_id(span) or "",
            parent_id=hex_id(parent),
            kind=KINDS[kind],
            status=STATUSES[status],
            start=moment(start_us),
            duration_ms=duration_us / 1000,
            status_message=message,
            response_id=response_id,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_tokens=cached_tokens,
            reasoning_tokens=reasoning_tokens,
            ttft_ms=ttft / 1000 if ttft is not None else None,
            cost_usd=cost,
            truncated=truncated.split("\n") if truncated else [],
            user=user,
            session=session,
            **fields,
            **(_payload(content) if content is not None else {}),
        )


def _payload(payload: SpanPayload) -> dict[str, Any]:
    return {
        "input": payload.input,
        "output": payload.output,
        "attributes": payload.attributes,
        "events": [
            SpanEvent.model_construct(
                at=moment(event.at // 1000) if event.at else None, name=event.name, attributes=event.attributes
            )
            for event in payload.events
        ],
        "links": [
            SpanLink.model_construct(trace_id=link.trace_id, span_id=link.span_id, attributes=link.attributes)
            for link in payload.links
        ],
        "resource": payload.resource,
        "scope": payload.scope,
    }
