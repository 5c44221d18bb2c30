"""Recorded calls: listed, looked up, and as nodes of the lineage. They are stored as spans of the traces."""

from datetime import UTC, datetime, timedelta

from tidemill.core.kernel import Context
from tidemill.core.lineage_types import LineageNode
from tidemill.core.wire import Page
from tidemill.gateway import spans
from tidemill.gateway.types import Call, CallNotFound, EnvironmentNames, Status, UnknownEnvironment
from tidemill.traces import service as traces
from tidemill.traces.types import SpanDetail, TraceFilter

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = 500
_ROUNDS = 40
"""A page reads so many times `_STEP` spans at most; the next page goes on from there."""
_SPAN_DELAY = timedelta(seconds=2)
"""A call begins right after its id was made."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def get(ctx: Context, call_id: str) -> Call:
    """Return one call by the response's id or its `x-request-id`. Raises CallNotFound."""
    kind, sign, digits = call_id.partition("_")
    response_id = f"chatcmpl-{digits}" if kind == "req" and sign else call_id
    span = traces.find_response(ctx, response_id)
    if span is not None and not spans.is_call(span):
        span = _find_own_span(ctx, response_id)
    if span is None:
        raise CallNotFound(f"There is no call {call_id!r}.", hint="`tidemill calls list` shows the newest ones.")
    return spans.call_from_span(span)


def _find_own_span(ctx: Context, response_id: str) -> SpanDetail | None:
    """Return the gateway's own span of a response that the application has reported, too, and earlier."""
    made_at = _time_of_id(response_id)
    where = TraceFilter(service=spans.SERVICE)
    spans_read = traces.list_spans(ctx, made_at - _SPAN_DELAY, made_at + _SPAN_DELAY, where, limit=10_000)
    return next((span for span in spans_read if span.response_id == response_id and spans.is_call(span)), None)


def list_calls(
    ctx: Context,
    *,
    release_id: str | None = None,
    environment: str | None = None,
    caller: str | None = None,
    user: str | None = None,
    status: Status | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Call]:
    """Return calls, newest first. A page may be short when few calls match; `next_cursor` goes on.

    Raises UnknownEnvironment: no calls at all would look as if nobody had asked.
    """
    if environment is not None:
        _check_environment(ctx, environment)
    where = TraceFilter(
        service=spans.SERVICE,
        release_id=release_id,
        environment=environment,
        user=user,
        status=spans.span_status(status) if status is not None else None,
    )
    until = (_time_of_id(cursor) if cursor is not None else ctx.now) + _SPAN_DELAY
    calls: dict[str, Call] = {}
    last: str | None = None
    for _ in range(_ROUNDS):
        step = max(_STEP, limit + 1) if caller is not None else limit + 50
        spans_read = traces.list_spans(ctx, since or _BEGIN, until, where, limit=step, newest=True)
        for call in (spans.call_from_span(span) for span in spans_read if spans.is_call(span)):
            if (cursor is None or call.id < cursor) and (caller is None or call.caller_name == caller):
                calls[call.id] = call
        if len(spans_read) < step:
            return _page(calls, limit, None)
        oldest = spans_read[0]
        last = oldest.response_id
        if len(calls) > limit:
            break
        # Spans of the same microsecond may be on both sides of the border: they are read twice and listed once.
        until = oldest.start + timedelta(microseconds=1) if oldest.start < spans_read[-1].start else oldest.start
    return _page(calls, limit, last)


def _check_environment(ctx: Context, name: str) -> None:
    environments = ctx.kernel.get(EnvironmentNames).names(ctx)
    if name not in environments:
        raise UnknownEnvironment(
            f"There is no environment {name!r}.", hint=f"There are {', '.join(environments)}.", param="environment"
        )


def _page(by_id: dict[str, Call], limit: int, last: str | None) -> Page[Call]:
    calls = sorted(by_id.values(), key=lambda call: call.id, reverse=True)
    if len(calls) > limit:
        return Page(items=calls[:limit], next_cursor=calls[limit - 1].id)
    return Page(items=calls, next_cursor=last)


def _time_of_id(cursor: str) -> datetime:
    """Return when a call's id was made; ids begin with milliseconds."""
    digits = cursor.removeprefix("chatcmpl-")
    number = 0
    for digit in digits:
        number = number * 32 + max(_ALPHABET.find(digit), 0)
    try:
        return datetime.fromtimestamp((number >> 72) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return _BEGIN


def origins(ctx: Context, call_id: str) -> tuple[LineageNode, list[str]] | None:
    """Return a call as a node of the lineage, and the ids of what answered it; None when there is no such call."""
    try:
        call = get(ctx, call_id)
    except CallNotFound:
        return None
    return spans.lineage_node(call), spans.list_origins(call)
