"""Questions to the traces, and what is done with them. The answers come from the TraceStore of the kernel.

Spans come in through `ctx.kernel.part(TraceWriter).submit(records)`. The bodies of these functions follow; their
signatures stand.
"""

from datetime import date, datetime

from tidemill.core.context import Context
from tidemill.core.wire import Page
from tidemill.traces.types import (
    Caller,
    DayUse,
    Grain,
    GroupBy,
    Measure,
    Pruned,
    SeriesPoint,
    SessionSummary,
    SpanDetail,
    TailPage,
    TraceFilter,
    TraceSummary,
    TraceTree,
    UserSummary,
)


def list_traces(
    ctx: Context,
    where: TraceFilter | None = None,
    *,
    text: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[TraceSummary]:
    """Traces, newest first. `text`: only those with all of these words in an input or output."""
    raise NotImplementedError


def get_trace(ctx: Context, trace_id: str, *, payload: bool = False, limit: int = 2000) -> TraceTree:
    """One trace as a tree. Raises TraceNotFound, TraceIdInvalid."""
    raise NotImplementedError


def get_span(ctx: Context, trace_id: str, span_id: str) -> SpanDetail:
    """One span with what went in and out. Raises SpanNotFound, TraceIdInvalid."""
    raise NotImplementedError


def find_response(ctx: Context, response_id: str) -> SpanDetail | None:
    """The span of a reply, such as `chatcmpl-…`; None when no span that is kept has this id."""
    raise NotImplementedError


def search(
    ctx: Context, text: str, where: TraceFilter | None = None, *, cursor: str | None = None, limit: int = 50
) -> Page[SpanDetail]:
    """Spans with all these words in input, output, name or error, newest first. Raises SearchOff."""
    raise NotImplementedError


def sessions(
    ctx: Context, where: TraceFilter | None = None, *, cursor: str | None = None, limit: int = 50
) -> Page[SessionSummary]:
    """Sessions, the latest active first. Of the filter: since, until, user."""
    raise NotImplementedError


def users(
    ctx: Context, *, since: datetime | None = None, until: datetime | None = None, limit: int = 50
) -> Page[UserSummary]:
    """Users with the most requests first, to the hour."""
    raise NotImplementedError


def series(
    ctx: Context,
    *,
    since: datetime,
    until: datetime | None = None,
    grain: Grain = "hour",
    by: GroupBy | None = None,
    key: str | None = None,
    measure: Measure = "calls",
    top: int = 20,
) -> list[SeriesPoint]:
    """Requests, errors, tokens, cost and latency over time from the roll-ups, oldest first.

    `measure="calls"` counts model calls, each once; `"traces"` counts whole traces by their roots. `by` groups;
    `key` keeps one value of the group. Minutes are kept for 48 hours, and not by key or user.
    """
    raise NotImplementedError


def tail(ctx: Context, *, after: str | None = None, limit: int = 500, where: TraceFilter | None = None) -> TailPage:
    """Spans with payload in the order they were stored, after a position: each span comes exactly once.

    `after=None` begins with the oldest span kept; `position(ctx)` gives the present end. A page may be empty and
    still move the position on, when the filter lets nothing through.
    """
    raise NotImplementedError


def position(ctx: Context) -> str:
    """The present end of the tail."""
    raise NotImplementedError


def spans_between(
    ctx: Context,
    start: datetime,
    end: datetime,
    where: TraceFilter | None = None,
    *,
    limit: int = 1000,
    with_payload: bool = True,
    spread: bool = False,
) -> list[SpanDetail]:
    """Spans that began in [start, end), oldest first. `spread`: when there are more than `limit`, a sample chosen
    evenly over the window (stable by span id) instead of the oldest."""
    raise NotImplementedError


def callers(
    ctx: Context,
    *,
    release_id: str | None = None,
    model: str | None = None,
    deployment_id: str | None = None,
    since: datetime | None = None,
) -> list[Caller]:
    """Who called a release, a model or a deployment, the busiest first. Default: within seven days."""
    raise NotImplementedError


def days(ctx: Context) -> list[DayUse]:
    """The days that are kept, newest first."""
    raise NotImplementedError


def erase_day(ctx: Context, day: date) -> DayUse | None:
    """Remove one day of spans; None when there was none."""
    raise NotImplementedError


def prune(ctx: Context, before: date | None = None) -> Pruned:
    """Remove the days before `before`; without it, those that `trace_retention_days` does not keep."""
    raise NotImplementedError
