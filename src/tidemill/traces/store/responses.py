"""Spans by the ids of their responses."""

from collections.abc import Sequence
from datetime import date

from tidemill.traces.store.span_rows import SpanReader
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.strings import chunks
from tidemill.traces.types import SpanDetail

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def day_of_response(response_id: str) -> date | None:
    """Return the day in an id that the gateway made: its first digits are milliseconds. None for any other id."""
    prefix, _, digits = response_id.partition("-")
    if prefix != "chatcmpl" or len(digits) != 24 or not set(digits) <= set(_ALPHABET):
        return None
    number = 0
    for digit in digits:
        number = number * 32 + _ALPHABET.index(digit)
    try:
        return date.fromtimestamp((number >> 72) / 1000)
    except (ValueError, OverflowError, OSError):
        return None


def find_responses(days: StoredDays, response_ids: Sequence[str], *, payload: bool) -> dict[str, SpanDetail]:
    """Return response id -> span: the one that was counted, else any other. Ids that no day has are left out."""
    missing = set(response_ids)
    spans: dict[str, SpanDetail] = {}
    likely = {day for response_id in missing if (day := day_of_response(response_id)) is not None}
    for day in sorted(days.list_days(), key=lambda day: (day in likely, day), reverse=True):
        if not missing:
            break
        with days.read(day) as reader:
            if reader is None:
                continue
            span_reader = SpanReader(reader, days.texts(day))
            for part in chunks(sorted(missing)):
                marks = ",".join("?" * len(part))
                condition = f"WHERE s.response_id IN ({marks}) ORDER BY s.counted, s.id DESC"
                day_spans = span_reader.query(condition, part, payload=payload)
                spans |= {span.response_id: span for span in day_spans if span.response_id is not None}
        missing -= set(spans)
    return spans
