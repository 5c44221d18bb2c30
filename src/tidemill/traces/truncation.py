"""Texts that are too long are truncated before they are stored, and the span says which and by how much."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tidemill.traces.otlp_decoded import OMITTED
from tidemill.traces.store import pack_payload
from tidemill.traces.types import EventRecord, LinkRecord, SpanPayload, SpanRecord

TOTAL_FACTOR = 4
"""A span may hold this many times the longest text in all."""
MAX_NAMED = 10
"""So many truncated texts are named one by one."""
_FIELDS = ("output", "input", "attributes", "events", "links", "resource")


class Truncator:
    """Truncates the payloads of records that are too large; it does not look into the others, which most are."""

    def __init__(self, max_chars: int) -> None:
        self.max_chars = max_chars

    def __call__(self, records: Sequence[SpanRecord]) -> None:
        """Truncate in place."""
        for record in records:
            # They have to be packed anyway, and what is short in bytes has no long text.
            record.packed = pack_payload(record.payload)
            if len(record.packed) > self.max_chars or OMITTED in record.payload.attributes:
                self._truncate_record(record)
                record.packed = pack_payload(record.payload)

    def _truncate_record(self, record: SpanRecord) -> None:
        notes: list[str] = []
        room = [self.max_chars * TOTAL_FACTOR]
        payload = record.payload
        fields = {name: self._value(getattr(payload, name), name, notes, room) for name in _FIELDS}
        record.payload = SpanPayload(**fields, scope=payload.scope)
        if OMITTED in record.payload.attributes:
            notes.append(f"attributes: {record.payload.attributes.pop(OMITTED)}")
        more = len(notes) - MAX_NAMED
        record.truncated = [*record.truncated, *notes[:MAX_NAMED], *([f"and {more} more"] if more > 0 else [])]

    def _value(self, value: Any, path: str, notes: list[str], room: list[int]) -> Any:
        if isinstance(value, str):
            return self._text(value, path, notes, room)
        if isinstance(value, list):
            return [self._value(item, f"{path}.{index}", notes, room) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {
                key[: self.max_chars]: self._value(item, f"{path}.{key[:80]}", notes, room)
                for key, item in value.items()
            }
        if isinstance(value, EventRecord | LinkRecord):
            fields = msgspec.structs.asdict(value)
            return type(value)(**{name: self._value(fields[name], f"{path}.{name}", notes, room) for name in fields})
        return value

    def _text(self, value: str, path: str, notes: list[str], room: list[int]) -> str:
        size = len(value)
        limit = min(self.max_chars, max(room[0], 0))
        room[0] -= min(size, limit)
        if size <= limit:
            return value
        notes.append(f"{path}: {limit} of {size} characters kept")
        return value[:limit] + "…"
