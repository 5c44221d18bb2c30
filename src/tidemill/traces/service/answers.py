"""Spans by response, trace and user, for features above. Each names the user and session of its whole trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from tidemill.core.kernel import Context, Kernel
from tidemill.traces.service.metadata import store_for
from tidemill.traces.store import TraceStore
from tidemill.traces.types import SpanDetail, TraceFilter

TRACE_SPANS = 2000
"""Spans of one trace that are read at most."""


def find_responses(ctx: Context, response_ids: Sequence[str], *, payload: bool = False) -> dict[str, SpanDetail]:
    """Return response id -> its span. Ids that no stored span has are left out."""
    if not response_ids:
        return {}
    store = store_for(ctx)
    spans = store.find_responses(response_ids, payload=payload)
    return {ref: _with_owner(store, span) for ref, span in spans.items()}


def find_span(ctx: Context, trace_id: str, span_id: str) -> SpanDetail | None:
    """Return one span with payload by its full hexadecimal ids; None when it is not stored."""
    store = store_for(ctx)
    span = store.get_span(bytes.fromhex(trace_id), bytes.fromhex(span_id))
    return _with_owner(store, span) if span is not None else None


def list_trace_spans(ctx: Context, trace_id: str, *, payload: bool = False) -> list[SpanDetail]:
    """Return the first TRACE_SPANS spans of a trace in the order of its tree; none when it is not stored."""
    tree = store_for(ctx).get_trace(bytes.fromhex(trace_id), payload=payload, limit=TRACE_SPANS)
    if tree is None:
        return []
    owner = {"user": tree.summary.user, "session": tree.summary.session}
    return [node.span.model_copy(update=owner) for node in tree.nodes]


def sample_spans(ctx: Context, where: TraceFilter, *, limit: int) -> list[SpanDetail]:
    """Return at most `limit` matching spans with payload, an even sample that is stable by span id, oldest first."""
    store = store_for(ctx)
    spans = store.list_spans(where, limit=limit, payload=True, spread=True)
    return [_with_owner(store, span) for span in spans]


def _with_owner(store: TraceStore, span: SpanDetail) -> SpanDetail:
    # Another span of the trace may be the one that names the user or the session.
    if span.parent_id is None or (span.user is not None and span.session is not None):
        return span
    tree = store.get_trace(bytes.fromhex(span.trace_id), payload=False, limit=1)
    if tree is None:
        return span
    return span.model_copy(
        update={"user": span.user or tree.summary.user, "session": span.session or tree.summary.session}
    )


@dataclass(frozen=True)
class UserTraces:
    """The traces of one user on all stored days."""

    ids: set[bytes]
    response_ids: list[str]
    spans: dict[date, int]
    """Day -> spans of these traces; days without any are left out."""

    @property
    def hex_ids(self) -> list[str]:
        """Return the trace ids as hexadecimal digits."""
        return [trace.hex() for trace in self.ids]


def find_user_traces(ctx: Context, users: Sequence[str]) -> UserTraces:
    """Return the traces that name one of these users in any span, and those with the same responses."""
    store = ctx.kernel.get(TraceStore)
    ids = store.traces_of_users(users)
    return UserTraces(ids, sorted(store.response_ids_in(ids)), store.count_spans(ids))


def erase_traces(kernel: Kernel, day: date, trace_ids: set[bytes]) -> int:
    """Erase traces from a day and rewrite the day; return how many spans went.

    Raises TracesUnavailable when somebody reads the day for long; what is erased stays erased.
    """
    return kernel.get(TraceStore).erase_traces(day, trace_ids)
