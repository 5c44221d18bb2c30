"""Releases: create, list, compare, and render their evidence."""

from tidemill.core import events, lineage
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, iterate_pages, new_id
from tidemill.evals import service as evals
from tidemill.prompts import service as prompts
from tidemill.registry import service as registry
from tidemill.registry.types import ModelVersion
from tidemill.releases import document, manifest, store
from tidemill.releases.approvals import (
    check_clearance,
    decide_approval,
    get_approval,
    get_policy,
    list_approvals,
    lock_approvals,
    request_approval,
    withdraw_approval,
)
from tidemill.releases.fit_evidence import check_frozen
from tidemill.releases.gates import declare_gate, draft_verdict, evaluate_gate, get_verdict, list_gates, list_results
from tidemill.releases.lookup import get_gate, get_release
from tidemill.releases.types import (
    EvidencePage,
    InvalidRelease,
    Manifest,
    ModelNotServable,
    Release,
    ReleaseCreate,
    ReleaseDiff,
)

__all__ = [
    "check_clearance",
    "check_frozen",
    "create_release",
    "decide_approval",
    "declare_gate",
    "diff",
    "draft_verdict",
    "evaluate_gate",
    "get_approval",
    "get_gate",
    "get_policy",
    "get_release",
    "get_verdict",
    "list_approvals",
    "list_gates",
    "list_releases",
    "list_results",
    "lock_approvals",
    "render_evidence",
    "request_approval",
    "withdraw_approval",
]


def create_release(ctx: Context, body: ReleaseCreate) -> Release:
    """Freeze a model version, adapter, prompt and sampling. Returns the existing release for the same content.

    Raises ModelNotServable, InvalidRelease, ModelNotFound, PromptNotFound.
    """
    frozen = _freeze(ctx, body)
    digest = manifest.manifest_hash(frozen)
    store.lock(ctx.conn, f"release {body.name}")
    existing = store.find_release(ctx.conn, name=body.name, content_hash=digest)
    if existing is not None:
        return existing
    newest = store.find_release(ctx.conn, name=body.name)
    release = Release(
        id=new_id("rel"),
        name=body.name,
        number=newest.number + 1 if newest is not None else 1,
        content_hash=digest,
        manifest=frozen,
        note=body.note,
        created_at=ctx.now,
        created_by=ctx.actor.name,
    )
    store.insert_release(ctx.conn, release)
    node = lineage.LineageNode(id=release.id, kind="release", label=release.ref, facts={"content_hash": digest})
    parents = [(frozen.model.version_id, "serves")]
    if frozen.adapter is not None:
        parents.append((frozen.adapter.version_id, "adapts_with"))
    if frozen.prompt is not None:
        parents.append((frozen.prompt.version_id, "prompts_with"))
    lineage.record(ctx, node, parents)
    events.emit(ctx, "release.created", release.id, {"release": release.ref, "content_hash": digest})
    return release


def list_releases(ctx: Context, *, name: str | None = None, cursor: str | None, limit: int) -> Page[Release]:
    """Return releases, newest first; with `name` only those of this name."""
    return page(store.list_releases(ctx.conn, name=name, before=cursor, limit=limit + 1), limit)


def diff(ctx: Context, before: str, after: str) -> ReleaseDiff:
    """Return the differences between two releases."""
    old, new = get_release(ctx, before), get_release(ctx, after)
    return ReleaseDiff(before=old.ref, after=new.ref, changes=manifest.diff(old.manifest, new.manifest))


def render_evidence(ctx: Context, ref: str) -> EvidencePage:
    """Return the evidence page of a release: contents, verdicts, approvals, lineage."""
    release = get_release(ctx, ref)
    results = store.list_results(ctx.conn, release.id)
    evidence = document.ReleaseEvidence(
        release=release,
        results=results,
        gates={r.gate_id: get_gate(ctx, r.gate_id) for r in results},
        runs={run: evals.get_run(ctx, run) for r in results for run in (r.baseline_run, r.candidate_run)},
        approvals=list(
            iterate_pages(lambda cursor, limit: list_approvals(ctx, release=release.id, cursor=cursor, limit=limit))
        ),
        model_evidence=registry.list_evidence(ctx, release.manifest.model.version_id).items,
        lineage=lineage.walk(ctx.conn, release.id, "up"),
        clearances=[check_clearance(ctx, release.id, environment) for environment in ("dev", "qa", "prod")],
        history=[
            event
            for event in events.list_events(ctx.conn, subject=release.id, kind="release.", limit=None)
            if "rollout" in event.data
        ],
    )
    return EvidencePage(release=release, markdown=document.render(evidence))


def _freeze(ctx: Context, body: ReleaseCreate) -> Manifest:
    model = registry.get_version(ctx, body.model)
    if model.kind == "adapter":
        raise InvalidRelease(
            f"{model.ref} is an adapter and answers nothing by itself.",
            hint=f"Give its model with --model and {model.ref} with --adapter.",
            param="model",
        )
    adapter = registry.get_version(ctx, body.adapter) if body.adapter is not None else None
    for version in (model, adapter):
        if version is not None and not version.servable:
            raise ModelNotServable(
                f"{version.ref} has no passed parity proof, so nobody knows that it answers as it was trained.",
                hint=f"Convert and prove it: tidemill tune compress {version.ref} --to gguf:q8_0",
                details={"version": version.id},
            )
        if version is not None:
            registry.require_files(ctx, version)
    if adapter is not None:
        _check_adapter(ctx, model, adapter)
    prompt = prompts.get(ctx, body.prompt) if body.prompt is not None else None
    return Manifest(
        model=manifest.freeze_model(model),
        adapter=manifest.freeze_model(adapter) if adapter is not None else None,
        prompt=manifest.freeze_prompt(prompt) if prompt is not None else None,
        sampling=manifest.merge_sampling(prompt, body.sampling),
    )


def _check_adapter(ctx: Context, model: ModelVersion, adapter: ModelVersion) -> None:
    if adapter.kind != "adapter":
        raise InvalidRelease(f"{adapter.ref} is a whole model, not an adapter.", hint="Give it as --model.")
    template_hashes = (model.chat_template_hash, adapter.chat_template_hash)
    if None not in template_hashes and len(set(template_hashes)) > 1:
        raise InvalidRelease(
            f"{adapter.ref} was trained with another chat template than {model.ref} carries.",
            hint="Serve it on the model it was trained on.",
            details={"model": template_hashes[0], "adapter": template_hashes[1]},
            param="adapter",
        )
    if not _ancestors(ctx, adapter) & (_ancestors(ctx, model) | {model.id}):
        raise InvalidRelease(
            f"{adapter.ref} was not trained on {model.ref} nor on anything it was made from.",
            hint=f"`tidemill lineage {adapter.id}` shows where it comes from.",
            param="adapter",
        )


def _ancestors(ctx: Context, version: ModelVersion) -> set[str]:
    graph = lineage.walk(ctx.conn, version.id, "up")
    nodes = graph.nodes if graph is not None else []
    return {n.id for n in nodes if n.kind == "model_version" and n.id != version.id}
