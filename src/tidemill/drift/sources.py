"""Where the rows of a comparison come from: live traffic, or a split of a dataset version."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tidemill.core.kernel import Context
from tidemill.data import service as data
from tidemill.data.types import DatasetVersion
from tidemill.deployments import service as deployments
from tidemill.drift.descriptors import label_reader
from tidemill.drift.rows import Row, Side
from tidemill.drift.topics import LEARNT_FROM, Labelled
from tidemill.drift.types import (
    DatasetReference,
    DriftMonitor,
    PeriodReference,
    ReferenceUnfit,
)
from tidemill.evals import service as evals
from tidemill.evals.types import ReleaseTarget
from tidemill.feedback import service as feedback
from tidemill.releases import service as releases
from tidemill.traces import service as traces
from tidemill.traces.types import SpanDetail, TraceFilter

LOOK_BACK = timedelta(days=30)
"""A window of rows without hours looks back so far."""

_SOON = timedelta(seconds=1)

_RELEASES = 20
"""Releases of one name that are looked through, the newest."""

_INPUT = {"completion": "prompt", "classification": "text", "text": "text", "eval": "input"}
_RUNS = 200


@dataclass(frozen=True)
class _Span:
    """A stretch of traffic to compare with."""

    start: datetime
    end: datetime
    label: str
    first_ones: bool
    """The reference is the first rows of the stretch, and the window may follow in the same stretch."""


def sides(ctx: Context, monitor: DriftMonitor) -> tuple[Side, Side]:
    """Reference and window; no request stands on both sides.

    Raises ReferenceUnfit, and what the dataset, release or environment raises when it is not there.
    """
    where = monitor.reference
    if isinstance(where, DatasetReference):
        return _dataset(ctx, monitor, where), _window(ctx, monitor, None)
    span = _stretch(ctx, monitor)
    recent = _window(ctx, monitor, span.start if span.first_ones else span.end)
    end = min((row.at for row in recent.rows if row.at is not None), default=span.end) if span.first_ones else span.end
    rows = _traffic(ctx, monitor, span.start, end, monitor.reference_rows, spread=not span.first_ones)
    return Side(label=span.label, rows=rows), recent


def _window(ctx: Context, monitor: DriftMonitor, not_before: datetime | None) -> Side:
    """The newest requests that the monitor watches."""
    hours = monitor.window.hours
    start = ctx.now - (timedelta(hours=hours) if hours is not None else LOOK_BACK)
    start = max(start, not_before) if not_before is not None else start
    rows = _traffic(ctx, monitor, start, ctx.now + _SOON, monitor.window.rows, newest=True)
    cut = hours is not None and len(rows) >= monitor.window.rows
    return Side(
        label="live traffic", rows=rows, notes=[f"The window was cut to its newest {len(rows)} rows."] if cut else []
    )


def _stretch(ctx: Context, monitor: DriftMonitor) -> _Span:
    where = monitor.reference
    if isinstance(where, PeriodReference):
        label = f"{where.start:%Y-%m-%d %H:%M} to {where.end:%Y-%m-%d %H:%M} UTC"
        return _Span(where.start, where.end, label, first_ones=False)
    start = _live_since(ctx, monitor)
    return _Span(start, ctx.now + _SOON, f"first traffic since {start:%Y-%m-%d %H:%M} UTC", first_ones=True)


def _live_since(ctx: Context, monitor: DriftMonitor) -> datetime:
    """When the release went live that now serves in the monitor's environment."""
    if monitor.environment is None:
        raise ReferenceUnfit(
            f"{monitor.name} compares with the last deployment, but watches no one environment.",
            hint="Make the monitor with an environment.",
            param="environment",
        )
    found = deployments.list_deployments(
        ctx, environment=monitor.environment, name=monitor.release, active_only=True, limit=100
    ).items
    moments = [d.live_at for d in found if d.live_at is not None]
    if not moments:
        raise ReferenceUnfit(
            f"Nothing{' called ' + monitor.release if monitor.release else ''} is live in {monitor.environment}.",
            hint="Deploy a release, or compare with a dataset or a period.",
            param="reference",
        )
    return max(moments)


def _traffic(
    ctx: Context,
    monitor: DriftMonitor,
    start: datetime,
    end: datetime,
    limit: int,
    *,
    newest: bool = False,
    spread: bool = False,
) -> list[Row]:
    """Model calls that the monitor watches, oldest first, with the scores they were given."""
    base = TraceFilter(calls=True, kind="llm", environment=monitor.environment, model=monitor.model)
    filters = [base.model_copy(update={"release_id": one}) for one in _release_ids(ctx, monitor)] or [base]
    spans: list[SpanDetail] = []
    for wanted in filters:
        spans += traces.spans_between(ctx, start, end, wanted, limit=limit, newest=newest, spread=spread)
    spans.sort(key=lambda span: (span.start, span.span_id))
    if len(spans) > limit:
        spans = spans[-limit:] if newest else _thinned(spans, limit) if spread else spans[:limit]
    rows = _rows(monitor, spans)
    return _scored(ctx, rows) if "scores" in monitor.fields else rows


def _thinned(spans: Sequence[SpanDetail], limit: int) -> list[SpanDetail]:
    return [spans[place * len(spans) // limit] for place in range(limit)]


def _release_ids(ctx: Context, monitor: DriftMonitor) -> list[str]:
    if monitor.release is None:
        return []
    found = releases.list_releases(ctx, name=monitor.release, cursor=None, limit=_RELEASES).items
    if not found:
        releases.get_release(ctx, monitor.release)  # raises ReleaseNotFound with the nearest names
    return [release.id for release in found]


def _rows(monitor: DriftMonitor, spans: Iterable[SpanDetail]) -> list[Row]:
    read = label_reader(monitor.label_field, monitor.labels) if monitor.label_field or monitor.labels else None
    return [_row(span, read) for span in spans]


def _row(span: SpanDetail, read: Callable[[str], str | None] | None) -> Row:
    output = None if span.status == "error" else traces.text_of(traces.answer_of(span.output))
    return Row(
        id=span.trace_id,
        input=_asked(traces.messages_of(span.input)),
        output=output if span.output is not None else None,
        label=read(output) if read is not None and output else None,
        finish=span.finish_reason,
        session=span.session,
        user=span.user,
        at=span.start,
    )


def _asked(messages: Sequence[Mapping[str, str]]) -> str | None:
    """What the user said last: the system message is the same each time, and would drown it."""
    texts = [m["content"] for m in messages if m["role"] == "user" and m["content"].strip()]
    return texts[-1] if texts else None


def _scored(ctx: Context, rows: Sequence[Row]) -> list[Row]:
    """Rows with the mean of each score that their traces were given."""
    given: dict[str, dict[str, list[float]]] = {}
    for score in feedback.scores_of_traces(ctx, [row.id for row in rows]):
        if score.value is not None:
            given.setdefault(score.trace_id, {}).setdefault(score.name, []).append(score.value)
    means = {
        trace: {name: sum(values) / len(values) for name, values in named.items()} for trace, named in given.items()
    }
    return [replace(row, scores=means[row.id]) if row.id in means else row for row in rows]


def _dataset(ctx: Context, monitor: DriftMonitor, where: DatasetReference) -> Side:
    version = data.get_version(ctx, where.dataset)
    split = where.split or version.splits[0].name
    most = monitor.reference_rows + LEARNT_FROM
    found = [row for row in _first_rows(ctx, version, split, most) if _text(version, row) is not None]
    chosen, left = found[: monitor.reference_rows], found[monitor.reference_rows :]
    scores = _old_scores(ctx, monitor, version) if "scores" in monitor.fields else {}
    rows = [
        Row(
            id=str(row["id"]),
            input=_text(version, row),
            label=row["label"] if version.row_schema == "classification" and _labels_answers(monitor) else None,
            session=row["cluster_id"],
            scores=scores.get(str(row["id"]), {}),
        )
        for row in chosen
    ]
    notes = []
    if "outputs" in monitor.fields:
        notes.append("A dataset holds wanted answers, not given ones: outputs are compared by their labels only.")
    return Side(label=f"{version.ref} {split}", rows=rows, notes=notes, labelled=_labelled(ctx, version, split, left))


def _first_rows(ctx: Context, version: DatasetVersion, split: str, most: int) -> list[dict[str, Any]]:
    """Rows with the smallest ids: ids are hashes of the rows, so these are a fair draw, and the same one each time."""
    rows: list[dict[str, Any]] = data.rows(ctx.kernel, version, split).sort_by("id").slice(0, most).to_pylist()
    return rows


def _labels_answers(monitor: DriftMonitor) -> bool:
    return monitor.label_field is not None or monitor.labels is not None


def _text(version: DatasetVersion, row: Mapping[str, Any]) -> str | None:
    """What the user asks in a row of a dataset."""
    if version.row_schema == "chat":
        return _asked(row["messages"])
    value = row[_INPUT[version.row_schema]]
    if version.row_schema == "eval" and isinstance(value, str) and value.startswith("["):
        try:
            value = _asked(traces.messages_of(json.loads(value)))
        except ValueError:
            return str(value)
    return value if isinstance(value, str) and value.strip() else None


def _labelled(ctx: Context, version: DatasetVersion, split: str, left: Sequence[Mapping[str, Any]]) -> Labelled | None:
    """Rows with labels that are not in the reference: what is left of its split, then the other splits."""
    if version.row_schema != "classification":
        return None
    rows = list(left)
    for other in version.splits:
        if other.name != split and len(rows) < LEARNT_FROM:
            rows += _first_rows(ctx, version, other.name, LEARNT_FROM)
    rows = rows[:LEARNT_FROM]
    return Labelled(texts=[row["text"] for row in rows], labels=[row["label"] for row in rows])


def _old_scores(ctx: Context, monitor: DriftMonitor, version: DatasetVersion) -> dict[str, dict[str, float]]:
    """What the newest evaluation of the release on this dataset gave each row: an eval item has its row's id."""
    if monitor.release is None:
        return {}
    ids = set(_release_ids(ctx, monitor))
    for run in evals.list_runs(ctx, eval_set=None, cursor=None, limit=_RUNS).items:
        target = run.spec.target
        if run.state != "succeeded" or not isinstance(target, ReleaseTarget):
            continue
        if target.release not in ids and target.release.partition("@")[0] != monitor.release:
            continue
        if evals.get_set(ctx, run.eval_set_id).dataset_version_id == version.id:
            return _run_scores(ctx, run.id)
    return {}


def _run_scores(ctx: Context, run_id: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    cursor = None
    while True:
        page = evals.list_results(ctx, run_id, failed=False, cursor=cursor, limit=500)
        for result in page.items:
            if result.repeat == 0:
                found[result.item_id] = {name: score.value for name, score in result.scores.items()}
        if (cursor := page.next_cursor) is None:
            return found
