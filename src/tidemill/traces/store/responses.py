"""Spans by the ids of their responses."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

from tidemill.traces.store.days import DayReader
from tidemill.traces.store.span_rows import SpanReader
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.strings import chunks, is_storable
from tidemill.traces.types import SpanDetail

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def day_of_response(response_id: str) -> date | None:
    """Return the UTC day in an id that the gateway made: its first digits are milliseconds. None for any other id."""
    prefix, _, digits = response_id.partition("-")
    if prefix != "chatcmpl" or len(digits) != 24 or not set(digits) <= set(_ALPHABET):
        return None
    number = 0
    for digit in digits:
        number = number * 32 + _ALPHABET.index(digit)
    try:
        return datetime.fromtimestamp((number >> 72) / 1000, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None


def find_responses(days: StoredDays, response_ids: Sequence[str], *, payload: bool) -> dict[str, SpanDetail]:
    """Return response id -> span: the one that was counted, else any other. Ids that no day has are left out."""
    missing = {response_id for response_id in response_ids if is_storable(response_id)}
    spans: dict[str, SpanDetail] = {}
    likely = {day for response_id in missing if (day := day_of_response(response_id)) is not None}
    for day in sorted(days.list_days(), key=lambda day: (day in likely, day), reverse=True):
        if not missing:
            break
        with days.read(day) as reader:
            if reader is None:
                continue
            span_reader = SpanReader(reader, days.texts(reader))
            for part in chunks(sorted(missing)):
                ids = _best_spans(reader, part)
                if ids:
                    day_spans = span_reader.query(f"WHERE s.id IN ({','.join('?' * len(ids))})", ids, payload=payload)
                    spans |= {span.response_id: span for span in day_spans if span.response_id is not None}
        missing -= set(spans)
    return spans


def _best_spans(reader: DayReader, response_ids: Sequence[str]) -> list[int]:
    """Return the id of one span of each response: the one that was counted, else the first. Reads no payload."""
    sql = f"""SELECT coalesce(min(CASE WHEN counted = 1 THEN id END), min(id)) FROM spans
        WHERE response_id IN ({",".join("?" * len(response_ids))}) GROUP BY response_id"""
    return [row[0] for row in reader.rows(sql, response_ids)]
