"""Continuous tuning: answers that people judged in production become training rows, and join the declared ones.

What people send is not trusted. Answers without a usable judgement, disputed ones and those of one user beyond the
cap are kept apart in quarantine (see the collection). Rows that stand, exactly or nearly, in one of the document's
eval sets are left out: they would be measured by what they were taught.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tidemill.core import lineage
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import iterate_pages
from tidemill.data import service as data
from tidemill.data.types import (
    DatasetVersion,
    ExactStep,
    ImportCreate,
    MapSpec,
    Recipe,
    RowSchema,
    SourceRef,
    SplitSpec,
)
from tidemill.evals import service as evals
from tidemill.feedback import service as feedback
from tidemill.feedback.collections import service as collections
from tidemill.feedback.types import AnswersUnknown, Collection, NothingToCollect, Score, ToDataset
from tidemill.pipelines import store
from tidemill.pipelines.steps.context import CacheInputs, StepContext, StepInputs, StepResult
from tidemill.pipelines.steps.data import version_note, version_outputs
from tidemill.pipelines.types import DataSection, FeedbackSource, NothingMeasured
from tidemill.releases import service as releases

MAX_SCORES = 10_000
"""Judged answers that one run looks at, the newest."""

FIELDS: dict[RowSchema, tuple[str, ...]] = {
    "chat": ("messages",),
    "completion": ("prompt", "completion"),
    "classification": ("text", "label"),
    "text": ("text",),
    "eval": ("input", "expected"),
}


def _sections(inputs: StepInputs) -> tuple[DataSection, FeedbackSource]:
    section = inputs.spec.data
    assert section is not None
    assert section.feedback is not None
    return section, section.feedback


def _name(text: str, tail: str) -> str:
    return f"{text.partition('@')[0][: 62 - len(tail)]}-{tail}"


# ---------------------------------------------------------------------- collected


def run_feedback(context: StepContext) -> StepResult:
    """Collect the judged answers of the last days into a dataset; nothing when too few are new."""
    section, source = _sections(context)
    if context.row.job_id is not None:  # taken up again after a crash
        return _finish_collection(context, context.row.outputs)
    with context.kernel.read(context.job_context.actor) as ctx:
        before = store.last_outputs(ctx.conn, str(context.pipeline_id), "feedback")
        version = data.get_version(ctx, context.outputs_of("data")["version_id"])
        scores = _list_scores(ctx, context, source)
    mark = str(before["mark"]) if before is not None else ""
    new = sum(score.id > mark for score in scores)
    if new < source.minimum:
        note = f"{new} answers were judged since the last run; {source.minimum} are asked for"
        return StepResult(before or {"version_id": None, "mark": ""}, note, unchanged=True)
    body = ToDataset(
        dataset=_name(section.dataset, "feedback"),
        row_schema=version.row_schema,
        traces=list(dict.fromkeys(score.trace_id for score in scores))[-MAX_SCORES:],
        only="liked" if source.accept is not None else "corrected",
        feedback=source.score,
        liked_from=source.accept if source.accept is not None else 1.0,
        label_field=source.label_field,
        cap_per_user=source.per_user,
        append=False,
    )
    collection = _collect(context, body)
    mark = max(score.id for score in scores)
    if collection is None:
        return StepResult({"version_id": None, "mark": mark, "new": new}, f"{new} new judgements, and no row in them")
    quarantined = sum(collection.quarantined.values())
    outputs = {
        "collection_id": collection.id,
        "mark": mark,
        "new": new,
        "rows": collection.rows,
        "quarantined": quarantined,
    }
    with context.job_context.write() as ctx:
        store.update_step(ctx.conn, context.row.id, outputs=outputs)
    if collection.job_id is not None:
        return _finish_collection(context, outputs, collection.job_id)
    return StepResult(outputs | {"version_id": collection.version_id}, _note(outputs))


def _list_scores(ctx: Context, context: StepContext, source: FeedbackSource) -> list[Score]:
    """Return people's scores of this release's answers in the environment, oldest first."""
    name = source.release or (context.spec.release.name if context.spec.release is not None else None)
    every = iterate_pages(lambda cursor, limit: releases.list_releases(ctx, name=name, cursor=cursor, limit=limit))
    ids = {release.id for release in every}
    page = feedback.list_scores(
        ctx,
        name=source.score,
        environment=source.environment,
        since=ctx.now - timedelta(days=source.days),
        source="person",
        limit=10 * MAX_SCORES,
    )
    return [score for score in page if score.release_id in ids]


def _collect(context: StepContext, body: ToDataset) -> Collection | None:
    """Return the collection; None when no answer makes a row. Answers that retention has removed are left out."""
    try:
        return collections.to_dataset(context.kernel, context.job_context.actor, body)
    except AnswersUnknown as error:
        unknown = set((error.details or {}).get("unknown", []))
        remaining = [trace for trace in body.traces or [] if trace not in unknown]
        if not unknown or not remaining:
            return None
        return _collect(context, body.model_copy(update={"traces": remaining}))
    except NothingToCollect:
        return None


def _finish_collection(context: StepContext, outputs: dict[str, Any], job_id: str | None = None) -> StepResult:
    job = context.run_child_job(lambda ctx: job_id)
    assert job is not None
    result = job.result if isinstance(job.result, dict) else {}
    return StepResult(outputs | {"version_id": result["version_id"]}, _note(outputs))


def _note(outputs: dict[str, Any]) -> str:
    return f"{outputs['rows']} rows from {outputs['new']} new judgements, {outputs['quarantined']} in quarantine"


# ---------------------------------------------------------------------- joined


def join_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the declared rows, the feedback rows, and the eval sets whose rows are left out."""
    section, source = _sections(inputs)
    tuning = inputs.spec.tuning
    assert tuning is not None
    return {
        "data": inputs.outputs_of("data")["version_id"],
        "feedback": inputs.outputs_of("feedback").get("version_id"),
        "evals": [inputs.outputs_of(f"eval-set/{e.name}")["set_id"] for e in inputs.spec.evals],
        "share": source.share,
        "max_chars": source.max_chars,
        "into": source.into,
        "splits": [tuning.train_split, tuning.eval_split],
        "seed": section.split.seed if section.split is not None else 0,
    }


def run_join(context: StepContext) -> StepResult:
    """Import the feedback's rows together with the declared training rows as a dataset of its own."""
    _, source = _sections(context)
    feedback_id = context.outputs_of("feedback").get("version_id")
    with context.kernel.read(context.job_context.actor) as ctx:
        declared = data.get_version(ctx, context.outputs_of("data")["version_id"])
        collected = data.get_version(ctx, feedback_id) if feedback_id is not None else None
    if collected is None:
        note = f"{declared.ref} as it is: production has taught nothing yet"
        return StepResult(version_outputs(declared) | {"taught": 0}, note)
    body, counts = None, dict[str, int]()
    if context.row.job_id is None:
        rows, counts = _select_rows(context, source, declared, collected)
        with context.job_context.write() as ctx:
            store.update_step(ctx.conn, context.row.id, outputs=counts)
        if not rows:
            return StepResult(version_outputs(declared) | counts, f"{declared.ref} as it is: {_rejection_note(counts)}")
        body = _join_body(context, declared, rows)
    counts = counts or {k: v for k, v in context.row.outputs.items() if isinstance(v, int)}
    version_id = _import_rows(context, body)
    with context.job_context.write() as ctx:
        version = data.get_version(ctx, version_id)
        node = lineage.find(ctx.conn, "dataset_version", version.id)
        assert node is not None
        lineage.record(ctx, node, [(declared.id, "joined_from"), (collected.id, "joined_from")])
    note = f"{version_note(version)}; {counts.get('taught', 0)} rows taught by production, {_rejection_note(counts)}"
    return StepResult(version_outputs(version) | counts, note)


def _import_rows(context: StepContext, body: ImportCreate | None) -> str:
    version_ids: list[str] = []
    inspection = data.inspect_sources(context.kernel, body) if body is not None else None

    def submit(ctx: Context) -> str | None:
        assert body is not None
        started = data.import_(ctx, body, inspection)
        if started.version is not None:
            version_ids.append(started.version.id)
        return started.job.id if started.job is not None else None

    job = context.run_child_job(submit)
    if job is not None and isinstance(job.result, dict):
        version_ids.append(str(job.result["version_id"]))
    if not version_ids:
        raise NothingMeasured("The import of the joined rows gave no version.")
    return version_ids[-1]


def _select_rows(
    context: StepContext, source: FeedbackSource, declared: DatasetVersion, collected: DatasetVersion
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the feedback's rows that may be trained on, and how many were left out for which reason."""
    rows = _rows(context.kernel, collected)
    texts = [text_of(declared.row_schema, row) for row in rows]
    leak = data.find_leaking(context.kernel, texts, _eval_texts(context)) if rows else []
    labels, fields = set(declared.statistics.labels), FIELDS[declared.row_schema]
    candidates, leaks, long, strange = list[tuple[str, dict[str, Any]]](), 0, 0, 0
    for row, text, leaking in zip(rows, texts, leak, strict=True):
        leaks += leaking
        too_long = not leaking and sum(len(str(row[field])) for field in fields) > source.max_chars
        long += too_long
        unknown = not leaking and not too_long and bool(labels) and row.get("label") not in labels
        strange += unknown
        if not (leaking or too_long or unknown):
            candidates.append((hashlib.sha256(text.encode()).hexdigest(), row))
    trained = sum(s.rows for s in declared.splits if s.name in _splits(context))
    limit = int(trained * source.share / (1 - source.share)) if source.share < 1 else len(candidates)
    chosen = [row for _, row in sorted(candidates, key=lambda pair: pair[0])][:limit]
    counts = {"leaking": leaks, "too_long": long, "label_unknown": strange, "over_share": len(candidates) - len(chosen)}
    return chosen, {"taught": len(chosen)} | counts


def _rows(kernel: Kernel, version: DatasetVersion) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for split in version.splits:
        rows += data.rows(kernel, version, split.name).to_pylist()
    return rows


def text_of(schema: RowSchema, row: dict[str, Any]) -> str:
    """Return the input text of a row."""
    if schema == "chat":
        questions = [m["content"] for m in row["messages"] if m["role"] == "user"]
        return str(questions[-1]) if questions else ""
    return str(row["prompt" if schema == "completion" else "input" if schema == "eval" else "text"])


def _eval_texts(context: StepContext) -> Sequence[str]:
    """Return the input texts of the document's eval sets."""
    texts: list[str] = []
    with context.kernel.read(context.job_context.actor) as ctx:
        for section in context.spec.evals:
            items = evals.list_items(ctx, context.outputs_of(f"eval-set/{section.name}")["set_id"], limit=10**9).items
            texts += [next((m.content for m in reversed(i.messages) if m.role == "user"), "") for i in items]
    return texts


def _splits(context: StepContext) -> list[str]:
    tuning = context.spec.tuning
    assert tuning is not None
    return list(dict.fromkeys([tuning.train_split, tuning.eval_split]))


def _join_body(context: StepContext, declared: DatasetVersion, rows: list[dict[str, Any]]) -> ImportCreate:
    """Return the import of both. The declared rows come first, so their answer wins over an equal question's."""
    section, source = _sections(context)
    fields = FIELDS[declared.row_schema]
    splits = [s for s in declared.splits if s.name in _splits(context)]
    lines = [json.dumps({f: row[f] for f in (*fields, "cluster_id")}, ensure_ascii=False) for row in rows]
    blob = context.kernel.blobs.put_bytes(("\n".join(lines) + "\n").encode())
    total = sum(s.rows for s in splits)
    ratios = {s.name: s.rows / total for s in splits}
    sources = [SourceRef(name=f"{declared.ref}-{s.name}.parquet", hash=s.hash) for s in splits]
    with context.kernel.read(context.job_context.actor) as ctx:
        ref = data.get_version(ctx, context.outputs_of("feedback")["version_id"]).ref
    return ImportCreate(
        name=source.into or _name(section.dataset, "live"),
        sources=[*sources, SourceRef(name=f"{ref}-kept.jsonl", hash=blob.hash)],
        row_schema=declared.row_schema,
        mapping=MapSpec(fields={f: f for f in fields} | {"cluster": "cluster_id"}),
        recipe=Recipe(steps=[ExactStep()]),
        split=SplitSpec(
            ratios=ratios, seed=section.split.seed if section.split is not None else 0, allow_empty_classes=True
        ),
    )


def _rejection_note(counts: dict[str, int]) -> str:
    words = {
        "leaking": "stand in an eval set",
        "too_long": "are too long",
        "label_unknown": "have an unknown label",
        "over_share": "are over the share",
    }
    reasons = [f"{counts[key]} {text}" for key, text in words.items() if counts.get(key)]
    return ("left out: " + ", ".join(reasons)) if reasons else "none left out"
