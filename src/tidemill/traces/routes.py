"""The routes of traces. Spans come in at `/v1/traces`, which is no FastAPI route: see `receiver.py`."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.times import TimeQuery
from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.traces import service
from tidemill.traces.types import (
    Caller,
    DayUse,
    Grain,
    GroupBy,
    Measure,
    Prune,
    Pruned,
    SeriesPoint,
    SessionSummary,
    SpanDetail,
    SpanNotFound,
    TailPage,
    TraceFilter,
    TraceListQuery,
    TraceSearchQuery,
    TraceSummary,
    TraceTree,
    UserSummary,
    WriterState,
)

router = APIRouter(prefix="/api/traces", tags=["traces"])

Since = Annotated[TimeQuery | None, Query(description="From this time on. Default: seven days ago.")]
Until = Annotated[TimeQuery | None, Query(description="Before this time.")]


@router.get("", openapi_extra=role("observer"))
def list_traces(request: RequestContext, query: Annotated[TraceListQuery, Query()]) -> Page[TraceSummary]:
    """List traces, newest first."""
    where = _where(query)
    return request.read(service.list_traces, where, text=query.text, cursor=query.cursor, limit=query.limit)


def _where(query: TraceListQuery) -> TraceFilter:
    return TraceFilter.model_construct(**{name: getattr(query, name) for name in TraceFilter.model_fields})


@router.get("/search", openapi_extra=role("observer"))
def search_spans(request: RequestContext, query: Annotated[TraceSearchQuery, Query()]) -> Page[SpanDetail]:
    """List spans with all words of `text`, the latest stored first."""
    return request.read(service.search_spans, query.text, _where(query), cursor=query.cursor, limit=query.limit)


@router.get("/series", openapi_extra=role("observer"))
def get_series(
    request: RequestContext,
    since: Annotated[TimeQuery, Query(description="From this time on, rounded down to a step.")],
    until: Until = None,
    grain: Annotated[Grain, Query(description="Length of a step.")] = "hour",
    by: Annotated[GroupBy | None, Query(description="A series for each value of this.")] = None,
    key: Annotated[str | None, Query(description="Only this value of `by`.")] = None,
    measure: Annotated[Measure, Query(description="Model calls, or whole traces.")] = "calls",
    top: Annotated[int, Query(ge=1, le=500, description="So many of the busiest keys.")] = 20,
) -> list[SeriesPoint]:
    """Return requests, errors, tokens, cost and latency over time."""
    return request.read(
        service.get_series, since=since, until=until, grain=grain, by=by, key=key, measure=measure, top=top
    )


@router.get("/sessions", openapi_extra=role("observer"))
def list_sessions(
    request: RequestContext,
    since: Since = None,
    until: Until = None,
    user: str | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[SessionSummary]:
    """List sessions, the latest active first."""
    where = TraceFilter(since=since, until=until, user=user)
    return request.read(service.list_sessions, where, cursor=cursor, limit=limit)


@router.get("/users", openapi_extra=role("observer"))
def list_users(
    request: RequestContext, since: Since = None, until: Until = None, limit: Limit = 50
) -> Page[UserSummary]:
    """List users, those with the most requests first."""
    return request.read(service.list_users, since=since, until=until, limit=limit)


@router.get("/callers", openapi_extra=role("observer"))
def list_callers(
    request: RequestContext,
    release_id: str | None = None,
    model: str | None = None,
    deployment_id: str | None = None,
    since: Since = None,
) -> list[Caller]:
    """List who called a release, a model or a deployment, the busiest first."""
    return request.read(
        service.list_callers, release_id=release_id, model=model, deployment_id=deployment_id, since=since
    )


@router.get("/tail", openapi_extra=role("observer"))
def read_tail(
    request: RequestContext,
    after: Annotated[
        str | None, Query(description="`position` of the page before; none begins with the oldest.")
    ] = None,
    limit: Limit = 100,
) -> TailPage:
    """Return spans in the order they were stored."""
    return request.read(service.read_tail, after=after, limit=limit)


@router.get("/days", openapi_extra=role("observer"))
def list_days(request: RequestContext) -> list[DayUse]:
    """List the days that are kept and what they take up, newest first."""
    return request.read(service.list_days)


@router.get("/writer", openapi_extra=role("observer"))
def get_writer_state(request: RequestContext) -> WriterState:
    """Return how many spans were stored, wait and were refused since the start."""
    return request.read(service.get_writer_state)


@router.post("/prune", openapi_extra=role("admin"))
def prune(body: Prune, request: RequestContext) -> Pruned:
    """Remove old days of spans."""
    return service.prune(request.kernel, request.actor, body.before)


@router.get("/responses/{response_id}", openapi_extra=role("observer"))
def get_response(response_id: str, request: RequestContext) -> SpanDetail:
    """Return the span of a response, such as `chatcmpl-…`."""
    span = request.read(service.find_response, response_id)
    if span is None:
        raise SpanNotFound(
            f"No span has the response id {response_id!r}.", hint="It may be older than the days that are kept."
        )
    return span


@router.get("/{trace_id}", openapi_extra=role("observer"))
def get_trace(
    trace_id: str,
    request: RequestContext,
    payload: Annotated[bool, Query(description="With inputs, outputs and attributes.")] = False,
    limit: Annotated[int, Query(ge=1, le=20_000, description="How many spans at most.")] = 2000,
) -> TraceTree:
    """Return one trace as a tree."""
    return request.read(service.get_trace, trace_id, payload=payload, limit=limit)


@router.get("/{trace_id}/spans/{span_id}", openapi_extra=role("observer"))
def get_span(trace_id: str, span_id: str, request: RequestContext) -> SpanDetail:
    """Return one span with its input and output."""
    return request.read(service.get_span, trace_id, span_id)
