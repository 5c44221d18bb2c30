"""What the role observer sees of traces: names and figures, and nothing that anybody wrote."""

from collections.abc import Sequence

from tidemill.core.kernel import Context
from tidemill.traces.masking.names import is_no_content
from tidemill.traces.store import Position, SpanPlace, TracePlace, TraceStore
from tidemill.traces.types import ContentRefused, SpanDetail, TraceFilter, TraceSummary, TraceTree


def store_for(ctx: Context) -> TraceStore:
    """Return the store as the caller may read it."""
    store = ctx.kernel.get(TraceStore)
    return store if ctx.actor.has("viewer") else _MetadataStore(store)


class _MetadataStore(TraceStore):
    """The same store: what it returns has no contents, and it does not search in them."""

    def __init__(self, store: TraceStore) -> None:
        vars(self).update(vars(store))

    def get_trace(self, trace_id: bytes, *, payload: bool, limit: int) -> TraceTree | None:
        """Return a whole trace with at most `limit` of its spans; None when no day has it."""
        tree = super().get_trace(trace_id, payload=payload, limit=limit)
        if tree is None:
            return None
        nodes = [node.model_copy(update={"span": _without_content(node.span)}) for node in tree.nodes]
        return tree.model_copy(update={"summary": _without_preview(tree.summary), "nodes": nodes})

    def get_span(self, trace_id: bytes, span_id: bytes) -> SpanDetail | None:
        """Return one span; None when no day has it."""
        span = super().get_span(trace_id, span_id)
        return _without_content(span) if span is not None else None

    def find_responses(self, response_ids: Sequence[str], *, payload: bool) -> dict[str, SpanDetail]:
        """Return response id -> span. Ids that no day has are left out."""
        spans = super().find_responses(response_ids, payload=payload)
        return {response_id: _without_content(span) for response_id, span in spans.items()}

    def list_traces(
        self, where: TraceFilter, *, text: str | None = None, before: TracePlace | None = None, limit: int
    ) -> list[tuple[TracePlace, TraceSummary]]:
        """Return traces, newest first. Raises ContentRefused for a text."""
        if text is not None:
            raise _refused()
        traces = super().list_traces(where, before=before, limit=limit)
        return [(place, _without_preview(summary)) for place, summary in traces]

    def list_spans(
        self, where: TraceFilter, *, limit: int, payload: bool, spread: bool = False, newest: bool = False
    ) -> list[SpanDetail]:
        """Return spans that began within the filter's time, oldest first."""
        spans = super().list_spans(where, limit=limit, payload=payload, spread=spread, newest=newest)
        return [_without_content(span) for span in spans]

    def search_spans(
        self, text: str, where: TraceFilter, *, before: SpanPlace | None = None, limit: int
    ) -> list[tuple[SpanPlace, SpanDetail]]:
        """Raise ContentRefused: whether a word is there tells what was written."""
        raise _refused()

    def read_tail(self, position: Position, where: TraceFilter, limit: int) -> tuple[list[SpanDetail], Position, bool]:
        """Return spans after a position in commit order, the position behind them, and whether there are more."""
        spans, reached, more = super().read_tail(position, where, limit)
        return [_without_content(span) for span in spans], reached, more


def _refused() -> ContentRefused:
    return ContentRefused(
        "The role observer does not search in what users wrote.", hint="Ask an admin for the role viewer."
    )


def _without_preview(summary: TraceSummary) -> TraceSummary:
    return summary.model_copy(update={"input": None, "output": None})


def _without_content(span: SpanDetail) -> SpanDetail:
    return span.model_copy(
        update={
            "input": None,
            "output": None,
            "status_message": None,
            "attributes": _names(span.attributes),
            "events": [event.model_copy(update={"attributes": _names(event.attributes)}) for event in span.events],
            "links": [link.model_copy(update={"attributes": _names(link.attributes)}) for link in span.links],
            "resource": _names(span.resource),
        }
    )


def _names(attributes: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in attributes.items() if is_no_content(key, value)}
