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
from tidemill.pipelines import store
from tidemill.pipelines.steps.data import told, version_outputs
from tidemill.pipelines.steps.turn import Facts, Outcome, Reads, Turn
from tidemill.pipelines.types import DataSection, FeedbackSource, NothingMeasured
from tidemill.releases import service as releases
from tidemill.traces import service as traces
from tidemill.traces.types import AnswersUnknown, Collection, NothingToCollect, Score, ToDataset

MOST = 10_000
"""Judged answers that one run looks at, the newest."""

FIELDS: dict[RowSchema, tuple[str, ...]] = {
    "chat": ("messages",),
    "completion": ("prompt", "completion"),
    "classification": ("text", "label"),
    "text": ("text",),
    "eval": ("input", "expected"),
}


def _sections(facts: Facts) -> tuple[DataSection, FeedbackSource]:
    section = facts.spec.data
    assert section is not None
    assert section.feedback is not None
    return section, section.feedback


def _name(text: str, tail: str) -> str:
    return f"{text.partition('@')[0][: 62 - len(tail)]}-{tail}"


# ---------------------------------------------------------------------- collected


def do_feedback(turn: Turn) -> Outcome:
    """Collect the judged answers of the last days into a dataset; nothing when too few are new."""
    section, wanted = _sections(turn)
    if turn.row.job_id is not None:  # taken up again after a crash
        return _collected(turn, turn.row.outputs)
    with turn.kernel.read(turn.at.actor) as ctx:
        before = store.last_outputs(ctx.conn, str(turn.pipeline_id), "feedback")
        version = data.get_version(ctx, turn.of("data")["version_id"])
        judged = _judged(ctx, turn, wanted)
    mark = str(before["mark"]) if before is not None else ""
    new = sum(score.id > mark for score in judged)
    if new < wanted.minimum:
        note = f"{new} answers were judged since the last run; {wanted.minimum} are asked for"
        return Outcome(before or {"version_id": None, "mark": ""}, note, unchanged=True)
    body = ToDataset(
        dataset=_name(section.dataset, "feedback"),
        row_schema=version.row_schema,
        traces=list(dict.fromkeys(score.trace_id for score in judged))[-MOST:],
        only="liked" if wanted.accept is not None else "corrected",
        feedback=wanted.score,
        liked_from=wanted.accept if wanted.accept is not None else 1.0,
        label_field=wanted.label_field,
        cap_per_user=wanted.per_user,
        append=False,
    )
    made = _collect(turn, body)
    mark = max(score.id for score in judged)
    if made is None:
        return Outcome({"version_id": None, "mark": mark, "new": new}, f"{new} new judgements, and no row in them")
    quarantined = sum(made.quarantined.values())
    outputs = {"collection_id": made.id, "mark": mark, "new": new, "rows": made.rows, "quarantined": quarantined}
    with turn.at.write() as ctx:
        store.update_step(ctx.conn, turn.row.id, outputs=outputs)
    if made.job_id is not None:
        return _collected(turn, outputs, made.job_id)
    return Outcome(outputs | {"version_id": made.version_id}, _told(outputs))


def _judged(ctx: Context, turn: Turn, wanted: FeedbackSource) -> list[Score]:
    """What people said about this release's answers in the environment, oldest first."""
    name = wanted.release or (turn.spec.release.name if turn.spec.release is not None else None)
    ids = {r.id for r in releases.list_releases(ctx, name=name, cursor=None, limit=500).items}
    found = traces.list_scores(
        ctx,
        name=wanted.score,
        environment=wanted.environment,
        since=ctx.now - timedelta(days=wanted.days),
        source="person",
        limit=10 * MOST,
    )
    return [score for score in found if score.release_id in ids]


def _collect(turn: Turn, body: ToDataset) -> Collection | None:
    """The collection; None when no answer makes a row. Answers that retention has removed are left out."""
    try:
        return traces.to_dataset(turn.kernel, turn.at.actor, body)
    except AnswersUnknown as error:
        gone = set((error.details or {}).get("unknown", []))
        left = [trace for trace in body.traces or [] if trace not in gone]
        if not gone or not left:
            return None
        return _collect(turn, body.model_copy(update={"traces": left}))
    except NothingToCollect:
        return None


def _collected(turn: Turn, outputs: dict[str, Any], job_id: str | None = None) -> Outcome:
    job = turn.child(lambda ctx: job_id)
    assert job is not None
    made = job.result if isinstance(job.result, dict) else {}
    return Outcome(outputs | {"version_id": made["version_id"]}, _told(outputs))


def _told(outputs: dict[str, Any]) -> str:
    return f"{outputs['rows']} rows from {outputs['new']} new judgements, {outputs['quarantined']} in quarantine"


# ---------------------------------------------------------------------- joined


def reads_join(ctx: Context, facts: Facts) -> Reads:
    """The declared rows, what production taught, and the eval sets to keep out of."""
    section, wanted = _sections(facts)
    tuning = facts.spec.tuning
    assert tuning is not None
    return {
        "data": facts.of("data")["version_id"],
        "feedback": facts.of("feedback").get("version_id"),
        "evals": [facts.of(f"eval-set/{e.name}")["set_id"] for e in facts.spec.evals],
        "share": wanted.share,
        "max_chars": wanted.max_chars,
        "into": wanted.into,
        "splits": [tuning.train_split, tuning.eval_split],
        "seed": section.split.seed if section.split is not None else 0,
    }


def do_join(turn: Turn) -> Outcome:
    """Put the feedback's rows beside the declared ones that are trained on, in a dataset of its own."""
    _, wanted = _sections(turn)
    feedback_id = turn.of("feedback").get("version_id")
    with turn.kernel.read(turn.at.actor) as ctx:
        declared = data.get_version(ctx, turn.of("data")["version_id"])
        feedback = data.get_version(ctx, feedback_id) if feedback_id is not None else None
    if feedback is None:
        note = f"{declared.ref} as it is: production has taught nothing yet"
        return Outcome(version_outputs(declared) | {"taught": 0}, note)
    body, counts = None, dict[str, int]()
    if turn.row.job_id is None:
        kept, counts = _kept(turn, wanted, declared, feedback)
        with turn.at.write() as ctx:
            store.update_step(ctx.conn, turn.row.id, outputs=counts)
        if not kept:
            return Outcome(version_outputs(declared) | counts, f"{declared.ref} as it is: {_left_out(counts)}")
        body = _join(turn, declared, kept)
    counts = counts or {k: v for k, v in turn.row.outputs.items() if isinstance(v, int)}
    version_id = _imported(turn, body)
    with turn.at.write() as ctx:
        version = data.get_version(ctx, version_id)
        node = lineage.find(ctx.conn, "dataset_version", version.id)
        assert node is not None
        lineage.record(ctx, node, [(declared.id, "joined_from"), (feedback.id, "joined_from")])
    note = f"{told(version)}; {counts.get('taught', 0)} rows taught by production, {_left_out(counts)}"
    return Outcome(version_outputs(version) | counts, note)


def _imported(turn: Turn, body: ImportCreate | None) -> str:
    made: list[str] = []
    seen = data.inspect_sources(turn.kernel, body) if body is not None else None

    def submit(ctx: Context) -> str | None:
        assert body is not None
        started = data.import_(ctx, body, seen)
        if started.version is not None:
            made.append(started.version.id)
        return started.job.id if started.job is not None else None

    job = turn.child(submit)
    if job is not None and isinstance(job.result, dict):
        made.append(str(job.result["version_id"]))
    if not made:
        raise NothingMeasured("The import of the joined rows gave no version.")
    return made[-1]


def _kept(
    turn: Turn, wanted: FeedbackSource, declared: DatasetVersion, feedback: DatasetVersion
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The feedback's rows that may be trained on, and how many were left out for which reason."""
    rows = _rows(turn.kernel, feedback)
    asked = [text_of(declared.row_schema, row) for row in rows]
    leak = data.leaking(turn.kernel, asked, _measured(turn)) if rows else []
    labels, fields = set(declared.statistics.labels), FIELDS[declared.row_schema]
    kept, leaks, long, strange = list[tuple[str, dict[str, Any]]](), 0, 0, 0
    for row, text, leaking in zip(rows, asked, leak, strict=True):
        leaks += leaking
        too_long = not leaking and sum(len(str(row[field])) for field in fields) > wanted.max_chars
        long += too_long
        unknown = not leaking and not too_long and bool(labels) and row.get("label") not in labels
        strange += unknown
        if not (leaking or too_long or unknown):
            kept.append((hashlib.sha256(text.encode()).hexdigest(), row))
    trained = sum(s.rows for s in declared.splits if s.name in _splits(turn))
    most = int(trained * wanted.share / (1 - wanted.share)) if wanted.share < 1 else len(kept)
    chosen = [row for _, row in sorted(kept, key=lambda pair: pair[0])][:most]
    counts = {"leaking": leaks, "too_long": long, "label_unknown": strange, "over_share": len(kept) - len(chosen)}
    return chosen, {"taught": len(chosen)} | counts


def _rows(kernel: Kernel, version: DatasetVersion) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for split in version.splits:
        found += data.rows(kernel, version, split.name).to_pylist()
    return found


def text_of(schema: RowSchema, row: dict[str, Any]) -> str:
    """What a row asks."""
    if schema == "chat":
        asked = [m["content"] for m in row["messages"] if m["role"] == "user"]
        return str(asked[-1]) if asked else ""
    return str(row["prompt" if schema == "completion" else "input" if schema == "eval" else "text"])


def _measured(turn: Turn) -> Sequence[str]:
    """What the document's eval sets ask."""
    asked: list[str] = []
    with turn.kernel.read(turn.at.actor) as ctx:
        for section in turn.spec.evals:
            items = evals.list_items(ctx, turn.of(f"eval-set/{section.name}")["set_id"], limit=10**9).items
            asked += [next((m.content for m in reversed(i.messages) if m.role == "user"), "") for i in items]
    return asked


def _splits(turn: Turn) -> list[str]:
    tuning = turn.spec.tuning
    assert tuning is not None
    return list(dict.fromkeys([tuning.train_split, tuning.eval_split]))


def _join(turn: Turn, declared: DatasetVersion, kept: list[dict[str, Any]]) -> ImportCreate:
    """The declared rows stand first: where both ask the same, the declared answer stays."""
    section, wanted = _sections(turn)
    fields = FIELDS[declared.row_schema]
    splits = [s for s in declared.splits if s.name in _splits(turn)]
    lines = [json.dumps({f: row[f] for f in (*fields, "cluster_id")}, ensure_ascii=False) for row in kept]
    blob = turn.kernel.blobs.put_bytes(("\n".join(lines) + "\n").encode())
    total = sum(s.rows for s in splits)
    ratios = {s.name: s.rows / total for s in splits}
    sources = [SourceRef(name=f"{declared.ref}-{s.name}.parquet", hash=s.hash) for s in splits]
    with turn.kernel.read(turn.at.actor) as ctx:
        ref = data.get_version(ctx, turn.of("feedback")["version_id"]).ref
    return ImportCreate(
        name=wanted.into or _name(section.dataset, "live"),
        sources=[*sources, SourceRef(name=f"{ref}-kept.jsonl", hash=blob.hash)],
        row_schema=declared.row_schema,
        mapping=MapSpec(fields={f: f for f in fields} | {"cluster": "cluster_id"}),
        recipe=Recipe(steps=[ExactStep()]),
        split=SplitSpec(
            ratios=ratios, seed=section.split.seed if section.split is not None else 0, allow_empty_classes=True
        ),
    )


def _left_out(counts: dict[str, int]) -> str:
    words = {
        "leaking": "stand in an eval set",
        "too_long": "are too long",
        "label_unknown": "have an unknown label",
        "over_share": "are over the share",
    }
    told_ = [f"{counts[key]} {text}" for key, text in words.items() if counts.get(key)]
    return ("left out: " + ", ".join(told_)) if told_ else "none left out"
