"""Texts that are too long are cut before they are stored, and the span says which and how much."""

from collections.abc import Sequence
from typing import Any

from tidemill.traces.otlp import CUT
from tidemill.traces.store import pack_payload
from tidemill.traces.types import SpanPayload, SpanRecord

WHOLE_FACTOR = 4
"""A span may hold this many times the longest text in all."""
NAMED = 10
"""So many cuts are named one by one."""
_FIELDS = ("output", "input", "attributes", "events", "links", "resource")


class Cutter:
    """Cuts the payloads of records that are too large; most are not, and are not looked at."""

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def __call__(self, records: Sequence[SpanRecord]) -> None:
        """Cut in place."""
        for record in records:
            # Packed they have to be anyway: what is short in bytes has no long text.
            record.packed = pack_payload(record.payload)
            if len(record.packed) > self.longest or CUT in record.payload.attributes:
                self._cut(record)
                record.packed = pack_payload(record.payload)

    def _cut(self, record: SpanRecord) -> None:
        cuts: list[str] = []
        room = [self.longest * WHOLE_FACTOR]
        held = record.payload
        changed = {name: self._value(getattr(held, name), name, cuts, room) for name in _FIELDS}
        record.payload = SpanPayload(**changed, scope=held.scope)
        if CUT in record.payload.attributes:
            cuts.append(f"attributes: {record.payload.attributes.pop(CUT)}")
        more = len(cuts) - NAMED
        record.truncated = [*record.truncated, *cuts[:NAMED], *([f"and {more} more"] if more > 0 else [])]

    def _value(self, value: Any, where: str, cuts: list[str], room: list[int]) -> Any:
        if isinstance(value, str):
            return self._text(value, where, cuts, room)
        if isinstance(value, list):
            return [self._value(item, f"{where}.{at}", cuts, room) for at, item in enumerate(value)]
        if isinstance(value, dict):
            return {
                key[: self.longest]: self._value(item, f"{where}.{key[:80]}", cuts, room) for key, item in value.items()
            }
        return value

    def _text(self, value: str, where: str, cuts: list[str], room: list[int]) -> str:
        size = len(value)
        most = min(self.longest, max(room[0], 0))
        room[0] -= min(size, most)
        if size <= most:
            return value
        cuts.append(f"{where}: {most} of {size} characters kept")
        return value[:most] + "…"
