"""Many spans by the ids of their replies."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from tidemill.traces.store import keys
from tidemill.traces.store.spans import Reader
from tidemill.traces.store.strings import chunks
from tidemill.traces.types import SpanDetail

if TYPE_CHECKING:
    from tidemill.traces.store import TraceStore

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def day_in(response_id: str) -> date | None:
    """The day that our own ids tell: their first digits are milliseconds."""
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


def found(store: "TraceStore", response_ids: Sequence[str], *, payload: bool) -> dict[str, SpanDetail]:
    """Response id -> span: the one that was counted, else any other. Ids that no day has are left out."""
    left = set(response_ids)
    spans: dict[str, SpanDetail] = {}
    likely = {day for ref in left if (day := day_in(ref)) is not None}
    for day in sorted(store.days.listing(), key=lambda day: (day in likely, day), reverse=True):
        if not left:
            break
        with store.days.look(day) as look:
            if look is None:
                continue
            reader = Reader(look, store.texts(day))
            for part in chunks(sorted(left)):
                numbers = keys.replies(look, part)
                if not numbers:
                    continue
                marks = ",".join("?" * len(part))
                condition = f"""WHERE s.id IN ({keys.literal(numbers)}) AND s.response_id IN ({marks})
                    ORDER BY s.counted, s.id DESC"""
                here = reader.query(condition, part, payload=payload)
                spans |= {span.response_id: span for span in here if span.response_id is not None}
        left -= set(spans)
    return spans
