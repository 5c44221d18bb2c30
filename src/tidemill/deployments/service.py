"""Deciding about deployments: what may go where, what goes live, and what served when."""

from datetime import datetime

from tidemill.core import events, lineage
from tidemill.core.context import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.deployments import store
from tidemill.deployments.types import (
    Deployment,
    DeploymentCreate,
    DeploymentNotFound,
    Environment,
    EnvironmentNotFound,
    ForceNotAllowed,
    NotCleared,
    NotDeployable,
    NothingToRollBack,
    PromotionOutOfOrder,
    Rollback,
    RollbackAmbiguous,
)
from tidemill.releases import service as releases
from tidemill.releases.types import Release


def environments(ctx: Context) -> Page[Environment]:
    """Every environment, in the order of promotion."""
    found = store.all_environments(ctx.conn)
    return Page(items=[Environment(name=n, position=p, policy=releases.policy_of(n)) for n, p in found])


def deploy(ctx: Context, body: DeploymentCreate) -> Deployment:
    """Order that a release be served in an environment; the supervisor does it.

    A release that is live or starting there already is given back as it is. Raises PromotionOutOfOrder, NotCleared,
    ForceNotAllowed, NotDeployable, EnvironmentNotFound, ReleaseNotFound.
    """
    before = _environment_before(ctx, body.environment)
    release = releases.get_release(ctx, body.release)
    current = store.active(ctx.conn, body.environment, release.name)
    if current and current[-1].release_id == release.id and current[-1].replicas == body.replicas:
        return current[-1]
    _check_form(release)
    if body.force_reason is not None and not ctx.actor.has("admin"):
        raise ForceNotAllowed(
            f"{ctx.actor.name} is no admin and cannot force a deployment.", hint="Ask an admin, or meet the rules."
        )
    approval = None
    if body.force_reason is None:
        _check_order(ctx, release, body.environment, before)
        approval = _check_clearance(ctx, release, body.environment)
    deployment = Deployment(
        id=new_id("dep"),
        environment=body.environment,
        name=release.name,
        release_id=release.id,
        release=release.ref,
        state="starting",
        kind="deploy",
        replicas=body.replicas,
        note=body.note,
        forced=body.force_reason,
        approval_id=approval,
        requested_by=ctx.actor.name,
        requested_at=ctx.now,
        live_at=None,
        ended_at=None,
        error=None,
    )
    return _order(ctx, deployment)


def rollback(ctx: Context, environment: str, body: Rollback) -> Deployment:
    """Order the release that was live before. It was cleared for this environment then, so nothing is asked again.

    Raises NothingToRollBack, RollbackAmbiguous, EnvironmentNotFound.
    """
    _environment_before(ctx, environment)
    live = [d for d in store.active(ctx.conn, environment) if d.state == "live"]
    names = sorted({d.name for d in live})
    name = body.name or (names[0] if len(names) == 1 else None)
    if name is None and names:
        raise RollbackAmbiguous(
            f"{environment} serves {', '.join(names)}.", hint="Say which one with --name.", param="name"
        )
    current = next((d for d in live if d.name == name), None)
    previous = None
    if name is not None:
        seen = store.past(ctx.conn, environment, name, 100)
        previous = next((d for d in seen if current is None or d.release_id != current.release_id), None)
    if previous is None:
        raise NothingToRollBack(
            f"No other release was live in {environment} before" + (f" under the name {name}." if name else "."),
            hint=f"`tidemill deployments history --env {environment}` shows what there was.",
        )
    deployment = previous.model_copy(
        update={
            "id": new_id("dep"),
            "state": "starting",
            "kind": "rollback",
            "note": body.note,
            "replicas": current.replicas if current else previous.replicas,
            "requested_by": ctx.actor.name,
            "requested_at": ctx.now,
            "live_at": None,
            "ended_at": None,
            "error": None,
        }
    )
    return _order(ctx, deployment)


def stop(ctx: Context, deployment_id: str) -> Deployment:
    """Serve it no longer. Stopping an ended deployment changes nothing."""
    found = get(ctx, deployment_id)
    if found.state not in store.ACTIVE:
        return found
    store.update(ctx.conn, found.id, state="stopped", ended_at=ctx.now)
    events.emit(ctx, "deployment.stopped", found.id, {"environment": found.environment, "release": found.release})
    return get(ctx, deployment_id)


def get(ctx: Context, deployment_id: str) -> Deployment:
    """One deployment. Raises DeploymentNotFound."""
    found = store.get(ctx.conn, deployment_id)
    if found is None:
        raise DeploymentNotFound(
            f"There is no deployment {deployment_id!r}.", hint="`tidemill deployments history` lists them."
        )
    return found


def listing(
    ctx: Context,
    *,
    environment: str | None = None,
    name: str | None = None,
    at: datetime | None = None,
    active_only: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Deployment]:
    """Deployments, newest first; with `at` what served at that moment."""
    if environment is not None:
        _environment_before(ctx, environment)
    found = store.listing(
        ctx.conn, environment=environment, name=name, at=at, active_only=active_only, before=cursor, limit=limit + 1
    )
    return page(found, limit)


def active(ctx: Context) -> list[Deployment]:
    """What the supervisor has to bring about, oldest first."""
    return store.active(ctx.conn)


def go_live(ctx: Context, deployment_id: str) -> Deployment | None:
    """Its replicas answer: it is live, and what was live under that name no longer. None if it was called off."""
    found = get(ctx, deployment_id)
    if found.state != "starting":
        return None
    for other in store.active(ctx.conn, found.environment, found.name):
        if other.state == "live":
            store.update(ctx.conn, other.id, state="superseded", ended_at=ctx.now)
    store.update(ctx.conn, found.id, state="live", live_at=ctx.now)
    facts = {"environment": found.environment, "release": found.release, "kind": found.kind}
    events.emit(ctx, "deployment.live", found.id, facts)
    return get(ctx, deployment_id)


def fail(ctx: Context, deployment_id: str, error: str) -> None:
    """Its replicas do not answer: give it up. What was live before stays live."""
    found = get(ctx, deployment_id)
    if found.state != "starting":
        return
    store.update(ctx.conn, found.id, state="failed", ended_at=ctx.now, error=error[:4000])
    facts = {"environment": found.environment, "release": found.release, "error": error[:1000]}
    events.emit(ctx, "deployment.failed", found.id, facts)


def _order(ctx: Context, deployment: Deployment) -> Deployment:
    for other in store.active(ctx.conn, deployment.environment, deployment.name):
        if other.state == "starting":
            store.update(
                ctx.conn, other.id, state="superseded", ended_at=ctx.now, error=f"Called off for {deployment.release}."
            )
    store.insert(ctx.conn, deployment)
    facts = {"kind": deployment.kind, "forced": deployment.forced, "environment": deployment.environment}
    node = lineage.Node(
        id=deployment.id, kind="deployment", label=f"{deployment.release} in {deployment.environment}", facts=facts
    )
    lineage.record(ctx, node, [(deployment.release_id, "deploys")])
    kind = "deployment.forced" if deployment.forced and deployment.kind == "deploy" else "deployment.ordered"
    events.emit(ctx, kind, deployment.id, facts | {"release": deployment.release, "note": deployment.note})
    return deployment


def _environment_before(ctx: Context, name: str) -> str | None:
    """The environment that comes before `name` in the order; None for the first. Raises EnvironmentNotFound."""
    names = [n for n, _ in store.all_environments(ctx.conn)]
    if name not in names:
        raise EnvironmentNotFound(
            f"There is no environment {name!r}.", hint=f"There are {', '.join(names)}.", param="environment"
        )
    place = names.index(name)
    return names[place - 1] if place else None


def _check_form(release: Release) -> None:
    for part in (release.manifest.model, release.manifest.adapter):
        if part is not None and part.format != "gguf":
            raise NotDeployable(
                f"{part.ref} is {part.format}, and the engine serves GGUF.",
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
    clearance = releases.clearance(ctx, release.id, environment)
    if not clearance.allowed:
        raise NotCleared(
            f"{release.ref} may not go to {environment}. {' '.join(clearance.reasons)}",
            hint=f"`tidemill releases evidence {release.ref}` shows what is there.",
            details={"reasons": clearance.reasons},
        )
    return clearance.approval.id if clearance.approval else None
