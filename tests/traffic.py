"""Traffic and scores as the monitors' tests need them."""

import secrets
from datetime import datetime, timedelta

from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import new_id
from tidemill.feedback import store as score_store
from tidemill.feedback.types import Score
from tidemill.pipelines import service as pipelines
from tidemill.pipelines.types import PipelineApply, PipelineSpec
from tidemill.traces.store import TraceStore
from tidemill.traces.types import SpanRecord


def call(at: datetime, *, ms: float = 100.0, ok: bool = True, **fields: object) -> SpanRecord:
    """One model call."""
    return SpanRecord(
        trace_id=secrets.token_bytes(16),
        span_id=secrets.token_bytes(8),
        name="chat",
        start_ns=int(at.timestamp() * 1e9),
        duration_ns=int(ms * 1e6),
        kind="llm",
        status="ok" if ok else "error",
        **{"environment": "prod", "model": "hello", "release_id": "rel_1", **fields},
    )


def traffic(kernel: Kernel, end: datetime, length: timedelta, count: int, *, bad: int = 0, **fields: object) -> None:
    """`count` calls spread over `length` up to `end`, of which `bad`, spread too, have failed."""
    step = length / count
    failed = {int((i + 0.5) * count / bad) for i in range(bad)} if bad else set()
    spans = [call(end - step * (i + 0.5), ok=i not in failed, **fields) for i in range(count)]
    kernel.get(TraceStore).write(spans)


def scores(
    ctx: Context,
    name: str,
    values: list[float],
    *,
    at: datetime,
    step: timedelta = timedelta(seconds=1),
    users: int | None = None,
    **fields: object,
) -> None:
    """Scores given to answers one `step` apart, the newest at `at`; `users` say who asked, in turn."""
    made = []
    for i, value in enumerate(values):
        start = at - step * i
        facts: dict[str, object] = {
            "id": new_id("sc"),
            "trace_id": secrets.token_hex(16),
            "span_id": None,
            "response_id": None,
            "name": name,
            "value": value,
            "label": None,
            "comment": None,
            "correction": None,
            "source": "person",
            "scorer": None,
            "author": "someone",
            "recorded_by": "owner",
            "at": start,
            "release_id": "rel_1",
            "environment": "prod",
            "deployment_id": None,
            "model": "hello",
            "user": f"u{i % users}" if users else None,
            "session": None,
            "span_start": start,
        }
        made.append(Score.model_validate(facts | fields))
    score_store.upsert(ctx.conn, made)


def pipeline(ctx: Context, name: str = "support") -> None:
    """A pipeline for triggers to start. It has no steps."""
    pipelines.apply(ctx, PipelineApply(spec=PipelineSpec(name=name)))


def keep_scores(kernel: Kernel, name: str, values: list[float], **more: object) -> None:
    """`scores` in a unit of work of its own."""
    with kernel.write(OWNER) as ctx:
        scores(ctx, name, values, at=more.pop("at", ctx.now), **more)
