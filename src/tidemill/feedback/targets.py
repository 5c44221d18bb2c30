"""What a judgement is about: the span behind an id, and what a score copies from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from tidemill.core import lineage
from tidemill.core.kernel import Context
from tidemill.feedback.types.scores import ReleaseUnknown, ScoreFilter, Target, TargetUnknown
from tidemill.traces import service as traces
from tidemill.traces.types import Span, SpanDetail, TraceFilter

_LATER = "A call can be judged once its reply has ended. If it has just ended, try again in a second."


@dataclass(frozen=True)
class Judged:
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

    def of(self, user: str | None) -> "Judged":
        """The same, said to be of `user` where the span names nobody."""
        return self if self.user is not None or user is None else replace(self, user=user)


F = TypeVar("F", ScoreFilter, TraceFilter)


def by_release_id(ctx: Context, wanted: F) -> F:
    """The filter with `name@3` turned into the id that spans and scores carry. Raises ReleaseUnknown."""
    ref = wanted.release_id
    if ref is None or "@" not in ref:
        return wanted
    node = lineage.find(ctx.conn, "release", ref)
    if node is None:
        raise ReleaseUnknown(f"There is no release {ref!r}.", hint="`tidemill releases list` shows what there is.")
    return wanted.model_copy(update={"release_id": node.id})


def find(ctx: Context, target: Target) -> Judged:
    """What is judged. Raises TargetUnknown."""
    found = find_all(ctx, [target])[0]
    if isinstance(found, TargetUnknown):
        raise found
    return found


def find_all(ctx: Context, targets: Sequence[Target]) -> list[Judged | TargetUnknown]:
    """What is judged by each, or that it is not known; response ids are looked up together."""
    ids = [target.response_id for target in targets if target.response_id is not None]
    answered = traces.find_responses(ctx, ids)
    found: list[Judged | TargetUnknown] = []
    for target in targets:
        try:
            found.append(_find(ctx, target, answered))
        except TargetUnknown as error:
            found.append(error)
    return found


def _find(ctx: Context, target: Target, answered: Mapping[str, SpanDetail]) -> Judged:
    if target.response_id is not None:
        reply = answered.get(target.response_id)
        if reply is None:
            raise _unknown(f"No recorded call has the response id {target.response_id!r}.", "response_id")
        return of_span(reply)
    assert target.trace_id is not None
    if target.span_id is not None:
        span = traces.find_span(ctx, target.trace_id, target.span_id)
        if span is None:
            raise _unknown(f"The trace {target.trace_id} has no recorded span {target.span_id!r}.", "span_id")
        return of_span(span)
    spans = traces.list_trace_spans(ctx, target.trace_id)
    if not spans:
        raise _unknown(f"No span of the trace {target.trace_id!r} is recorded.", "trace_id")
    return of_trace(spans)


def _unknown(message: str, param: str) -> TargetUnknown:
    return TargetUnknown(message, hint=_LATER, param=param)


def of_span(span: Span) -> Judged:
    """One span as what is judged."""
    return Judged(
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


def of_trace(spans: Sequence[Span]) -> Judged:
    """A whole trace as what is judged: what its root says, and where the root is silent its first span that speaks."""
    known = {span.span_id for span in spans}
    ordered = sorted(spans, key=lambda s: (s.parent_id in known, s.start))

    def first(name: str) -> str | None:
        return next((value for span in ordered if (value := getattr(span, name)) is not None), None)

    return Judged(
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
