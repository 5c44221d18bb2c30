"""The row that sums up a trace in its day, changed as spans come in."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from tidemill.traces.store import words
from tidemill.traces.store.days import Row
from tidemill.traces.store.schema import INTERNED, TRACE_COLUMNS
from tidemill.traces.types import SpanRecord

_NAME = INTERNED.index("name")
_FILLED = tuple(
    (name, INTERNED.index(name)) for name in ("service", "model", "release_id", "environment", "user_id", "session_id")
)
"""Columns that a trace takes from the first span that has them, or from its root; and their places in INTERNED."""


@dataclass(slots=True)
class TraceRow:
    """One trace of one day: the columns of `traces` in their order, and what is to be done with it."""

    id: int
    trace: bytes
    start_us: int = 1 << 62
    end_us: int = 0
    root: int | None = None
    status: int = 0
    spans: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    name: int | None = None
    service: int | None = None
    model: int | None = None
    release_id: int | None = None
    environment: int | None = None
    user_id: int | None = None
    session_id: int | None = None
    input: str | None = None
    output: str | None = None
    is_new: bool = False
    changed: bool = False

    def row(self) -> Row:
        """Return the values of TRACE_COLUMNS."""
        return _row(self)

    def add(self, record: SpanRecord, number: int, call: bool, names: Sequence[int | None]) -> None:
        """Take in one span. `names` are the numbers of its interned strings, in the order of INTERNED."""
        self.changed = True
        start = record.start_ns // 1000
        end = start + record.duration_ns // 1000
        root = record.parent_id is None and self.root is None
        if root or (self.root is None and start < self.start_us):
            self.name = names[_NAME]
        if root:
            self.root = number
            self.status = {"ok": 1, "error": 2}.get(record.status, 0)
        if root or call:
            self._previews(record, root, call)
        if start < self.start_us:
            self.start_us = start
        if end > self.end_us:
            self.end_us = end
        self.spans += 1
        self.errors += record.status == "error"
        if call:
            self.input_tokens += record.input_tokens or 0
            self.output_tokens += record.output_tokens or 0
            if record.cost_usd is not None:
                self.cost = (self.cost or 0.0) + record.cost_usd
        for column, at in _FILLED:
            number_of_text = names[at]
            if number_of_text is not None and (root or getattr(self, column) is None):
                setattr(self, column, number_of_text)

    def _previews(self, record: SpanRecord, root: bool, call: bool) -> None:
        if root or (call and self.input is None):
            self.input = words.preview(record.payload.input) or self.input
        if root or (call and self.output is None):
            self.output = words.preview(record.payload.output) or self.output


_row = attrgetter(*TRACE_COLUMNS)
