"""Finds the span or trace that a judgement is about, and what a score copies from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from tidemill.core import lineage
from tidemill.core.kernel import Context
from tidemill.feedback.types.scores import ReleaseUnknown, ScoreFilter, Target, TargetUnknown
from tidemill.traces import service as traces
from tidemill.traces.types import Span, SpanDetail, TraceFilter

_HINT = "A call can be judged once its reply has ended. If it has just ended, try again in a second."


@dataclass(frozen=True)
class JudgedTarget:
    """A span or a trace, as far as a score needs it."""

    trace_id: str
    span_id: str | None
    response_id: str | None
    release_id: str | None
    environment: str | None
    deployment_id: str | None
    model: str | None
    user: str | None
    session: str | None
    key_id: str | None
    start: datetime

    def with_user(self, user: str | None) -> "JudgedTarget":
        """Return the target with `user` where the span names none."""
        return self if self.user is not None or user is None else replace(self, user=user)


F = TypeVar("F", ScoreFilter, TraceFilter)


def resolve_release(ctx: Context, where: F) -> F:
    """Return the filter with `name@3` turned into the id that spans and scores carry. Raises ReleaseUnknown."""
    ref = where.release_id
    if ref is None or "@" not in ref:
        return where
    node = lineage.find(ctx.conn, "release", ref)
    if node is None:
        raise ReleaseUnknown(f"There is no release {ref!r}.", hint="`tidemill releases list` shows what there is.")
    return where.model_copy(update={"release_id": node.id})


def find_target(ctx: Context, target: Target) -> JudgedTarget:
    """Return what a judgement is about. Raises TargetUnknown."""
    target_or_error = find_targets(ctx, [target])[0]
    if isinstance(target_or_error, TargetUnknown):
        raise target_or_error
    return target_or_error


def find_targets(ctx: Context, targets: Sequence[Target]) -> list[JudgedTarget | TargetUnknown]:
    """Return what each target is, or the error that it is unknown. Response ids are looked up together."""
    ids = [target.response_id for target in targets if target.response_id is not None]
    spans = traces.find_responses(ctx, ids)
    results: list[JudgedTarget | TargetUnknown] = []
    for target in targets:
        try:
            results.append(_find(ctx, target, spans))
        except TargetUnknown as error:
            results.append(error)
    return results


def _find(ctx: Context, target: Target, spans: Mapping[str, SpanDetail]) -> JudgedTarget:
    if target.response_id is not None:
        response = spans.get(target.response_id)
        if response is None:
            raise _unknown(f"No recorded call has the response id {target.response_id!r}.", "response_id")
        return target_of_span(response)
    assert target.trace_id is not None
    if target.span_id is not None:
        span = traces.find_span(ctx, target.trace_id, target.span_id)
        if span is None:
            raise _unknown(f"The trace {target.trace_id} has no recorded span {target.span_id!r}.", "span_id")
        return target_of_span(span)
    trace_spans = traces.list_trace_spans(ctx, target.trace_id)
    if not trace_spans:
        raise _unknown(f"No span of the trace {target.trace_id!r} is recorded.", "trace_id")
    return target_of_trace(trace_spans)


def _unknown(message: str, param: str) -> TargetUnknown:
    return TargetUnknown(message, hint=_HINT, param=param)


def target_of_span(span: Span) -> JudgedTarget:
    """Return one span as a target."""
    return JudgedTarget(
        trace_id=span.trace_id,
        span_id=span.span_id,
        response_id=span.response_id if span.response_id and len(span.response_id) <= 200 else None,
        release_id=span.release_id,
        environment=span.environment,
        deployment_id=span.deployment_id,
        model=span.model,
        user=span.user,
        session=span.session,
        key_id=span.key_id,
        start=span.start,
    )


def target_of_trace(spans: Sequence[Span]) -> JudgedTarget:
    """Return a whole trace as a target: each field from its root, or else from the first span that has it."""
    span_ids = {span.span_id for span in spans}
    ordered = sorted(spans, key=lambda s: (s.parent_id in span_ids, s.start))

    def first(name: str) -> str | None:
        return next((value for span in ordered if (value := getattr(span, name)) is not None), None)

    return JudgedTarget(
        trace_id=ordered[0].trace_id,
        span_id=None,
        response_id=first("response_id") if sum(span.response_id is not None for span in spans) == 1 else None,
        release_id=first("release_id"),
        environment=first("environment"),
        deployment_id=first("deployment_id"),
        model=first("model"),
        user=first("user"),
        session=first("session"),
        key_id=first("key_id"),
        start=ordered[0].start,
    )
