"""Deciding about collections: which answers make rows, which are kept apart, and the dataset version of the rows."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.core import events, lineage
from tidemill.core.context import Actor, Context
from tidemill.core.kernel import Kernel
from tidemill.core.web import page
from tidemill.core.wire import Page, content_hash, new_id
from tidemill.data import service as data
from tidemill.data.types import (
    DatasetNotFound,
    DatasetVersion,
    Import,
    ImportCreate,
    MapSpec,
    RowSchema,
    SourceRef,
    SplitSpec,
)
from tidemill.traces.curation import store
from tidemill.traces.curation.picking import Picked, pick
from tidemill.traces.curation.rows import FIELDS, Made, capped, make, opinion
from tidemill.traces.types.curation import (
    AppendRefused,
    Collection,
    CollectionItem,
    CollectionNotFound,
    NothingToCollect,
    ToDataset,
)

_TRACES_IN_HASH = 100_000


@dataclass(frozen=True)
class Draft:
    """Answers that have been looked at, before anything is written."""

    spec: ToDataset
    made: list[Made]

    @property
    def rows(self) -> bytes:
        """The rows as JSON lines."""
        kept = (item.row for item in self.made if item.row is not None)
        return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in kept)

    @property
    def quarantined(self) -> dict[str, int]:
        """Reason -> answers kept apart."""
        return dict(Counter(item.reason for item in self.made if item.reason is not None))


def to_dataset(kernel: Kernel, actor: Actor, spec: ToDataset) -> Collection:
    """Make rows of answers, and a dataset version of the rows (a job makes it).

    The answers are read and the file is stored before the transaction that writes the collection, since thousands of
    them may take a second. Raises AnswersUnknown, NothingToCollect, AppendRefused, SchemaConflict.
    """
    with kernel.look(actor) as ctx:
        draft = collect(ctx, spec)
    digest = kernel.blobs.put_bytes(draft.rows).hash
    with kernel.work(actor) as ctx:
        return keep(ctx, draft, digest)


def collect(ctx: Context, spec: ToDataset) -> Draft:
    """Look at the answers. Raises AnswersUnknown, NothingToCollect."""
    picked = pick(ctx, spec)
    made = capped((_make(item, spec) for item in picked), spec.cap_per_user)
    draft = Draft(spec, [item for item in made if item.reason != "not_wanted"] or made)
    if not any(item.row is not None for item in made):
        told = ", ".join(f"{count} {reason}" for reason, count in draft.quarantined.items())
        raise NothingToCollect(
            f"None of {len(made)} answers makes a row: {told or 'there are none'}.",
            hint="Widen the choice (`only`, the filter's time), or give feedback with corrections first.",
            details={"quarantined": draft.quarantined},
        )
    return draft


def _make(item: Picked, spec: ToDataset) -> Made:
    return make(item.span, opinion(item.scores, spec.feedback), spec)


def keep(ctx: Context, draft: Draft, digest: str) -> Collection:
    """Write the collection whose rows are the blob `digest`, and ask for the dataset version."""
    spec = draft.spec
    collection_id = new_id("tcol")
    name = f"traces-{collection_id}.jsonl"
    _enter(ctx, collection_id, name, digest, draft)
    started = _import(ctx, spec, SourceRef(name=name, hash=digest))
    version_id = started.version.id if started.version is not None else str(started.job and started.job.subject)
    kept = [item for item in draft.made if item.row is not None]
    collection = Collection(
        id=collection_id,
        dataset=spec.dataset,
        version_id=version_id,
        job_id=started.job.id if started.job is not None else None,
        rows=len(kept),
        quarantined=draft.quarantined,
        source_hash=digest,
        spec=spec,
        created_at=ctx.now,
        created_by=ctx.actor.name,
    )
    store.insert(ctx.conn, collection, _items(draft.made))
    data_told = {"dataset": spec.dataset, "rows": collection.rows, "quarantined": collection.quarantined}
    events.emit(ctx, "traces.collected", collection_id, data_told)
    return collection


def _items(made: Sequence[Made]) -> list[CollectionItem]:
    found, line = [], 0
    for seq, item in enumerate(made):
        line += item.row is not None
        found.append(
            CollectionItem(
                seq=seq,
                trace_id=item.span.trace_id,
                span_id=item.span.span_id,
                response_id=item.span.response_id,
                user=item.giver,
                reason=item.reason,
                row=line if item.row is not None else None,
                corrected=item.corrected,
            )
        )
    return found


def _enter(ctx: Context, collection_id: str, name: str, digest: str, draft: Draft) -> None:
    """Lineage: the file comes from the collection, the collection from the releases that answered."""
    kept = [item.span for item in draft.made if item.row is not None]
    spans = sorted(f"{span.trace_id}:{span.span_id}" for span in kept)
    releases = sorted({span.release_id for span in kept if span.release_id is not None})
    known = [ref for ref in releases if lineage.find(ctx.conn, "release", ref) is not None]
    facts = {
        "rows": len(kept),
        "corrected": sum(item.corrected for item in draft.made if item.row is not None),
        "quarantined": draft.quarantined,
        "spans_hash": content_hash(spans[:_TRACES_IN_HASH]),
        "first": min(span.start for span in kept).isoformat(),
        "last": max(span.start for span in kept).isoformat(),
    }
    label = f"{len(kept)} answers for {draft.spec.dataset}"
    node = lineage.Node(id=collection_id, kind="trace_collection", label=label, facts=facts)
    lineage.record(ctx, node, [(ref, "answered_by") for ref in known])
    file = lineage.Node(id=digest, kind="file", label=name, facts={"rows": len(kept)})
    lineage.record(ctx, file, [(collection_id, "collected_from")])


def _import(ctx: Context, spec: ToDataset, source: SourceRef) -> Import:
    split = spec.split or ("test" if spec.row_schema == "eval" else "train")
    before = _newest(ctx, spec.dataset) if spec.append else None
    sources, timed = [source], True
    if before is not None and before.row_schema == spec.row_schema:
        sources += _behind(ctx, before, split)
        timed = "time" in before.plan.mapping.fields
    return data.import_(
        ctx,
        ImportCreate(
            name=spec.dataset,
            sources=sources,
            row_schema=spec.row_schema,
            mapping=_mapping(spec.row_schema, timed),
            recipe=spec.recipe,
            split=SplitSpec(ratios={split: 1.0}),
        ),
    )


def _mapping(schema: RowSchema, timed: bool) -> MapSpec:
    fields = {field: field for field in FIELDS[schema]} | {"cluster": "cluster_id"}
    return MapSpec(fields=fields | ({"time": "time"} if timed else {}))


def _newest(ctx: Context, name: str) -> DatasetVersion | None:
    try:
        return data.get_version(ctx, name)
    except DatasetNotFound:
        return None


def _behind(ctx: Context, before: DatasetVersion, split: str) -> list[SourceRef]:
    """What a new version takes over: the files of earlier collections, or else the rows as they are stored."""
    if [info.name for info in before.splits] != [split]:
        there = ", ".join(info.name for info in before.splits)
        raise AppendRefused(
            f"{before.ref} has the splits {there}; adding to {split!r} would draw them anew.",
            hint="Collect into a dataset of its own, or start anew with append=false (`--no-append`).",
            param="dataset",
        )
    if store.are_collected(ctx.conn, [source.hash for source in before.plan.sources]):
        return list(before.plan.sources)
    return [SourceRef(name=f"{before.ref}-{info.name}.parquet", hash=info.hash) for info in before.splits]


def get_collection(ctx: Context, collection_id: str) -> Collection:
    """One collection. Raises CollectionNotFound."""
    found = store.by_id(ctx.conn, collection_id)
    if found is None:
        raise CollectionNotFound(
            f"There is no collection {collection_id!r}.", hint="`tidemill traces collections` shows what there is."
        )
    return found


def list_collections(
    ctx: Context,
    *,
    dataset: str | None = None,
    trace_id: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Collection]:
    """Collections, newest first; with `trace_id`, those that an answer of this trace is in."""
    found = store.page(ctx.conn, dataset=dataset, trace_id=trace_id, before=cursor, limit=limit + 1)
    return page(found, limit)


def collection_items(
    ctx: Context, collection_id: str, *, quarantined: bool | None = None, cursor: str | None = None, limit: int = 50
) -> Page[CollectionItem]:
    """The answers of a collection, in order. Raises CollectionNotFound."""
    get_collection(ctx, collection_id)
    after = int(cursor) if cursor is not None and cursor.isdecimal() else -1
    found = store.list_items(ctx.conn, collection_id, quarantined=quarantined, after=after, limit=limit + 1)
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=str(found[limit - 1].seq) if more else None)
