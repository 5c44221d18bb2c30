"""Selects the answers of a collection: those that are named, or those that match a filter."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import JsonValue

from tidemill.core.kernel import Context
from tidemill.feedback import store as scores
from tidemill.feedback.targets import resolve_release
from tidemill.feedback.types.collections import AnswersUnknown, ToDataset
from tidemill.feedback.types.scores import Score, ScoreFilter
from tidemill.traces import service as traces
from tidemill.traces.types import Span, SpanDetail, TraceFilter

WINDOW = timedelta(days=7)
_SCORE_FIELDS = ("release_id", "environment", "deployment_id", "model", "user", "session", "since", "until")
_SPAN_FIELDS = (
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
class AnswerWithFeedback:
    """One answer and people's scores of it."""

    span: SpanDetail
    scores: list[Score]


def select_answers(ctx: Context, spec: ToDataset) -> list[AnswerWithFeedback]:
    """Return the answers, in the order of their names or of time. Raises AnswersUnknown."""
    if spec.response_ids is not None:
        return _with_scores(ctx, _by_response(ctx, spec.response_ids), whole_traces=set())
    if spec.traces is not None:
        return _by_trace(ctx, list(dict.fromkeys(spec.traces)))
    assert spec.filter is not None
    where = resolve_release(ctx, spec.filter)
    return _by_feedback(ctx, spec, where) if spec.only != "all" else _by_filter(ctx, spec, where)


def _by_response(ctx: Context, ids: Iterable[str]) -> list[SpanDetail]:
    unique_ids = list(dict.fromkeys(ids))
    spans = traces.find_responses(ctx, unique_ids, payload=True)
    _check([ref for ref in unique_ids if ref not in spans], "response ids")
    return [spans[ref] for ref in unique_ids]


def _check(missing: Sequence[str], kind: str) -> None:
    if missing:
        examples = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise AnswersUnknown(
            f"No recorded call belongs to these {kind}: {examples}.",
            hint="Leave them out. If a call has just ended, try again in a second.",
            details={"unknown": list(missing[:1000])},
        )


def _by_trace(ctx: Context, ids: Sequence[str]) -> list[AnswerWithFeedback]:
    spans = {trace_id: answer_span(traces.list_trace_spans(ctx, trace_id, payload=True)) for trace_id in ids}
    _check([trace_id for trace_id, span in spans.items() if span is None], "traces")
    return _with_scores(ctx, [span for span in spans.values() if span is not None], whole_traces=set(ids))


def answer_span(spans: Sequence[SpanDetail]) -> SpanDetail | None:
    """Return the span with a trace's question and answer: its root when that has both, else its last model call."""
    span_ids = {span.span_id for span in spans}
    ordered = sorted(spans, key=lambda s: s.start)
    roots = [s for s in ordered if s.parent_id not in span_ids]
    complete_roots = [s for s in roots if s.input is not None and s.output is not None]
    calls = [s for s in ordered if s.kind == "llm"]
    complete = [s for s in calls if s.input is not None and s.output is not None]
    return next(iter([*complete_roots, *reversed(complete), *reversed(calls), *roots]), None)


def _by_filter(ctx: Context, spec: ToDataset, where: TraceFilter) -> list[AnswerWithFeedback]:
    since = where.since or (where.until or ctx.now) - WINDOW
    spans = traces.sample_spans(ctx, model_calls(where, since=since), limit=spec.limit)
    return _with_scores(ctx, spans, whole_traces=set())


def model_calls(where: TraceFilter, **more: Any) -> TraceFilter:
    """Return the filter limited to model calls, each once, unless it names a kind of span."""
    return where.model_copy(update=more if where.kind is not None else {"kind": "llm", "calls": True, **more})


def _by_feedback(ctx: Context, spec: ToDataset, where: TraceFilter) -> list[AnswerWithFeedback]:
    """Return the answers of the feedback that matches: few answers have any, so feedback is read first."""
    shared = {name: getattr(where, name) for name in _SCORE_FIELDS}
    shared["since"] = shared["since"] or ctx.now - WINDOW
    corrected = True if spec.only == "corrected" else None
    score_filter = ScoreFilter(name=spec.feedback, source="person", corrected=corrected, **shared)
    feedback = scores.list_scores(ctx.conn, score_filter, after=None, limit=20 * spec.limit)
    targets = list(dict.fromkeys((score.trace_id, score.span_id) for score in feedback))
    if len(targets) > spec.limit:
        targets = sorted(targets, key=lambda target: _hash(*target))
    spans: dict[tuple[str, str], SpanDetail] = {}
    for trace_id, span_id in targets:
        if len(spans) >= spec.limit:
            break
        span = _find_judged(ctx, trace_id, span_id)
        # Days that retention has removed leave scores without a span.
        if span is not None and fits(span, where):
            spans.setdefault((span.trace_id, span.span_id), span)
    ordered = sorted(spans.values(), key=lambda span: (span.start, span.span_id))
    return _with_scores(ctx, ordered, whole_traces={trace_id for trace_id, span_id in targets if span_id is None})


def _hash(trace_id: str, span_id: str | None) -> bytes:
    return hashlib.sha256(f"{trace_id}:{span_id}".encode()).digest()


def _find_judged(ctx: Context, trace_id: str, span_id: str | None) -> SpanDetail | None:
    if span_id is None:
        return answer_span(traces.list_trace_spans(ctx, trace_id, payload=True))
    return traces.find_span(ctx, trace_id, span_id)


def fits(span: Span, where: TraceFilter) -> bool:
    """Return whether a span matches a filter, apart from its time and trace."""
    same = all(
        value is None or getattr(span, name) == value for name in _SPAN_FIELDS for value in [getattr(where, name)]
    )
    long_enough = where.min_ms is None or span.duration_ms >= where.min_ms
    short_enough = where.max_ms is None or span.duration_ms <= where.max_ms
    return same and long_enough and short_enough and not (where.roots and span.parent_id is not None)


def _with_scores(ctx: Context, spans: Sequence[SpanDetail], *, whole_traces: set[str]) -> list[AnswerWithFeedback]:
    """Return each span with its scores and those of its trace; for whole traces, with those of all spans."""
    by_trace: dict[str, list[Score]] = {}
    for score in scores.list_by_traces(ctx.conn, sorted({span.trace_id for span in spans}), source="person"):
        by_trace.setdefault(score.trace_id, []).append(score)
    return [
        AnswerWithFeedback(
            span,
            [
                score
                for score in by_trace.get(span.trace_id, [])
                if span.trace_id in whole_traces or score.span_id in (None, span.span_id)
            ],
        )
        for span in spans
    ]


def corrected_span(ctx: Context, score_id: str, where: TraceFilter) -> tuple[SpanDetail, JsonValue] | None:
    """Return the answer that a score corrects, and the correction; None when one is gone or the filter excludes it."""
    score = scores.get(ctx.conn, score_id)
    if score is None or score.correction is None:
        return None
    span = _find_judged(ctx, score.trace_id, score.span_id)
    if span is None or not fits(span, where) or not _in_time(span, where):
        return None
    return span, score.correction


def _in_time(span: Span, where: TraceFilter) -> bool:
    after_since = where.since is None or span.start >= where.since
    return after_since and (where.until is None or span.start < where.until)
