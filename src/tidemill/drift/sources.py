"""Where the rows of a comparison come from: live traffic, or a split of a dataset version."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tidemill.core.kernel import Context
from tidemill.core.parsing import parse_json
from tidemill.core.wire import iterate_pages
from tidemill.data import service as data
from tidemill.data.types import DatasetVersion
from tidemill.deployments import service as deployments
from tidemill.drift.descriptors import label_reader
from tidemill.drift.label_model import MAX_TRAINING_ROWS, LabelledTexts
from tidemill.drift.samples import DriftSample, SampleRow
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
"""How far back a window without `hours` reaches."""

_SOON = timedelta(seconds=1)

_MAX_RELEASES = 20
"""How many releases of one name are searched, newest first."""

_INPUT_COLUMN = {"completion": "prompt", "classification": "text", "text": "text", "eval": "input"}


@dataclass(frozen=True)
class _Period:
    """A period of traffic to compare with."""

    start: datetime
    end: datetime
    label: str
    from_start: bool
    """Whether the reference is the first rows of the period, and the window may follow within it."""


def load_samples(ctx: Context, monitor: DriftMonitor) -> tuple[DriftSample, DriftSample]:
    """Return reference and window; no request is in both.

    Raises ReferenceUnfit, and what the dataset, release or environment raises when it is not there.
    """
    reference = monitor.reference
    if isinstance(reference, DatasetReference):
        return _load_dataset(ctx, monitor, reference), _load_window(ctx, monitor, None)
    period = _reference_period(ctx, monitor)
    window = _load_window(ctx, monitor, period.start if period.from_start else period.end)
    end = (
        min((row.at for row in window.rows if row.at is not None), default=period.end)
        if period.from_start
        else period.end
    )
    rows = _load_traffic(ctx, monitor, period.start, end, monitor.reference_rows, spread=not period.from_start)
    return DriftSample(label=period.label, rows=rows), window


def _load_window(ctx: Context, monitor: DriftMonitor, not_before: datetime | None) -> DriftSample:
    """Return the newest requests that the monitor watches."""
    hours = monitor.window.hours
    start = ctx.now - (timedelta(hours=hours) if hours is not None else LOOK_BACK)
    start = max(start, not_before) if not_before is not None else start
    rows = _load_traffic(ctx, monitor, start, ctx.now + _SOON, monitor.window.rows, newest=True)
    truncated = hours is not None and len(rows) >= monitor.window.rows
    return DriftSample(
        label="live traffic",
        rows=rows,
        notes=[f"The window was cut to its newest {len(rows)} rows."] if truncated else [],
    )


def _reference_period(ctx: Context, monitor: DriftMonitor) -> _Period:
    reference = monitor.reference
    if isinstance(reference, PeriodReference):
        label = f"{reference.start:%Y-%m-%d %H:%M} to {reference.end:%Y-%m-%d %H:%M} UTC"
        return _Period(reference.start, reference.end, label, from_start=False)
    start = _live_since(ctx, monitor)
    return _Period(start, ctx.now + _SOON, f"first traffic since {start:%Y-%m-%d %H:%M} UTC", from_start=True)


def _live_since(ctx: Context, monitor: DriftMonitor) -> datetime:
    """Return when the release went live that now serves in the monitor's environment. Raises ReferenceUnfit."""
    if monitor.environment is None:
        raise ReferenceUnfit(
            f"{monitor.name} compares with the last deployment, but watches no one environment.",
            hint="Make the monitor with an environment.",
            param="environment",
        )
    active = deployments.list_active(ctx, monitor.environment, monitor.release)
    live_times = [d.live_at for d in active if d.live_at is not None]
    if not live_times:
        raise ReferenceUnfit(
            f"Nothing{' called ' + monitor.release if monitor.release else ''} is live in {monitor.environment}.",
            hint="Deploy a release, or compare with a dataset or a period.",
            param="reference",
        )
    return max(live_times)


def _load_traffic(
    ctx: Context,
    monitor: DriftMonitor,
    start: datetime,
    end: datetime,
    limit: int,
    *,
    newest: bool = False,
    spread: bool = False,
) -> list[SampleRow]:
    """Return model calls that the monitor watches, oldest first, with their scores."""
    base = TraceFilter(calls=True, kind="llm", environment=monitor.environment, model=monitor.model)
    filters = [base.model_copy(update={"release_id": release_id}) for release_id in _release_ids(ctx, monitor)] or [
        base
    ]
    spans: list[SpanDetail] = []
    for trace_filter in filters:
        spans += traces.list_spans(ctx, start, end, trace_filter, limit=limit, newest=newest, spread=spread)
    spans.sort(key=lambda span: (span.start, span.span_id))
    if len(spans) > limit:
        spans = spans[-limit:] if newest else _thin(spans, limit) if spread else spans[:limit]
    rows = _rows(monitor, spans)
    return _with_scores(ctx, rows) if "scores" in monitor.fields else rows


def _thin(spans: Sequence[SpanDetail], limit: int) -> list[SpanDetail]:
    return [spans[number * len(spans) // limit] for number in range(limit)]


def _release_ids(ctx: Context, monitor: DriftMonitor) -> list[str]:
    if monitor.release is None:
        return []
    page = releases.list_releases(ctx, name=monitor.release, cursor=None, limit=_MAX_RELEASES)
    matching = page.items
    if not matching:
        releases.get_release(ctx, monitor.release)  # raises ReleaseNotFound with the nearest names
    return [release.id for release in matching]


def _rows(monitor: DriftMonitor, spans: Iterable[SpanDetail]) -> list[SampleRow]:
    read = label_reader(monitor.label_field, monitor.labels) if monitor.label_field or monitor.labels else None
    return [_row(span, read) for span in spans]


def _row(span: SpanDetail, read: Callable[[str], str | None] | None) -> SampleRow:
    output = None if span.status == "error" else traces.to_text(traces.extract_answer(span.output))
    return SampleRow(
        id=span.trace_id,
        input=_last_user_message(traces.extract_messages(span.input)),
        output=output if span.output is not None else None,
        label=read(output) if read is not None and output else None,
        finish=span.finish_reason,
        session=span.session,
        user=span.user,
        at=span.start,
    )


def _last_user_message(messages: Sequence[Mapping[str, str]]) -> str | None:
    """Return the last user message: the system message is the same in each call, and would hide a change."""
    texts = [m["content"] for m in messages if m["role"] == "user" and m["content"].strip()]
    return texts[-1] if texts else None


def _with_scores(ctx: Context, rows: Sequence[SampleRow]) -> list[SampleRow]:
    """Return the rows with the mean of each score of their traces."""
    values_by_trace: dict[str, dict[str, list[float]]] = {}
    for score in feedback.list_trace_scores(ctx, [row.id for row in rows]):
        if score.value is not None:
            values_by_trace.setdefault(score.trace_id, {}).setdefault(score.name, []).append(score.value)
    means = {
        trace: {name: sum(values) / len(values) for name, values in by_name.items()}
        for trace, by_name in values_by_trace.items()
    }
    return [replace(row, scores=means[row.id]) if row.id in means else row for row in rows]


def _load_dataset(ctx: Context, monitor: DriftMonitor, reference: DatasetReference) -> DriftSample:
    version = data.get_version(ctx, reference.dataset)
    split = reference.split or version.splits[0].name
    limit = monitor.reference_rows + MAX_TRAINING_ROWS
    candidates = [row for row in _first_rows(ctx, version, split, limit) if _text(version, row) is not None]
    chosen, spare = candidates[: monitor.reference_rows], candidates[monitor.reference_rows :]
    scores = _eval_scores(ctx, monitor, version) if "scores" in monitor.fields else {}
    rows = [
        SampleRow(
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
    return DriftSample(
        label=f"{version.ref} {split}", rows=rows, notes=notes, labelled=_load_labelled(ctx, version, split, spare)
    )


def _first_rows(ctx: Context, version: DatasetVersion, split: str, limit: int) -> list[dict[str, Any]]:
    """Return the rows with the smallest ids. Ids are hashes, so this is a random sample, and always the same one."""
    rows: list[dict[str, Any]] = data.rows(ctx.kernel, version, split).sort_by("id").slice(0, limit).to_pylist()
    return rows


def _labels_answers(monitor: DriftMonitor) -> bool:
    return monitor.label_field is not None or monitor.labels is not None


def _text(version: DatasetVersion, row: Mapping[str, Any]) -> str | None:
    """Return the user's input in a row of a dataset; None when it is empty or not text."""
    if version.row_schema == "chat":
        return _last_user_message(row["messages"])
    value = row[_INPUT_COLUMN[version.row_schema]]
    if version.row_schema == "eval" and isinstance(value, str) and value.startswith("["):
        try:
            value = _last_user_message(traces.extract_messages(parse_json(value)))
        except ValueError:
            return str(value)
    return value if isinstance(value, str) and value.strip() else None


def _load_labelled(
    ctx: Context, version: DatasetVersion, split: str, spare: Sequence[Mapping[str, Any]]
) -> LabelledTexts | None:
    """Return labelled rows that are not in the reference: the rest of its split, then the other splits."""
    if version.row_schema != "classification":
        return None
    rows = list(spare)
    for other in version.splits:
        if other.name != split and len(rows) < MAX_TRAINING_ROWS:
            rows += _first_rows(ctx, version, other.name, MAX_TRAINING_ROWS)
    rows = rows[:MAX_TRAINING_ROWS]
    return LabelledTexts(texts=[row["text"] for row in rows], labels=[row["label"] for row in rows])


def _eval_scores(ctx: Context, monitor: DriftMonitor, version: DatasetVersion) -> dict[str, dict[str, float]]:
    """Return each row's scores in the release's newest evaluation on this dataset: an eval item has its row's id."""
    if monitor.release is None:
        return {}
    ids = set(_release_ids(ctx, monitor))
    for run in iterate_pages(lambda cursor, limit: evals.list_runs(ctx, cursor=cursor, limit=limit)):
        target = run.spec.target
        if run.state != "succeeded" or not isinstance(target, ReleaseTarget):
            continue
        if target.release not in ids and target.release.partition("@")[0] != monitor.release:
            continue
        if evals.get_set(ctx, run.eval_set_id).dataset_version_id == version.id:
            return _run_scores(ctx, run.id)
    return {}


def _run_scores(ctx: Context, run_id: str) -> dict[str, dict[str, float]]:
    scores_by_item: dict[str, dict[str, float]] = {}
    for result in iterate_pages(
        lambda cursor, limit: evals.list_results(ctx, run_id, failed=False, cursor=cursor, limit=limit)
    ):
        if result.repeat == 0:
            scores_by_item[result.item_id] = {name: score.value for name, score in result.scores.items()}
    return scores_by_item
