"""Deciding about collections: which answers make rows, which are kept apart, and the dataset version of the rows."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill.core import events, lineage
from tidemill.core.actors import Actor
from tidemill.core.db import advisory_lock
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page
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
from tidemill.feedback.collections.rows import FIELDS, Made, capped, make, opinion
from tidemill.feedback.collections.selection import Picked, pick
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
    with kernel.read(actor) as ctx:
        draft = collect(ctx, spec)
    collection_id = new_id("tcol")
    name = f"traces-{collection_id}.jsonl"
    source = SourceRef(name=name, hash=kernel.blobs.put_bytes(draft.rows).hash)
    inspection = data.inspect_sources(kernel, _body(spec, [source], timed=True))
    with kernel.write(actor) as ctx:
        return keep(ctx, collection_id, draft, source, inspection)


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


def keep(
    ctx: Context, collection_id: str, draft: Draft, source: SourceRef, inspection: data.SourceInspection
) -> Collection:
    """Write the collection whose rows are the file `source`, and ask for the dataset version."""
    spec = draft.spec
    # One after the other: what is added builds on what was added before, whether its version is made yet or not.
    advisory_lock(ctx.conn, f"collections of {spec.dataset}")
    _enter(ctx, collection_id, source, draft)
    behind, timed = _behind(ctx, spec)
    body = _body(spec, [source, *behind], timed=timed)
    started = data.import_(ctx, body, replace(inspection, mapping=body.mapping))
    version_id = started.version.id if started.version is not None else str(started.job and started.job.subject)
    kept = [item for item in draft.made if item.row is not None]
    collection = Collection(
        id=collection_id,
        dataset=spec.dataset,
        version_id=version_id,
        job_id=started.job.id if started.job is not None else None,
        rows=len(kept),
        quarantined=draft.quarantined,
        source_hash=source.hash,
        spec=spec,
        created_at=ctx.now,
        created_by=ctx.actor.name,
    )
    store.insert(ctx.conn, collection, body.sources, _items(draft.made))
    told = {"dataset": spec.dataset, "rows": collection.rows, "quarantined": collection.quarantined}
    events.emit(ctx, "traces.collected", collection_id, told)
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


def _enter(ctx: Context, collection_id: str, source: SourceRef, draft: Draft) -> None:
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
    node = lineage.LineageNode(id=collection_id, kind="trace_collection", label=label, facts=facts)
    lineage.record(ctx, node, [(ref, "answered_by") for ref in known])
    file = lineage.LineageNode(id=source.hash, kind="file", label=source.name, facts={"rows": len(kept)})
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


def _behind(ctx: Context, spec: ToDataset) -> tuple[list[SourceRef], bool]:
    """What a new version takes over, and whether its rows have times.

    The files of the newest collection, whose version may still be in the making; or else the rows of the newest
    version as they are stored. Raises AppendRefused.
    """
    if not spec.append:
        return [], True
    before = _newest(ctx, spec.dataset)
    for collection, sources in store.newest(ctx.conn, spec.dataset):
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


def _newest(ctx: Context, name: str) -> DatasetVersion | None:
    try:
        return data.get_version(ctx, name)
    except DatasetNotFound:
        return None


def _failed(ctx: Context, collection: Collection) -> bool:
    if collection.job_id is None:
        return False
    return ctx.kernel.get(JobQueue).get(ctx, collection.job_id).state in ("failed", "cancelled")


def _check_split(spec: ToDataset, what: str, there: list[str]) -> None:
    if there != [_split(spec)]:
        raise AppendRefused(
            f"{what} has the splits {', '.join(there)}; adding to {_split(spec)!r} would draw them anew.",
            hint="Collect into a dataset of its own, or start anew with append=false (`--no-append`).",
            param="dataset",
        )


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
