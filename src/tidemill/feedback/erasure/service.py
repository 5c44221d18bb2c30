"""Erasing one user: what is theirs, in which order it goes, and what is only named."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from tidemill.core import events, lineage
from tidemill.core.actors import Actor
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.feedback.erasure import store
from tidemill.feedback.types.erasure import Erasure, Footprint, ShadowCopyIndex
from tidemill.traces import service as traces
from tidemill.traces.service import Masker, UserTraces

_HOLDS_ROWS = {"file", "dataset_version"}
_LEARNT = {"tuning_run", "model_version"}
"""Kinds of lineage on the way from answers to models. Releases end it: what they answer is somebody else's."""


@dataclass(frozen=True)
class _Found:
    names: list[str]
    traces: UserTraces


def footprint(ctx: Context, user: str) -> Footprint:
    """What is kept of a user; all zero for an unknown one."""
    return _footprint(ctx, _find(ctx, user))


def _find(ctx: Context, user: str) -> _Found:
    """A user whose name is masked is stored under another one, which the same salt gives again."""
    names = sorted({user, ctx.kernel.get(Masker).load_mask(ctx).pseudonymize(user)})
    return _Found(names, traces.find_user_traces(ctx, names))


def _footprint(ctx: Context, found: _Found) -> Footprint:
    answers = store.answers(ctx.conn, found.names, found.traces.hex_ids)
    datasets, models = _made_of(ctx, sorted({row.collection_id for row in answers if row.row is not None}))
    return Footprint(
        traces=len(found.traces.ids),
        spans=sum(found.traces.spans.values()),
        scores=store.count_scores(ctx.conn, found.names, found.traces.hex_ids),
        answers=len(answers),
        copies=ctx.kernel.get(ShadowCopyIndex).count(ctx, found.traces.response_ids),
        days=[day.isoformat() for day in sorted(found.traces.spans)],
        datasets=datasets,
        models=models,
    )


def _made_of(ctx: Context, collections: Sequence[str]) -> tuple[list[str], list[str]]:
    """The dataset versions that hold rows of these collections, and the models trained on them."""
    datasets, models = set[str](), set[str]()
    for collection_id in collections:
        graph = lineage.walk(ctx.conn, collection_id, "down")
        if graph is None:
            continue
        nodes = {node.id: node for node in graph.nodes}
        children = defaultdict(list)
        for edge in graph.edges:
            children[edge.parent_id].append(edge.child_id)
        left, seen = [collection_id], {collection_id}
        while left:
            fresh = {child for child in children[left.pop()] if nodes[child].kind in _HOLDS_ROWS | _LEARNT} - seen
            seen |= fresh
            left += fresh
        datasets |= {nodes[ref].label for ref in seen if nodes[ref].kind == "dataset_version"}
        models |= {nodes[ref].label for ref in seen if nodes[ref].kind == "model_version"}
    return sorted(datasets), sorted(models)


def erase(kernel: Kernel, actor: Actor, user: str) -> Erasure:
    """Erase a user; doing it again erases what has come since, and finishes what was broken off.

    Scores and rows go first, in one transaction with the record; then each day of traces. Dataset versions and models
    stay as they are and are named. Raises TracesUnavailable when somebody reads a day for long.
    """
    with kernel.read(actor) as ctx:
        found = _find(ctx, user)
        files = _files(ctx, found)
    with kernel.write(actor) as ctx:
        erasure, broken_off = _erase_rows(ctx, user, found, files)
    spans = 0
    for day in sorted({*found.traces.spans, *broken_off}):
        spans += traces.erase_traces(kernel, day, found.traces.ids)
    store.empty_log(kernel.db)
    with kernel.write(actor) as ctx:
        store.finish(ctx.conn, user, spans, ctx.now, erasure.id)
        counts = {"traces": erasure.traces, "spans": spans, "scores": erasure.scores}
        counts |= {"answers": erasure.answers, "copies": erasure.copies}
        events.emit(ctx, "traces.user_erased", erasure.id, {"user_hash": erasure.user_hash, **counts})
        return erasure.model_copy(update={"spans": spans, "finished_at": ctx.now})


def _files(ctx: Context, found: _Found) -> dict[str, str | None]:
    """Collection -> its file without the lines of the user; None when nothing is left of it."""
    mine: dict[str, set[int]] = defaultdict(set)
    for row in store.answers(ctx.conn, found.names, found.traces.hex_ids):
        if row.row is not None:
            mine[row.collection_id].add(row.row)
    made: dict[str, str | None] = {}
    for collection_id, lines in mine.items():
        gone = lines | store.erased_lines(ctx.conn, collection_id)
        with ctx.kernel.blobs.open(store.file_of(ctx.conn, collection_id)[1]) as file:
            kept = [line for number, line in enumerate(file, 1) if number not in gone]
        made[collection_id] = ctx.kernel.blobs.put_bytes(b"".join(kept)).hash if kept else None
    return made


def _erase_rows(ctx: Context, user: str, found: _Found, files: dict[str, str | None]) -> tuple[Erasure, list[date]]:
    kept = _footprint(ctx, found)
    store.wipe(ctx.conn)
    store.erase_answers(ctx.conn, store.answers(ctx.conn, found.names, found.traces.hex_ids))
    for collection_id, file in files.items():
        _leave_out(ctx, collection_id, file)
    ctx.kernel.get(ShadowCopyIndex).delete(ctx, found.traces.response_ids)
    store.forget_filter(ctx.conn, found.names)
    store.delete_scores(ctx.conn, found.names, found.traces.hex_ids)
    before = store.page(ctx.conn, user=user, unfinished=True, before=None, limit=1000)
    erasure = Erasure(
        **kept.model_dump(),
        id=new_id("ers"),
        user_hash=store.user_hash(user),
        began_at=ctx.now,
        finished_at=None,
        by=ctx.actor.name,
    )
    store.insert(ctx.conn, erasure)
    return erasure, [date.fromisoformat(day) for one in before for day in one.days]


def _leave_out(ctx: Context, collection_id: str, file: str | None) -> None:
    """The next version of the dataset takes the collection's file without the lines that were erased."""
    name = f"traces-{collection_id}.jsonl"
    if file is not None:
        lineage.record(ctx, lineage.LineageNode(id=file, kind="file", label=name), [(collection_id, "collected_from")])
    store.replace_source(ctx.conn, store.file_of(ctx.conn, collection_id)[0], name, file)


def listing(ctx: Context, *, user: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[Erasure]:
    """Records of erasures, newest first; with `user`, those of one user."""
    return page(store.page(ctx.conn, user=user, unfinished=False, before=cursor, limit=limit + 1), limit)
