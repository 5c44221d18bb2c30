"""Promotion: check which release may be served in an environment, and request the deployment."""

from tidemill.core import db, events, lineage
from tidemill.core.kernel import Context
from tidemill.core.wire import new_id
from tidemill.deployments import store
from tidemill.deployments.types import (
    Deployment,
    EnvironmentNotFound,
    ForceNotAllowed,
    NotCleared,
    NotDeployable,
    PromotionOutOfOrder,
)
from tidemill.engines.service import list_formats
from tidemill.releases import service as releases
from tidemill.releases.types import Release


def build(
    ctx: Context,
    release: Release,
    environment: str,
    *,
    replicas: int,
    note: str,
    force_reason: str | None,
    rollout_id: str | None = None,
) -> Deployment:
    """Return a deployment that meets the rules of its environment; nothing is written yet.

    Raises PromotionOutOfOrder, NotCleared, ForceNotAllowed, NotDeployable, EnvironmentNotFound.
    """
    before = find_previous_environment(ctx, environment)
    _check_format(ctx, release)
    if force_reason is not None and not ctx.actor.has("admin"):
        raise ForceNotAllowed(
            f"{ctx.actor.name} is no admin and cannot force a deployment.", hint="Ask an admin, or meet the rules."
        )
    approval = None
    if force_reason is None:
        _check_order(ctx, release, environment, before)
        releases.lock_approvals(ctx, release.id, environment)
        approval = _check_clearance(ctx, release, environment)
    return Deployment(
        id=new_id("dep"),
        environment=environment,
        name=release.name,
        release_id=release.id,
        release=release.ref,
        state="starting",
        kind="deploy",
        replicas=replicas,
        note=note,
        forced=force_reason,
        approval_id=approval,
        requested_by=ctx.actor.name,
        requested_at=ctx.now,
        live_at=None,
        ended_at=None,
        error=None,
        rollout_id=rollout_id,
    )


def lock(ctx: Context, environment: str, name: str) -> None:
    """Let no other transaction change the deployments and rollouts of a name until this one ends."""
    db.advisory_lock(ctx.conn, f"rollout {environment}/{name}")


def request(ctx: Context, deployment: Deployment) -> Deployment:
    """Write a deployment; the reconciler starts it. Another one of its name that is still starting is superseded."""
    for other in store.list_active(ctx.conn, deployment.environment, deployment.name):
        changes = {"state": "superseded", "ended_at": ctx.now, "error": f"Called off for {deployment.release}."}
        store.change_state(ctx.conn, other.id, ("starting",), **changes)
    store.insert(ctx.conn, deployment)
    facts = {"kind": deployment.kind, "forced": deployment.forced, "environment": deployment.environment}
    node = lineage.LineageNode(
        id=deployment.id, kind="deployment", label=f"{deployment.release} in {deployment.environment}", facts=facts
    )
    lineage.record(ctx, node, [(deployment.release_id, "deploys")])
    kind = "deployment.forced" if deployment.forced and deployment.kind == "deploy" else "deployment.ordered"
    events.emit(ctx, kind, deployment.id, facts | {"release": deployment.release, "note": deployment.note})
    return deployment


def refuse_uncleared(ctx: Context, deployment: Deployment) -> None:
    """Raise NotCleared when the release may go no further there by now: its approval was withdrawn or has lapsed.

    No approval of it is decided or withdrawn until this transaction ends. A deployment that an admin forced, and a
    rollback to what was live, may go on.
    """
    if deployment.forced is not None or deployment.kind == "rollback":
        return
    releases.lock_approvals(ctx, deployment.release_id, deployment.environment)
    _check_clearance(ctx, releases.get_release(ctx, deployment.release_id), deployment.environment)


def find_previous_environment(ctx: Context, name: str) -> str | None:
    """Return the environment that promotes to `name`; None for the first. Raises EnvironmentNotFound."""
    names = [n for n, _, _ in store.list_environments(ctx.conn)]
    if name not in names:
        raise EnvironmentNotFound(
            f"There is no environment {name!r}.", hint=f"There are {', '.join(names)}.", param="environment"
        )
    index = names.index(name)
    return names[index - 1] if index else None


def _check_format(ctx: Context, release: Release) -> None:
    formats = list_formats(ctx.kernel.plugins, ctx.kernel.settings)
    for part in (release.manifest.model, release.manifest.adapter):
        if part is not None and part.format not in formats:
            raise NotDeployable(
                f"{part.ref} is {part.format}, and the engine serves {' and '.join(f.upper() for f in formats)}.",
                hint="Release its GGUF form, such as the Q8_0 version that the tuning made.",
            )


def _check_order(ctx: Context, release: Release, environment: str, before: str | None) -> None:
    if before is not None and not store.was_live(ctx.conn, release.id, before):
        raise PromotionOutOfOrder(
            f"{release.ref} has never been live in {before}, which comes before {environment}.",
            hint=f"First: tidemill deploy {release.ref} --env {before}",
            details={"needs": before},
        )


def _check_clearance(ctx: Context, release: Release, environment: str) -> str | None:
    clearance = releases.check_clearance(ctx, release.id, environment)
    if not clearance.allowed:
        raise NotCleared(
            f"{release.ref} may not go to {environment}. {' '.join(clearance.reasons)}",
            hint=f"`tidemill releases evidence {release.ref}` shows what is there.",
            details={"reasons": clearance.reasons},
        )
    return clearance.approval.id if clearance.approval else None
