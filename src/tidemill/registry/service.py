"""Deciding about models: what a version is, where an alias points, what may be served and what may go."""

from datetime import datetime

from tidemill.core import events, lineage
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page
from tidemill.core.wire import Page, content_hash, new_id
from tidemill.registry import cards, files, store
from tidemill.registry.aliases import alias_at, alias_history, list_aliases, move_alias, remove_alias
from tidemill.registry.files import ingest_folder, materialise, weights_path
from tidemill.registry.inspection import Inspection, inspect
from tidemill.registry.lookup import get_model, get_version
from tidemill.registry.types import (
    ChatTemplate,
    EvidenceList,
    InvalidModelReference,
    Model,
    ModelCard,
    ModelEvidence,
    ModelFile,
    ModelInUse,
    ModelNotFound,
    ModelVersion,
    Parent,
    ParentRef,
    ParityEvidence,
    Relation,
    UnknownModelFormat,
    VersionCreate,
    VersionDiffers,
)

__all__ = [
    "add_version",
    "alias_at",
    "alias_history",
    "chat_template",
    "delete_version",
    "get_model",
    "get_version",
    "ingest_folder",
    "inspect_blobs",
    "list_aliases",
    "list_evidence",
    "list_files_removed",
    "list_ids_with_files",
    "list_models",
    "list_versions",
    "mark_servable",
    "materialise",
    "move_alias",
    "remove_alias",
    "remove_files",
    "render_card",
    "require_files",
    "weights_path",
]


def inspect_blobs(kernel: Kernel, body: VersionCreate) -> Inspection:
    """Judge the files of a version to be, before the transaction that adds it: they may have to be fetched.

    Raises UnsafeModelFile, CorruptModelFile, UnknownModelFormat, ModelFilesMissing.
    """
    inspection = inspect(files.local_files(kernel, body.files, claim=True))
    _check_kind(body, inspection)
    return inspection


def add_version(ctx: Context, body: VersionCreate, inspection: Inspection | None = None) -> ModelVersion:
    """Register files that are blobs already as a new version of a model, which is made when it is new.

    The same files again give the version that is there; with another kind, parents or licence they raise
    VersionDiffers, for a version never changes. Raises ModelNotFound (a parent).
    Without `found` the files are inspected here.
    """
    inspection = inspection or inspect_blobs(ctx.kernel, body)
    parents, bases = _parents(ctx, body.parents)
    store.lock_model(ctx.conn, body.model)
    model = _model_for(ctx, body)
    sorted_files = sorted(body.files, key=lambda f: f.path)
    digest = content_hash([[f.path, f.hash] for f in sorted_files])
    same = store.version_by_hash(ctx.conn, model.id, digest)
    if same is not None:
        return _restore_files(ctx, _check_unchanged(same, body, parents))
    licence = body.licence or inspection.licence
    imported = body.kind == "base" and not parents
    version = ModelVersion(
        id=new_id("mv"),
        model_id=model.id,
        model=model.name,
        number=model.versions + 1,
        kind=body.kind,
        format=inspection.format,
        files=sorted_files,
        size=sum(f.size for f in sorted_files),
        content_hash=digest,
        chat_template_hash=inspection.template_hash,
        facts=inspection.facts,
        parents=parents,
        licence=licence,
        card=cards.draft(
            model.name,
            kind=body.kind,
            form=inspection.format,
            facts=inspection.facts,
            licence=licence,
            parents=bases,
            declared=body.card,
        ),
        servable=imported,
        created_at=ctx.now,
        created_by=ctx.actor.name,
    )
    store.insert_version(ctx.conn, version, inspection.template)
    _record(ctx, version)
    if imported:
        _add_evidence(ctx, version, "import", ParityEvidence(passed=True, hop="import", summary="A base taken as is."))
    return version


def list_models(ctx: Context, *, cursor: str | None, limit: int) -> Page[Model]:
    """Return a page of models, sorted by name."""
    models = store.list_models(ctx.conn, after=cursor, limit=limit + 1)
    return Page(items=models[:limit], next_cursor=models[limit - 1].name if len(models) > limit else None)


def list_versions(ctx: Context, name: str, *, cursor: str | None, limit: int) -> Page[ModelVersion]:
    """Return the versions of one model, newest first."""
    model = get_model(ctx, name)
    return page(store.list_versions(ctx.conn, model.id, before=cursor, limit=limit + 1), limit)


def chat_template(ctx: Context, ref: str) -> ChatTemplate:
    """Return the chat template that a version carries."""
    version = get_version(ctx, ref)
    return ChatTemplate(template=store.get_template(ctx.conn, version.id), hash=version.chat_template_hash)


def render_card(ctx: Context, ref: str) -> ModelCard:
    """Return the model card as a Markdown file."""
    version = get_version(ctx, ref)
    return ModelCard(version=version.ref, markdown=cards.render(version))


def list_evidence(ctx: Context, ref: str) -> EvidenceList:
    """Return why a version may be served, or why not; newest first."""
    return EvidenceList(items=store.list_evidence(ctx.conn, get_version(ctx, ref).id))


def mark_servable(ctx: Context, ref: str, proof: ParityEvidence) -> ModelVersion:
    """Store the outcome of a parity proof and let it decide: a passed one makes the version servable.

    A failed one is stored too and makes the version not servable, whatever was found before.
    """
    version = get_version(ctx, ref)
    against = get_version(ctx, proof.against).id if proof.against is not None else None
    _add_evidence(ctx, version, "parity", proof.model_copy(update={"against": against}))
    store.set_servable(ctx.conn, version.id, proof.passed)
    return version.model_copy(update={"servable": proof.passed})


def delete_version(ctx: Context, ref: str) -> None:
    """Delete a version that nothing was made from and that no alias ever named. Its number is not used again.

    Raises ModelInUse.
    """
    version = get_version(ctx, ref)
    store.lock_model(ctx.conn, version.model)
    below = lineage.walk(ctx.conn, version.id, "down", depth=1)
    labels = [n.label for n in below.nodes if n.id != version.id] if below is not None else []
    aliases = store.aliases_ever_on(ctx.conn, version.id)
    if labels or aliases:
        used = [*labels, *(f"alias {a} (now or in its history)" for a in aliases)]
        raise ModelInUse(
            f"{version.ref} cannot be deleted: {', '.join(used[:5])} {'refers' if len(used) == 1 else 'refer'} to it.",
            hint="Keep it, so that what was made from it can still be explained.",
            details={"used_by": used},
        )
    store.delete_version(ctx.conn, version.id)
    facts = {"model": version.model, "number": version.number, "content_hash": version.content_hash}
    events.emit(ctx, "model.version_deleted", version.id, facts)
    ctx.once_committed(lambda: files.remove(ctx.kernel, version.id))


def remove_files(ctx: Context, ref: str, why: str) -> list[ModelFile]:
    """Let a version's files go and keep what it is, its evidence and its lineage. Return the files that no version has.

    An empty list when the files went before. Their blobs are collected by who calls this. Raises ModelInUse when an
    alias ever named the version or something but a model version was made from it, such as a release.
    """
    version = get_version(ctx, ref)
    store.lock_model(ctx.conn, version.model)
    below = lineage.walk(ctx.conn, version.id, "down", depth=1)
    users = [n.label for n in below.nodes if n.id != version.id and n.kind != "model_version"] if below else []
    users += [f"alias {name}" for name in store.aliases_ever_on(ctx.conn, version.id)]
    if users:
        raise ModelInUse(
            f"The files of {version.ref} are needed by {', '.join(users[:5])}.",
            hint="Keep them as long as it may be served.",
            details={"used_by": users},
        )
    if not store.set_files_removed(ctx.conn, version.id, ctx.now, why):
        return []
    events.emit(ctx, "model.files_removed", version.id, {"model": version.ref, "size": version.size, "why": why})
    ctx.once_committed(lambda: files.remove(ctx.kernel, version.id))
    return version.files


def list_files_removed(ctx: Context, version_ids: list[str]) -> dict[str, tuple[datetime, str]]:
    """Return when and why the files of these versions were removed, by id; a version that has them is left out."""
    return store.list_files_removed(ctx.conn, version_ids)


def list_ids_with_files(ctx: Context) -> set[str]:
    """Return the ids of all versions whose files are in the blob store."""
    return store.list_ids_with_files(ctx.conn)


def require_files(ctx: Context, version: ModelVersion) -> None:
    """Let nobody remove a version's files before this transaction ends, which makes something that needs them.

    Raises ModelFilesRemoved when they were removed before.
    """
    store.lock_model(ctx.conn, version.model)
    files.require_present(get_version(ctx, version.id))


def _restore_files(ctx: Context, version: ModelVersion) -> ModelVersion:
    """The same files were put again: they are there from now on."""
    if version.files_removed_at is None:
        return version
    store.set_files_present(ctx.conn, version.id)
    events.emit(ctx, "model.files_restored", version.id, {"model": version.ref})
    return version.model_copy(update={"files_removed_at": None, "files_removed_why": None})


def _check_kind(body: VersionCreate, inspection: Inspection) -> None:
    if inspection.adapter != (body.kind == "adapter"):
        what = "an adapter" if inspection.adapter else "a whole model"
        raise UnknownModelFormat(
            f"The files are {what}, but the kind is {body.kind!r}.",
            hint="Use the kind adapter for an adapter and only for that.",
            param="kind",
        )


def _parents(ctx: Context, refs: list[ParentRef]) -> tuple[list[Parent], list[tuple[str, Relation]]]:
    """Return the parents by id, and the references of those that are model versions."""
    parents, bases = [], []
    for parent in refs:
        if parent.relation in ("trained_by", "trained_on"):
            if lineage.walk(ctx.conn, parent.version, "up", depth=0) is None:
                raise ModelNotFound(f"There is no {parent.version!r} to be {parent.relation}.", param="parents")
            parents.append(Parent(id=parent.version, relation=parent.relation))
        else:
            version = get_version(ctx, parent.version)
            parents.append(Parent(id=version.id, relation=parent.relation))
            bases.append((version.ref, parent.relation))
    return parents, bases


def _model_for(ctx: Context, body: VersionCreate) -> Model:
    if body.model.startswith("mv_"):
        raise InvalidModelReference("A model's name cannot begin with mv_, as ids do.", param="model")
    existing = store.model_by_name(ctx.conn, body.model)
    if existing is not None:
        return existing
    model = Model(
        id=new_id("mdl"),
        name=body.model,
        description=body.description,
        versions=0,
        created_at=ctx.now,
        created_by=ctx.actor.name,
    )
    store.insert_model(ctx.conn, model)
    events.emit(ctx, "model.created", model.id, {"name": model.name})
    return model


def _check_unchanged(same: ModelVersion, body: VersionCreate, parents: list[Parent]) -> ModelVersion:
    differs = [
        name
        for name, was, now in (
            ("kind", same.kind, body.kind),
            ("parents", same.parents, parents),
            ("licence", same.licence, body.licence or same.licence),
        )
        if was != now
    ]
    if differs:
        raise VersionDiffers(
            f"These files are {same.ref} already, with another {' and '.join(differs)}; a version never changes.",
            hint=f"Use {same.ref}, or register the files under another model name.",
            details={"version": same.id, "differs": differs},
        )
    return same


def _record(ctx: Context, version: ModelVersion) -> None:
    node = lineage.LineageNode(
        id=version.id,
        kind="model_version",
        label=version.ref,
        facts={
            "content_hash": version.content_hash,
            "kind": version.kind,
            "format": version.format,
            "quantisation": version.facts.quantisation,
            "size": version.size,
        },
    )
    lineage.record(ctx, node, [(p.id, p.relation) for p in version.parents])
    facts = {"model": version.model, "number": version.number, "content_hash": version.content_hash}
    events.emit(ctx, "model.version_created", version.id, facts)


def _add_evidence(ctx: Context, version: ModelVersion, kind: str, proof: ParityEvidence) -> None:
    item = ModelEvidence.model_validate(
        {
            **proof.model_dump(),
            "id": new_id("mev"),
            "version_id": version.id,
            "kind": kind,
            "at": ctx.now,
            "by": ctx.actor.name,
        }
    )
    store.insert_evidence(ctx.conn, item)
    facts = {"kind": kind, "passed": proof.passed, "hop": proof.hop, "summary": proof.summary}
    events.emit(ctx, "model.evidence_added", version.id, facts)
