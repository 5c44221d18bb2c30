"""Which answers a collection looks at: those that were named, or those that fit a filter."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import JsonValue

from tidemill.core.kernel import Context
from tidemill.feedback import store as scores
from tidemill.feedback.targets import by_release_id
from tidemill.feedback.types.collections import AnswersUnknown, ToDataset
from tidemill.feedback.types.scores import Score, ScoreFilter
from tidemill.traces import service as traces
from tidemill.traces.types import Span, SpanDetail, TraceFilter

WINDOW = timedelta(days=7)
_SHARED = ("release_id", "environment", "deployment_id", "model", "user", "session", "since", "until")
_OWN = (
    "kind",
    "name",
    "status",
    "service",
    "model",
    "provider",
    "operation",
    "release_id",
    "environment",
    "deployment_id",
    "prompt",
    "key_id",
    "user",
    "session",
    "finish_reason",
)


@dataclass(frozen=True)
class Picked:
    """One answer and what was said about it."""

    span: SpanDetail
    scores: list[Score]


def pick(ctx: Context, spec: ToDataset) -> list[Picked]:
    """The answers, in the order they were named or given. Raises AnswersUnknown."""
    if spec.response_ids is not None:
        return _with_scores(ctx, _by_response(ctx, spec.response_ids), whole=set())
    if spec.traces is not None:
        return _by_trace(ctx, list(dict.fromkeys(spec.traces)))
    assert spec.filter is not None
    wanted = by_release_id(ctx, spec.filter)
    return _by_feedback(ctx, spec, wanted) if spec.only != "all" else _by_filter(ctx, spec, wanted)


def _by_response(ctx: Context, ids: Iterable[str]) -> list[SpanDetail]:
    wanted = list(dict.fromkeys(ids))
    found = traces.find_responses(ctx, wanted, payload=True)
    _check([ref for ref in wanted if ref not in found], "response ids")
    return [found[ref] for ref in wanted]


def _check(lacking: Sequence[str], what: str) -> None:
    if lacking:
        shown = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise AnswersUnknown(
            f"No recorded call belongs to these {what}: {shown}.",
            hint="Leave them out. If a call has just ended, try again in a second.",
            details={"unknown": list(lacking[:1000])},
        )


def _by_trace(ctx: Context, ids: Sequence[str]) -> list[Picked]:
    found = {trace_id: answer_span(traces.list_trace_spans(ctx, trace_id, payload=True)) for trace_id in ids}
    _check([trace_id for trace_id, span in found.items() if span is None], "traces")
    return _with_scores(ctx, [span for span in found.values() if span is not None], whole=set(ids))


def answer_span(spans: Sequence[SpanDetail]) -> SpanDetail | None:
    """The span that holds a trace's question and answer: its root when that has both, else its last model call."""
    known = {span.span_id for span in spans}
    ordered = sorted(spans, key=lambda s: s.start)
    roots = [s for s in ordered if s.parent_id not in known]
    full = [s for s in roots if s.input is not None and s.output is not None]
    calls = [s for s in ordered if s.kind == "llm"]
    spoken = [s for s in calls if s.input is not None and s.output is not None]
    return next(iter([*full, *reversed(spoken), *reversed(calls), *roots]), None)


def _by_filter(ctx: Context, spec: ToDataset, wanted: TraceFilter) -> list[Picked]:
    since = wanted.since or (wanted.until or ctx.now) - WINDOW
    spans = traces.sample_spans(ctx, model_calls(wanted, since=since), limit=spec.limit)
    return _with_scores(ctx, spans, whole=set())


def model_calls(wanted: TraceFilter, **more: Any) -> TraceFilter:
    """The filter, for model calls, each once, unless it names a kind of span."""
    return wanted.model_copy(update=more if wanted.kind is not None else {"kind": "llm", "calls": True, **more})


def _by_feedback(ctx: Context, spec: ToDataset, wanted: TraceFilter) -> list[Picked]:
    """From the feedback to the answers: few have any, so this is the short way."""
    shared = {name: getattr(wanted, name) for name in _SHARED}
    shared["since"] = shared["since"] or ctx.now - WINDOW
    corrected = True if spec.only == "corrected" else None
    asked = ScoreFilter(name=spec.feedback, source="person", corrected=corrected, **shared)
    given = scores.listing(ctx.conn, asked, after=None, limit=20 * spec.limit)
    targets = list(dict.fromkeys((score.trace_id, score.span_id) for score in given))
    if len(targets) > spec.limit:
        targets = sorted(targets, key=lambda target: _draw(*target))
    found: dict[tuple[str, str], SpanDetail] = {}
    for trace_id, span_id in targets:
        if len(found) >= spec.limit:
            break
        span = _judged(ctx, trace_id, span_id)
        # Days that retention has removed leave scores without a span.
        if span is not None and fits(span, wanted):
            found.setdefault((span.trace_id, span.span_id), span)
    ordered = sorted(found.values(), key=lambda span: (span.start, span.span_id))
    return _with_scores(ctx, ordered, whole={trace_id for trace_id, span_id in targets if span_id is None})


def _draw(trace_id: str, span_id: str | None) -> bytes:
    return hashlib.sha256(f"{trace_id}:{span_id}".encode()).digest()


def _judged(ctx: Context, trace_id: str, span_id: str | None) -> SpanDetail | None:
    if span_id is None:
        return answer_span(traces.list_trace_spans(ctx, trace_id, payload=True))
    return traces.find_span(ctx, trace_id, span_id)


def fits(span: Span, wanted: TraceFilter) -> bool:
    """Whether a span has what a filter asks of its own fields (its time and trace aside)."""
    same = all(value is None or getattr(span, name) == value for name in _OWN for value in [getattr(wanted, name)])
    long = wanted.min_ms is None or span.duration_ms >= wanted.min_ms
    short = wanted.max_ms is None or span.duration_ms <= wanted.max_ms
    return same and long and short and not (wanted.roots and span.parent_id is not None)


def _with_scores(ctx: Context, spans: Sequence[SpanDetail], *, whole: set[str]) -> list[Picked]:
    """Each span with its scores and those of its trace; with all of the trace's where the trace was meant."""
    said: dict[str, list[Score]] = {}
    for score in scores.of_traces(ctx.conn, sorted({span.trace_id for span in spans}), source="person"):
        said.setdefault(score.trace_id, []).append(score)
    return [
        Picked(
            span,
            [
                score
                for score in said.get(span.trace_id, [])
                if span.trace_id in whole or score.span_id in (None, span.span_id)
            ],
        )
        for span in spans
    ]


def corrected_span(ctx: Context, score_id: str, wanted: TraceFilter) -> tuple[SpanDetail, JsonValue] | None:
    """The answer that a score corrects, with the correction; None when either is gone or the filter leaves it out."""
    score = scores.by_id(ctx.conn, score_id)
    if score is None or score.correction is None:
        return None
    span = _judged(ctx, score.trace_id, score.span_id)
    if span is None or not fits(span, wanted) or not _in_time(span, wanted):
        return None
    return span, score.correction


def _in_time(span: Span, wanted: TraceFilter) -> bool:
    begun = wanted.since is None or span.start >= wanted.since
    return begun and (wanted.until is None or span.start < wanted.until)
