"""Erases one user: finds what is theirs, and erases it in an order that can be resumed."""

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

_ROW_KINDS = {"file", "dataset_version"}
_TRAINED_KINDS = {"tuning_run", "model_version"}
"""Kinds of lineage on the way from answers to models. Releases end it: what they answer is somebody else's."""


@dataclass(frozen=True)
class _UserData:
    names: list[str]
    traces: UserTraces


def footprint(ctx: Context, user: str) -> Footprint:
    """Return what is stored of a user; all zero for an unknown one."""
    return _footprint(ctx, _find(ctx, user))


def _find(ctx: Context, user: str) -> _UserData:
    """Return the traces of a user, also under the pseudonym that masking stores instead of the name."""
    names = sorted({user, ctx.kernel.get(Masker).load_mask(ctx).pseudonymize(user)})
    return _UserData(names, traces.find_user_traces(ctx, names))


def _footprint(ctx: Context, data: _UserData) -> Footprint:
    answers = store.list_answers(ctx.conn, data.names, data.traces.hex_ids)
    datasets, models = _derived(ctx, sorted({row.collection_id for row in answers if row.row is not None}))
    return Footprint(
        traces=len(data.traces.ids),
        spans=sum(data.traces.spans.values()),
        scores=store.count_scores(ctx.conn, data.names, data.traces.hex_ids),
        answers=len(answers),
        copies=ctx.kernel.get(ShadowCopyIndex).count(ctx, data.traces.response_ids),
        days=[day.isoformat() for day in sorted(data.traces.spans)],
        datasets=datasets,
        models=models,
    )


def _derived(ctx: Context, collections: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the dataset versions with rows of these collections, and the models trained on them."""
    datasets, models = set[str](), set[str]()
    for collection_id in collections:
        graph = lineage.walk(ctx.conn, collection_id, "down")
        if graph is None:
            continue
        nodes = {node.id: node for node in graph.nodes}
        children = defaultdict(list)
        for edge in graph.edges:
            children[edge.parent_id].append(edge.child_id)
        open_ids, seen_ids = [collection_id], {collection_id}
        while open_ids:
            reached = children[open_ids.pop()]
            new_ids = {child for child in reached if nodes[child].kind in _ROW_KINDS | _TRAINED_KINDS} - seen_ids
            seen_ids |= new_ids
            open_ids += new_ids
        datasets |= {nodes[ref].label for ref in seen_ids if nodes[ref].kind == "dataset_version"}
        models |= {nodes[ref].label for ref in seen_ids if nodes[ref].kind == "model_version"}
    return sorted(datasets), sorted(models)


def erase(kernel: Kernel, actor: Actor, user: str) -> Erasure:
    """Erase a user; doing it again erases what has come since, and finishes an erasure that was interrupted.

    Scores and rows go first, in one transaction with the record; then each day of traces. Dataset versions and models
    stay as they are and are named. Raises TracesUnavailable when somebody reads a day for long.
    """
    with kernel.read(actor) as ctx:
        data = _find(ctx, user)
        files = _write_remaining_files(ctx, data)
    with kernel.write(actor) as ctx:
        erasure, unfinished_days = _erase_rows(ctx, user, data, files)
    _delete_files(kernel, actor)
    spans = 0
    for day in sorted({*data.traces.spans, *unfinished_days}):
        spans += traces.erase_traces(kernel, day, data.traces.ids)
    store.truncate_log(kernel.db)
    with kernel.write(actor) as ctx:
        store.finish(ctx.conn, user, spans, ctx.now, erasure.id)
        counts = {"traces": erasure.traces, "spans": spans, "scores": erasure.scores}
        counts |= {"answers": erasure.answers, "copies": erasure.copies}
        events.emit(ctx, "traces.user_erased", erasure.id, {"user_hash": erasure.user_hash, **counts})
        return erasure.model_copy(update={"spans": spans, "finished_at": ctx.now})


@dataclass(frozen=True)
class _NewFile:
    """The file of a collection without the lines of the user."""

    hash: str
    has_lines: bool


def _write_remaining_files(ctx: Context, data: _UserData) -> dict[str, _NewFile]:
    """Write the file of each collection anew, with empty lines for the user's: the others keep their numbers."""
    lines_by_collection: dict[str, set[int]] = defaultdict(set)
    for row in store.list_answers(ctx.conn, data.names, data.traces.hex_ids):
        if row.row is not None:
            lines_by_collection[row.collection_id].add(row.row)
    files: dict[str, _NewFile] = {}
    for collection_id, lines in lines_by_collection.items():
        erased_lines = lines | store.list_erased_lines(ctx.conn, collection_id)
        with ctx.kernel.blobs.open(store.get_source_file(ctx.conn, collection_id).hash) as file:
            content = b"".join(b"\n" if number in erased_lines else line for number, line in enumerate(file, 1))
        new_hash = ctx.kernel.blobs.put_bytes(content).hash
        files[collection_id] = _NewFile(new_hash, has_lines=bool(content.strip()))
    return files


def _erase_rows(ctx: Context, user: str, data: _UserData, files: dict[str, _NewFile]) -> tuple[Erasure, list[date]]:
    footprint = _footprint(ctx, data)
    store.erase_answers(ctx.conn, store.list_answers(ctx.conn, data.names, data.traces.hex_ids))
    for collection_id, file in files.items():
        _replace_file(ctx, collection_id, file)
    ctx.kernel.get(ShadowCopyIndex).delete(ctx, data.traces.response_ids)
    store.delete_scores(ctx.conn, data.names, data.traces.hex_ids)
    store.redact_documents(ctx.conn, data.names)
    unfinished = store.list_page(ctx.conn, user=user, unfinished=True, before=None, limit=None)
    erasure = Erasure(
        **footprint.model_dump(),
        id=new_id("ers"),
        user_hash=store.user_hash(user),
        began_at=ctx.now,
        finished_at=None,
        by=ctx.actor.name,
    )
    store.insert(ctx.conn, erasure)
    return erasure, [date.fromisoformat(day) for earlier in unfinished for day in earlier.days]


def _replace_file(ctx: Context, collection_id: str, file: _NewFile) -> None:
    """Let the next version of the dataset take the collection's file without the erased lines."""
    name = f"traces-{collection_id}.jsonl"
    dataset = store.get_source_file(ctx.conn, collection_id).dataset
    store.replace_file(ctx.conn, collection_id, file.hash)
    if file.has_lines:
        node = lineage.LineageNode(id=file.hash, kind="file", label=name)
        lineage.record(ctx, node, [(collection_id, "collected_from")])
    store.replace_source(ctx.conn, dataset, name, file.hash if file.has_lines else None)


def _delete_files(kernel: Kernel, actor: Actor) -> None:
    """Delete the files that collections had before lines were erased, also those of an erasure that was broken off."""
    with kernel.read(actor) as ctx:
        hashes = set[str]()
        for collection_id in store.list_erased_collections(ctx.conn):
            graph = lineage.walk(ctx.conn, collection_id, "down")
            hashes |= {
                edge.child_id
                for edge in (graph.edges if graph is not None else ())
                if edge.parent_id == collection_id and not store.uses_file(ctx.conn, edge.child_id)
            }
    for file_hash in sorted(hashes):
        kernel.blobs.delete(file_hash)


def list_erasures(
    ctx: Context, *, user: str | None = None, cursor: str | None = None, limit: int = 50
) -> Page[Erasure]:
    """Return records of erasures, newest first; with `user`, those of one user."""
    return page(store.list_page(ctx.conn, user=user, unfinished=False, before=cursor, limit=limit + 1), limit)
