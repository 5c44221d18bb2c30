"""Filters and queries over traces, and their results."""

from datetime import date
from typing import Literal

from pydantic import Field

from tidemill.core.times import TimeQuery
from tidemill.core.wire import Body, Instant, Value
from tidemill.traces.types.spans import Kind, Span, SpanDetail, Status

GroupBy = Literal["model", "release", "prompt", "environment", "deployment", "key", "user"]
Measure = Literal["calls", "traces"]
Grain = Literal["minute", "hour", "day"]


class TraceFilter(Body):
    """A filter over spans: every field that is set must match. A trace matches when one of its spans does."""

    since: TimeQuery | None = Field(default=None, description="Spans that began at this time or later.")
    until: TimeQuery | None = Field(default=None, description="Spans that began before this time.")
    kind: Kind | None = None
    calls: bool = Field(default=False, description="Only model calls, each counted once.")
    roots: bool = Field(default=False, description="Only spans without a parent.")
    name: str | None = None
    status: Status | None = None
    service: str | None = None
    model: str | None = None
    provider: str | None = None
    operation: str | None = None
    release_id: str | None = None
    environment: str | None = None
    deployment_id: str | None = None
    prompt: str | None = Field(default=None, description="`name@3`.")
    key_id: str | None = None
    user: str | None = None
    session: str | None = None
    finish_reason: str | None = None
    min_ms: float | None = Field(default=None, ge=0, description="At least this long.")
    max_ms: float | None = Field(default=None, ge=0, description="At most this long.")


class TraceListQuery(TraceFilter):
    """Which traces are listed: the filter, words to find, and the page."""

    text: str | None = Field(default=None, max_length=500, description="Only those with all of these words.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")
    limit: int = Field(default=50, ge=1, le=500, description="How many at most.")


class TraceSearchQuery(TraceListQuery):
    """The query of a search over spans."""

    text: str = Field(min_length=1, max_length=500, description="Words that all must be there.")


class TraceSummary(Value):
    """A trace in a list."""

    trace_id: str
    name: str = Field(description="The root's name; the earliest span's while the root has not come.")
    complete: bool = Field(description="Whether the root has come.")
    start: Instant
    duration_ms: float
    spans: int
    errors: int = Field(description="Spans that failed.")
    status: Status = Field(description="The root's.")
    input_tokens: int = Field(description="Over its model calls, each counted once.")
    output_tokens: int
    cost_usd: float | None
    service: str | None
    model: str | None = Field(description="Of its first model call.")
    release_id: str | None
    environment: str | None
    user: str | None
    session: str | None
    input: str | None = Field(description="How the input begins.")
    output: str | None = Field(description="How the output begins.")


class TreeNode(Value):
    """A span at its place in the tree."""

    depth: int = Field(description="0 for a root.")
    span: SpanDetail


class TraceTree(Value):
    """A whole trace: its spans in the order of a walk through the tree, children by their start."""

    summary: TraceSummary
    payload: bool = Field(description="Whether inputs, outputs and attributes are filled in.")
    nodes: list[TreeNode]
    left_out: int = Field(default=0, description="Spans beyond the limit.")


class SessionSummary(Value):
    """A conversation: traces with one session id."""

    session: str
    user: str | None
    first: Instant
    last: Instant
    traces: int
    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class UserSummary(Value):
    """What one user of the application did."""

    user: str
    first: Instant
    last: Instant
    traces: int
    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class SeriesPoint(Value):
    """One step of a time series."""

    t: Instant = Field(description="Begin of the step.")
    key: str | None = Field(description="Value of what the series is grouped by; null when it is not grouped.")
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    p50_ms: float | None = Field(description="Percentiles are within 2% of the true ones.")
    p90_ms: float | None
    p99_ms: float | None


class TailPage(Value):
    """Spans in the order they were stored, and where to go on."""

    spans: list[SpanDetail]
    position: str = Field(description="Give it back as `after`.")
    more: bool


class Caller(Value):
    """Who called a model or a release."""

    key_id: str | None
    user: str | None
    service: str | None
    environment: str | None
    requests: int
    first: Instant
    last: Instant


class AnsweredCalls(Value):
    """The model calls that one thing answered, as far as traces are kept."""

    calls: int
    errors: int
    first: Instant = Field(description="Begin of its oldest span that is kept.")
    newest: Instant = Field(description="End of its newest span.")


class WriterState(Value):
    """How the storing of spans is doing."""

    stored: int = Field(description="Spans stored since the server started.")
    waiting: int = Field(description="Spans that wait to be stored.")
    refused: int = Field(description="Spans that were sent back because too many waited.")


class DayUse(Value):
    """What one day of traces takes up."""

    day: str = Field(description="`2026-11-21`, in UTC.")
    spans: int
    traces: int
    size_bytes: int


class Prune(Body):
    """Remove whole days."""

    before: date | None = Field(
        default=None,
        description="Remove the days before this one; null: those that the retention setting does not keep.",
    )


class Pruned(Value):
    """The days that were removed."""

    days: list[DayUse]
    freed_bytes: int


__all__ = [
    "AnsweredCalls",
    "Caller",
    "DayUse",
    "Grain",
    "GroupBy",
    "Measure",
    "Prune",
    "Pruned",
    "SeriesPoint",
    "SessionSummary",
    "Span",
    "TailPage",
    "TraceFilter",
    "TraceListQuery",
    "TraceSearchQuery",
    "TraceSummary",
    "TraceTree",
    "TreeNode",
    "UserSummary",
    "WriterState",
]
