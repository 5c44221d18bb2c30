"""Queries over traces, and their removal.

Spans come in through `ctx.kernel.get(TraceWriter).submit(records)`; the answers come from the kernel's TraceStore.
"""

import binascii
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from tidemill.core import events
from tidemill.core.actors import Actor
from tidemill.core.kernel import Context, Kernel
from tidemill.core.search_words import split_words
from tidemill.core.wire import Page
from tidemill.traces.service.metadata import store_for
from tidemill.traces.store import MinuteCount, Position, SessionPlace, TracePlace, TraceStore
from tidemill.traces.types import (
    AnsweredCalls,
    Caller,
    DayUse,
    Grain,
    GroupBy,
    Measure,
    Pruned,
    SearchOff,
    SeriesPoint,
    SessionSummary,
    SpanDetail,
    SpanNotFound,
    SpanScores,
    TailPage,
    TraceFilter,
    TraceIdInvalid,
    TraceNotFound,
    TraceQueryInvalid,
    TraceSummary,
    TraceTree,
    UserSummary,
    WriterState,
)
from tidemill.traces.writer import TraceWriter

MINUTES_RETAINED = timedelta(hours=48)
MAX_STEPS = 10_000
MAX_PLACE = 253_402_300_799_999_999
"""The last microsecond of the year 9999. No number of a cursor or a position of the tail is higher."""
MIN_PREFIX = 6
"""Digits of a trace id that are enough where only one trace begins with them."""


def list_traces(
    ctx: Context,
    where: TraceFilter | None = None,
    *,
    text: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[TraceSummary]:
    """Return traces, newest first. `text`: only those with all of these words in a span. Raises SearchOff."""
    store = store_for(ctx)
    if text is not None:
        _check_search(store, text)
    before = _parse_cursor(cursor) if cursor is not None else None
    traces = store.list_traces(where or TraceFilter(), text=text, before=before, limit=limit + 1)
    more = len(traces) > limit
    traces = traces[:limit]
    next_cursor = f"{traces[-1][0][0]}-{traces[-1][0][1]}" if more else None
    return Page(items=[value for _, value in traces], next_cursor=next_cursor)


def _parse_cursor(cursor: str) -> TracePlace:
    start, _, trace = cursor.partition("-")
    try:
        return _parse_place(start), bytes.fromhex(trace).hex()
    except ValueError as error:
        raise _invalid_cursor(cursor) from error


def _parse_place(digits: str) -> int:
    """Return the number in a cursor or a position. Raises ValueError."""
    number = int(digits)
    if not 0 <= number <= MAX_PLACE:
        raise ValueError(f"{digits[:80]} is out of range")
    return number


def _invalid_cursor(cursor: str) -> TraceQueryInvalid:
    return TraceQueryInvalid(
        f"{cursor[:80]!r} is no cursor of this list.",
        hint="Give back `next_cursor` of the page before, or none.",
        param="cursor",
    )


def _check_search(store: TraceStore, text: str) -> None:
    if not store.searchable:
        raise SearchOff("The words of spans are not indexed here.", hint="Set TIDEMILL_TRACE_SEARCH=true.")
    if not split_words(text):
        raise TraceQueryInvalid(f"{text[:80]!r} has no word to search for.", hint="Give a word.", param="text")


def _parse_id(text: str, size: int) -> bytes:
    try:
        decoded = binascii.unhexlify(text)
    except ValueError:
        decoded = b""
    if len(decoded) != size:
        kind = "trace" if size == 16 else "span"
        raise TraceIdInvalid(
            f"{text[:80]!r} is no {kind} id: it has {size * 2} hexadecimal digits.",
            hint="`tidemill traces list` shows ids.",
            param=f"{kind}_id",
        )
    return decoded


def _complete_id(ctx: Context, trace_id: str) -> bytes:
    """Return the trace id that begins with these digits. Raises TraceNotFound, TraceIdInvalid when several do."""
    if not MIN_PREFIX <= len(trace_id) < 32 or not set(trace_id) <= set("0123456789abcdef"):
        return _parse_id(trace_id, 16)
    trace_ids = store_for(ctx).trace_ids_with_prefix(trace_id)
    if len(trace_ids) == 1:
        return trace_ids[0]
    if not trace_ids:
        raise TraceNotFound(f"No trace begins with {trace_id}.", hint="It may be older than the days that are kept.")
    raise TraceIdInvalid(f"Several traces begin with {trace_id}.", hint="Give more digits of the id.", param="trace_id")


def get_trace(ctx: Context, trace_id: str, *, payload: bool = False, limit: int = 2000) -> TraceTree:
    """Return one trace as a tree, by its id or the first digits of it. Raises TraceNotFound, TraceIdInvalid."""
    tree = store_for(ctx).get_trace(_complete_id(ctx, trace_id), payload=payload, limit=limit)
    if tree is None:
        raise TraceNotFound(f"There is no trace {trace_id}.", hint="It may be older than the days that are kept.")
    return tree


def get_span(ctx: Context, trace_id: str, span_id: str) -> SpanDetail:
    """Return one span with its input and output. Raises SpanNotFound, TraceIdInvalid."""
    span = store_for(ctx).get_span(_complete_id(ctx, trace_id), _parse_id(span_id, 8))
    if span is None:
        raise SpanNotFound(
            f"There is no span {span_id} in trace {trace_id}.", hint="`tidemill traces show` lists a trace's spans."
        )
    return span


def find_response(ctx: Context, response_id: str) -> SpanDetail | None:
    """Return the span of a response, such as `chatcmpl-…`; None when no span that is kept has this id."""
    return store_for(ctx).find_responses([response_id], payload=True).get(response_id)


def search_spans(
    ctx: Context, text: str, where: TraceFilter | None = None, *, cursor: str | None = None, limit: int = 50
) -> Page[SpanDetail]:
    """Return spans with all these words in input, output, name or error, the latest stored first. Raises SearchOff."""
    store = store_for(ctx)
    _check_search(store, text)
    before = None
    if cursor is not None:
        day, _, number = cursor.partition(".")
        try:
            before = date.fromisoformat(day), _parse_place(number)
        except ValueError as error:
            raise _invalid_cursor(cursor) from error
    spans = store.search_spans(text, where or TraceFilter(), before=before, limit=limit + 1)
    more = len(spans) > limit
    spans = spans[:limit]
    next_cursor = f"{spans[-1][0][0].isoformat()}.{spans[-1][0][1]}" if more else None
    return Page(items=[value for _, value in spans], next_cursor=next_cursor)


def list_sessions(
    ctx: Context, where: TraceFilter | None = None, *, cursor: str | None = None, limit: int = 50
) -> Page[SessionSummary]:
    """Return sessions, the latest active first. Of the filter: since, until, user; to the hour."""
    before: SessionPlace | None = None
    if cursor is not None:
        last, _, name = cursor.partition("-")
        try:
            before = _parse_place(last), name
        except ValueError as error:
            raise _invalid_cursor(cursor) from error
    sessions = store_for(ctx).list_sessions(where or TraceFilter(), before=before, limit=limit + 1)
    more = len(sessions) > limit
    sessions = sessions[:limit]
    next_cursor = f"{round(sessions[-1].last.timestamp() * 1_000_000)}-{sessions[-1].session}" if more else None
    return Page(items=sessions, next_cursor=next_cursor)


def list_users(
    ctx: Context, *, since: datetime | None = None, until: datetime | None = None, limit: int = 50
) -> Page[UserSummary]:
    """Return users, those with the most requests first, to the hour. Default: within seven days."""
    return Page(items=store_for(ctx).list_users(since or ctx.now - timedelta(days=7), until, limit))


def get_series(
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
    """Return requests, errors, tokens, cost and latency over time from the roll-ups, oldest first.

    `measure="calls"` counts model calls, each once; `"traces"` counts whole traces by their roots. `by` groups and
    keeps the `top` busiest keys; `key` keeps one value of the group. Steps without a request are left out. Minutes are
    kept for 48 hours, and not by key or user. `since` is rounded down to a step. Raises TraceQueryInvalid.
    """
    end = until or ctx.now + timedelta(seconds=1)
    if end <= since:
        raise TraceQueryInvalid("The time ends before it begins.", hint="Give an earlier `since`.", param="since")
    if key is not None and by is None:
        raise TraceQueryInvalid(f"`key` {key!r} needs `by`.", hint="Give `by` too, such as model.", param="by")
    if grain == "minute":
        _check_minutes(ctx, since, end, by)
    return store_for(ctx).get_series(since, end, grain, by=by, key=key, measure=measure, top=top)


def _check_minutes(ctx: Context, since: datetime, until: datetime, by: GroupBy | None) -> None:
    if by in ("key", "user"):
        raise TraceQueryInvalid(f"By {by} there are no minutes.", hint="Ask by the hour.", param="grain")
    if until - since > timedelta(minutes=MAX_STEPS) or since < ctx.now - MINUTES_RETAINED - timedelta(days=1):
        raise TraceQueryInvalid(
            "Minutes are kept for 48 hours.", hint="Ask by the hour, or for a later time.", param="grain"
        )


def read_tail(
    ctx: Context, *, after: str | None = None, limit: int = 500, where: TraceFilter | None = None
) -> TailPage:
    """Return spans with payload in the order they were stored, after a position: each span comes exactly once.

    `after=None` begins with the oldest span kept; `tail_end(ctx)` is the present end. A page may be empty and
    still move the position on, when the filter lets nothing through.
    """
    spans, reached, more = store_for(ctx).read_tail(_parse_position(after), where or TraceFilter(), limit)
    return TailPage(spans=spans, position=_format_position(reached), more=more)


def tail_end(ctx: Context) -> str:
    """Return the position behind everything that is stored now."""
    return _format_position(store_for(ctx).tail_end())


def _format_position(place: Position) -> str:
    return "~".join(f"{day:%Y%m%d}.{number}" for day, number in sorted(place.items())) or "0"


def _parse_position(text: str | None) -> Position:
    if text is None or text == "0":
        return {}
    try:
        pairs = (part.split(".") for part in text.split("~"))
        return {datetime.strptime(day, "%Y%m%d").date(): _parse_place(number) for day, number in pairs}
    except ValueError as error:
        raise TraceQueryInvalid(
            f"{text[:80]!r} is no position of the tail.", hint="Give back `position` of a page.", param="after"
        ) from error


def list_spans(
    ctx: Context,
    start: datetime,
    end: datetime,
    where: TraceFilter | None = None,
    *,
    limit: int = 1000,
    with_payload: bool = True,
    spread: bool = False,
    newest: bool = False,
) -> list[SpanDetail]:
    """Return spans that began in [start, end), oldest first.

    When there are more than `limit`, these are the oldest; with `spread` a sample chosen evenly over the window (stable
    by span id); with `newest` the newest.
    """
    within = (where or TraceFilter()).model_copy(update={"since": start, "until": end})
    return store_for(ctx).list_spans(within, limit=limit, payload=with_payload, spread=spread, newest=newest)


def list_callers(
    ctx: Context,
    *,
    release_id: str | None = None,
    model: str | None = None,
    deployment_id: str | None = None,
    since: datetime | None = None,
    limit: int = 1000,
) -> list[Caller]:
    """Return who called a release, a model or a deployment: the busiest `limit`, the busiest first.

    Default: within seven days.
    """
    where = TraceFilter(
        since=since or ctx.now - timedelta(days=7), release_id=release_id, model=model, deployment_id=deployment_id
    )
    return store_for(ctx).list_callers(where, limit)


def count_answered(
    ctx: Context, by: GroupBy, keys: Sequence[str], *, since: datetime | None = None
) -> dict[str, AnsweredCalls]:
    """Return key -> its model calls as far as traces are kept, for releases, deployments or prompt versions (`by`).

    To the hour. Keys without calls are left out.
    """
    return store_for(ctx).count_answered(by, keys, since)


def count_by_minute(
    ctx: Context, start: datetime, end: datetime, where: TraceFilter | None = None, *, slow_ms: float | None = None
) -> list[MinuteCount]:
    """Return spans that began in [start, end), counted exactly by minute: all, failed, and slower than `slow_ms`."""
    within = (where or TraceFilter()).model_copy(update={"since": start, "until": end})
    return store_for(ctx).count_by_minute(within, slow_us=round(slow_ms * 1000) if slow_ms is not None else None)


def touched_minutes(
    ctx: Context, after: str, start: datetime, end: datetime, where: TraceFilter | None = None
) -> list[int]:
    """Return minutes since 1970 in [start, end) in which spans began that were stored after a position of the tail."""
    within = (where or TraceFilter()).model_copy(update={"since": start, "until": end})
    return store_for(ctx).touched_minutes(_parse_position(after), within)


def get_writer_state(ctx: Context) -> WriterState:
    """Return how many spans were stored, wait and were refused since the start."""
    return ctx.kernel.get(TraceWriter).state


def list_days(ctx: Context) -> list[DayUse]:
    """Return the days that are stored and what they take up, newest first."""
    store = store_for(ctx)
    return [use for day in reversed(store.list_days()) if (use := store.use(day)) is not None]


def erase_day(kernel: Kernel, actor: Actor, day: date) -> DayUse | None:
    """Remove one day of spans, and the scores of them unless a setting keeps these; None when there was none.

    The scores go first, in one transaction with the record. The day goes after it: that may take long.
    """
    store = kernel.get(TraceStore)
    use = store.use(day)
    if use is None:
        return None
    midnight = datetime.combine(day, datetime.min.time(), UTC)
    with kernel.write(actor) as ctx:
        removed_scores = _delete_scores(ctx, midnight, midnight + timedelta(days=1))
        counts = {"spans": use.spans, "bytes": use.size_bytes, "scores": removed_scores}
        events.emit(ctx, "traces.day_erased", use.day, counts)
    store.erase_day(day)
    return use


def _delete_scores(ctx: Context, since: datetime | None, until: datetime) -> int:
    return ctx.kernel.get(SpanScores).delete_by_span_start(ctx, since, until)


def prune(kernel: Kernel, actor: Actor, before: date | None = None) -> Pruned:
    """Remove the days before `before`; without it, those that `trace_retention_days` does not keep.

    The scores of these days go too, also of days that went before, unless `trace_keep_scores` is set. Each day is a
    transaction of its own.
    """
    with kernel.read(actor) as ctx:
        first_day = before or first_retained_day(ctx)
    if first_day is None:
        return Pruned(days=[], freed_bytes=0)
    old_days = [day for day in kernel.get(TraceStore).list_days() if day < first_day]
    removed = [use for day in old_days if (use := erase_day(kernel, actor, day)) is not None]
    with kernel.write(actor) as ctx:
        _delete_scores(ctx, None, datetime.combine(first_day, datetime.min.time(), UTC))
    return Pruned(days=removed, freed_bytes=sum(use.size_bytes for use in removed))


def first_retained_day(ctx: Context) -> date | None:
    """Return the first day that the retention setting keeps; None when it keeps all."""
    count = ctx.kernel.settings.trace_retention_days
    return ctx.now.astimezone(UTC).date() - timedelta(days=count) if count else None
