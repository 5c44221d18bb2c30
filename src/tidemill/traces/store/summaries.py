"""The row that sums up a trace in its day, changed as spans come in."""

from typing import Any

from tidemill.traces.store import words
from tidemill.traces.store.days import Row
from tidemill.traces.store.schema import TRACE_COLUMNS
from tidemill.traces.types import SpanRecord

_FILLED = ("service", "model", "release_id", "environment", "user_id", "session_id")
"""What a trace takes from the first span that says it; from a root in any case."""


class TraceRow:
    """One trace of one day. The attributes are the columns."""

    __slots__ = (*TRACE_COLUMNS, "changed", "is_new")

    def __init__(self, row: Row, *, is_new: bool = False) -> None:
        for name, value in zip(TRACE_COLUMNS, row, strict=True):
            setattr(self, name, value)
        self.trace: bytes = bytes(self.trace)
        self.is_new, self.changed = is_new, False

    @classmethod
    def new(cls, number: int, trace_id: bytes) -> "TraceRow":
        """A trace without spans."""
        values: dict[str, Any] = dict.fromkeys(TRACE_COLUMNS)
        values |= {"id": number, "trace": trace_id, "start_us": 1 << 62, "end_us": 0}
        values |= dict.fromkeys(("status", "spans", "errors", "input_tokens", "output_tokens"), 0)
        return cls(tuple(values.values()), is_new=True)

    def row(self) -> Row:
        """The values of the columns."""
        return tuple(getattr(self, name) for name in TRACE_COLUMNS)

    def add(self, record: SpanRecord, number: int, call: bool, names: dict[str, int | None]) -> None:
        """Take in one span. `names` are the numbers of its interned strings."""
        self.changed = True
        start = record.start_ns // 1000
        root = record.parent_id is None and self.root is None
        if root or (self.root is None and start < self.start_us):
            self.name = names["name"]
        if root:
            self.root = number
            self.status = {"ok": 1, "error": 2}.get(record.status, 0)
        self._previews(record, root, call)
        self.start_us = min(self.start_us, start)
        self.end_us = max(self.end_us, start + record.duration_ns // 1000)
        self.spans += 1
        self.errors += record.status == "error"
        if call:
            self.input_tokens += record.input_tokens or 0
            self.output_tokens += record.output_tokens or 0
        if call and record.cost_usd is not None:
            self.cost = (self.cost or 0.0) + record.cost_usd
        for column in _FILLED:
            said = names[column]
            if said is not None and (root or getattr(self, column) is None):
                setattr(self, column, said)

    def _previews(self, record: SpanRecord, root: bool, call: bool) -> None:
        if root or (call and self.input is None):
            self.input = words.preview(record.payload.input) or self.input
        if root or (call and self.output is None):
            self.output = words.preview(record.payload.output) or self.output
        if self.is_new and self.input is not None:
            self.input = self.input.replace("\x00", "")
        if self.is_new and self.output is not None:
            self.output = self.output.replace("\x00", "")
