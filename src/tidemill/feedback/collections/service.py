"""Collections: which answers become rows, which go into quarantine, and the dataset version of the rows."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill.core import events, lineage
from tidemill.core.actors import Actor
from tidemill.core.db import advisory_lock
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page, parse_cursor
from tidemill.core.wire import Page, content_hash, new_id
from tidemill.data import service as data
from tidemill.data.types import (
    DatasetNotFound,
    DatasetVersion,
    ImportCreate,
    MapSpec,
    SourceRef,
    SplitSpec,
)
from tidemill.feedback.collections import store
from tidemill.feedback.collections.rows import FIELDS, CollectedAnswer, build_row, cap_rows_per_user, summarize_feedback
from tidemill.feedback.collections.selection import AnswerWithFeedback, select_answers
from tidemill.feedback.types.collections import (
    AppendRefused,
    Collection,
    CollectionItem,
    CollectionNotFound,
    NothingToCollect,
    ToDataset,
)
from tidemill.jobs.service import JobQueue

_TRACES_IN_HASH = 100_000


@dataclass(frozen=True)
class Draft:
    """The answers of a collection before anything is written."""

    spec: ToDataset
    answers: list[CollectedAnswer]

    @property
    def rows(self) -> bytes:
        """Return the rows as JSON lines."""
        rows = (item.row for item in self.answers if item.row is not None)
        return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)

    @property
    def quarantined(self) -> dict[str, int]:
        """Return reason -> answers in quarantine."""
        return dict(Counter(item.reason for item in self.answers if item.reason is not None))


def to_dataset(kernel: Kernel, actor: Actor, spec: ToDataset) -> Collection:
    """Make rows of answers, and a dataset version of the rows (a job makes it).

    The answers are read and the file is stored before the transaction that writes the collection, since thousands of
    them may take a second. Raises AnswersUnknown, NothingToCollect, AppendRefused, SchemaConflict.
    """
    with kernel.read(actor) as ctx:
        draft = draft_collection(ctx, spec)
    collection_id = new_id("tcol")
    name = f"traces-{collection_id}.jsonl"
    source = SourceRef(name=name, hash=kernel.blobs.put_bytes(draft.rows).hash)
    inspection = data.inspect_sources(kernel, _body(spec, [source], timed=True))
    with kernel.write(actor) as ctx:
        return save_collection(ctx, collection_id, draft, source, inspection)


def draft_collection(ctx: Context, spec: ToDataset) -> Draft:
    """Return the answers and their rows. Raises AnswersUnknown, NothingToCollect."""
    selected = select_answers(ctx, spec)
    answers = cap_rows_per_user((_build_row(item, spec) for item in selected), spec.cap_per_user)
    draft = Draft(spec, [item for item in answers if item.reason != "not_wanted"] or answers)
    if not any(item.row is not None for item in answers):
        reasons = ", ".join(f"{count} {reason}" for reason, count in draft.quarantined.items())
        raise NothingToCollect(
            f"None of {len(answers)} answers makes a row: {reasons or 'there are none'}.",
            hint="Widen the choice (`only`, the filter's time), or give feedback with corrections first.",
            details={"quarantined": draft.quarantined},
        )
    return draft


def _build_row(item: AnswerWithFeedback, spec: ToDataset) -> CollectedAnswer:
    return build_row(item.span, summarize_feedback(item.scores, spec.feedback), spec)


def save_collection(
    ctx: Context, collection_id: str, draft: Draft, source: SourceRef, inspection: data.SourceInspection
) -> Collection:
    """Insert the collection whose rows are the file `source`, and start the import of the dataset version."""
    spec = draft.spec
    # One after the other: what is added builds on what was added before, whether its version is made yet or not.
    advisory_lock(ctx.conn, f"collections of {spec.dataset}")
    _record_lineage(ctx, collection_id, source, draft)
    earlier_sources, timed = _earlier_sources(ctx, spec)
    body = _body(spec, [source, *earlier_sources], timed=timed)
    started = data.import_(ctx, body, replace(inspection, mapping=body.mapping))
    version_id = started.version.id if started.version is not None else str(started.job and started.job.subject)
    answers_with_rows = [item for item in draft.answers if item.row is not None]
    collection = Collection(
        id=collection_id,
        dataset=spec.dataset,
        version_id=version_id,
        job_id=started.job.id if started.job is not None else None,
        rows=len(answers_with_rows),
        quarantined=draft.quarantined,
        source_hash=source.hash,
        spec=spec,
        created_at=ctx.now,
        created_by=ctx.actor.name,
    )
    store.insert(ctx.conn, collection, body.sources, _items(draft.answers))
    details = {"dataset": spec.dataset, "rows": collection.rows, "quarantined": collection.quarantined}
    events.emit(ctx, "traces.collected", collection_id, details)
    return collection


def _items(answers: Sequence[CollectedAnswer]) -> list[CollectionItem]:
    items, line = [], 0
    for seq, item in enumerate(answers):
        line += item.row is not None
        items.append(
            CollectionItem(
                seq=seq,
                trace_id=item.span.trace_id,
                span_id=item.span.span_id,
                response_id=item.span.response_id,
                user=item.user,
                reason=item.reason,
                row=line if item.row is not None else None,
                corrected=item.corrected,
            )
        )
    return items


def _record_lineage(ctx: Context, collection_id: str, source: SourceRef, draft: Draft) -> None:
    """Record that the file comes from the collection, and the collection from the releases that answered."""
    spans_with_rows = [item.span for item in draft.answers if item.row is not None]
    span_refs = sorted(f"{span.trace_id}:{span.span_id}" for span in spans_with_rows)
    releases = sorted({span.release_id for span in spans_with_rows if span.release_id is not None})
    recorded = [ref for ref in releases if lineage.find(ctx.conn, "release", ref) is not None]
    details = {
        "rows": len(spans_with_rows),
        "corrected": sum(item.corrected for item in draft.answers if item.row is not None),
        "quarantined": draft.quarantined,
        "spans_hash": content_hash(span_refs[:_TRACES_IN_HASH]),
        "first": min(span.start for span in spans_with_rows).isoformat(),
        "last": max(span.start for span in spans_with_rows).isoformat(),
    }
    label = f"{len(spans_with_rows)} answers for {draft.spec.dataset}"
    node = lineage.LineageNode(id=collection_id, kind="trace_collection", label=label, facts=details)
    lineage.record(ctx, node, [(ref, "answered_by") for ref in recorded])
    file = lineage.LineageNode(id=source.hash, kind="file", label=source.name, facts={"rows": len(spans_with_rows)})
    lineage.record(ctx, file, [(collection_id, "collected_from")])


def _split(spec: ToDataset) -> str:
    return spec.split or ("test" if spec.row_schema == "eval" else "train")


def _body(spec: ToDataset, sources: list[SourceRef], *, timed: bool) -> ImportCreate:
    fields = {field: field for field in FIELDS[spec.row_schema]} | {"cluster": "cluster_id"}
    return ImportCreate(
        name=spec.dataset,
        sources=sources,
        row_schema=spec.row_schema,
        mapping=MapSpec(fields=fields | ({"time": "time"} if timed else {})),
        recipe=spec.recipe,
        split=SplitSpec(ratios={_split(spec): 1.0}),
    )


def _earlier_sources(ctx: Context, spec: ToDataset) -> tuple[list[SourceRef], bool]:
    """Return the sources that a new version takes over, and whether their rows have times.

    The files of the newest collection, whose version may still be in the making; or else the rows of the newest
    version as they are stored. Raises AppendRefused.
    """
    if not spec.append:
        return [], True
    before = _newest_version(ctx, spec.dataset)
    for collection, sources in store.list_newest(ctx.conn, spec.dataset):
        if before is not None and collection.version_id < before.id:
            break
        if not _failed(ctx, collection):
            _check_split(spec, f"the collection {collection.id}", [_split(collection.spec)])
            return sources, all(source.name.endswith(".jsonl") for source in sources)
    if before is None or before.row_schema != spec.row_schema:
        return [], True
    _check_split(spec, before.ref, [info.name for info in before.splits])
    stored = [SourceRef(name=f"{before.ref}-{info.name}.parquet", hash=info.hash) for info in before.splits]
    return stored, "time" in before.plan.mapping.fields


def _newest_version(ctx: Context, name: str) -> DatasetVersion | None:
    try:
        return data.get_version(ctx, name)
    except DatasetNotFound:
        return None


def _failed(ctx: Context, collection: Collection) -> bool:
    if collection.job_id is None:
        return False
    return ctx.kernel.get(JobQueue).get(ctx, collection.job_id).state in ("failed", "cancelled")


def _check_split(spec: ToDataset, subject: str, splits: list[str]) -> None:
    if splits != [_split(spec)]:
        raise AppendRefused(
            f"{subject} has the splits {', '.join(splits)}; adding to {_split(spec)!r} would divide the rows anew.",
            hint="Collect into a dataset of its own, or start anew with append=false (`--no-append`).",
            param="dataset",
        )


def get_collection(ctx: Context, collection_id: str) -> Collection:
    """Return a collection. Raises CollectionNotFound."""
    collection = store.get(ctx.conn, collection_id)
    if collection is None:
        raise CollectionNotFound(
            f"There is no collection {collection_id!r}.", hint="`tidemill traces collections` shows what there is."
        )
    return collection


def list_collections(
    ctx: Context,
    *,
    dataset: str | None = None,
    trace_id: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Collection]:
    """Return collections, newest first; with `trace_id`, those that an answer of this trace is in."""
    collections = store.list_page(ctx.conn, dataset=dataset, trace_id=trace_id, before=cursor, limit=limit + 1)
    return page(collections, limit)


def list_collection_items(
    ctx: Context, collection_id: str, *, quarantined: bool | None = None, cursor: str | None = None, limit: int = 50
) -> Page[CollectionItem]:
    """Return the answers of a collection, in order. Raises CollectionNotFound."""
    get_collection(ctx, collection_id)
    position = parse_cursor(cursor)
    after = -1 if position is None else position
    items = store.list_items(ctx.conn, collection_id, quarantined=quarantined, after=after, limit=limit + 1)
    more = len(items) > limit
    return Page(items=items[:limit], next_cursor=str(items[limit - 1].seq) if more else None)
