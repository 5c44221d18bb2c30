"""Deployments: request, promote, roll back, stop and list them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.core import events
from tidemill.core.errors import Conflict
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.deployments import promotion, store
from tidemill.deployments.references import get_deployment as get_deployment
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.retirements.types import Retirement
from tidemill.deployments.types import (
    Deployment,
    DeploymentCreate,
    DeploymentNotFound,
    EndState,
    Environment,
    EnvironmentUpdate,
    NotCleared,
    NothingToRollBack,
    Rollback,
    RollbackAmbiguous,
    RolloutHooks,
    ServingDeployment,
    TrafficSplit,
)
from tidemill.releases import service as releases


@dataclass(frozen=True)
class DesiredState:
    """The state that the reconciler has to reach."""

    deployments: list[Deployment]
    """Oldest first."""
    splits: list[TrafficSplit]
    retirements: list[Retirement]
    refusing: frozenset[str]
    """The environments that refuse overrides."""


def list_environments(ctx: Context) -> Page[Environment]:
    """Return every environment, in the order of promotion."""
    return Page(items=_read_environments(ctx))


def _read_environments(ctx: Context) -> list[Environment]:
    return [
        Environment(name=name, position=position, policy=releases.get_policy(name), overrides=overrides)
        for name, position, overrides in store.list_environments(ctx.conn)
    ]


def update_environment(ctx: Context, name: str, body: EnvironmentUpdate) -> Environment:
    """Change the settings of an environment and return it; its servers follow within moments.

    Raises EnvironmentNotFound.
    """
    promotion.find_previous_environment(ctx, name)
    if store.update_environment(ctx.conn, name, overrides=body.overrides):
        events.emit(ctx, "environment.updated", name, {"overrides": body.overrides})
    return next(environment for environment in _read_environments(ctx) if environment.name == name)


def list_environment_names(ctx: Context) -> list[str]:
    """Return the names of all environments, in the order of promotion."""
    return [name for name, _, _ in store.list_environments(ctx.conn)]


def deploy(ctx: Context, body: DeploymentCreate) -> Deployment:
    """Request that a release be served in an environment; the reconciler starts it.

    A release that is live or starting there already is returned as it is. Raises PromotionOutOfOrder, NotCleared,
    ForceNotAllowed, NotDeployable, EnvironmentNotFound, ReleaseNotFound.
    """
    promotion.find_previous_environment(ctx, body.environment)
    release = releases.get_release(ctx, body.release)
    promotion.lock(ctx, body.environment, release.name)
    current = store.list_active(ctx.conn, body.environment, release.name)
    if current and current[-1].release_id == release.id and current[-1].replicas == body.replicas:
        return current[-1]
    _hooks(ctx).refuse_while_open(ctx, body.environment, release.name)
    deployment = promotion.build(
        ctx,
        release,
        body.environment,
        replicas=body.replicas,
        note=body.note,
        force_reason=body.force_reason,
    )
    retirements.check_not_retired(ctx, body.environment, release.name)
    return promotion.request(ctx, deployment)


def rollback(ctx: Context, environment: str, body: Rollback) -> Deployment:
    """Request the release that was live before. It was cleared for this environment, so no rule is checked again.

    An open rollout is aborted: the old release, which is still live, answers all callers again.

    Raises NothingToRollBack, RollbackAmbiguous, Retired, EnvironmentNotFound.
    """
    promotion.find_previous_environment(ctx, environment)
    active = store.list_active(ctx.conn, environment)
    names = sorted({d.name for d in active if d.state == "live"} or {d.name for d in active})
    name = body.name or (names[0] if len(names) == 1 else None)
    if name is None and names:
        raise RollbackAmbiguous(
            f"{environment} serves {', '.join(names)}.", hint="Say which one with --name.", param="name"
        )
    if name is None:
        raise _nothing_to_roll_back(environment, None)
    promotion.lock(ctx, environment, name)
    retirements.check_not_retired(ctx, environment, name)
    current = next((d for d in store.list_active(ctx.conn, environment, name) if d.state == "live"), None)
    aborted = _hooks(ctx).abort_open(ctx, environment, name, body.note or "Rolled back by hand.")
    if aborted and current is not None:
        return current
    past = store.list_past(ctx.conn, environment, name, 100)
    previous = next((d for d in past if current is None or d.release_id != current.release_id), None)
    if previous is None:
        raise _nothing_to_roll_back(environment, name)
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
            "rollout_id": None,
        }
    )
    return promotion.request(ctx, deployment)


def _nothing_to_roll_back(environment: str, name: str | None) -> NothingToRollBack:
    return NothingToRollBack(
        f"No other release was live in {environment} before" + (f" under the name {name}." if name else "."),
        hint=f"`tidemill deployments history --env {environment}` shows what there was.",
    )


def stop(ctx: Context, ref: str) -> Deployment:
    """End a deployment and return it. One that has ended already is returned as it is.

    Raises DeploymentNotFound, DeploymentAmbiguous.
    """
    deployment_id = get_deployment(ctx, ref).id
    deployment = _get_locked(ctx, deployment_id)
    if deployment.state not in store.ACTIVE:
        return deployment
    if _hooks(ctx).abort_for(ctx, deployment, "Its deployment was stopped by hand."):
        return get(ctx, deployment_id)
    _change(ctx, deployment.id, store.ACTIVE, state="stopped", ended_at=ctx.now)
    events.emit(
        ctx, "deployment.stopped", deployment.id, {"environment": deployment.environment, "release": deployment.release}
    )
    return get(ctx, deployment_id)


def get(ctx: Context, deployment_id: str) -> Deployment:
    """Return a deployment. Raises DeploymentNotFound."""
    deployment = store.get(ctx.conn, deployment_id)
    if deployment is None:
        raise DeploymentNotFound(
            f"There is no deployment {deployment_id!r}.", hint="`tidemill deployments history` lists them."
        )
    return deployment


def list_deployments(
    ctx: Context,
    *,
    environment: str | None = None,
    name: str | None = None,
    at: datetime | None = None,
    active_only: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Deployment]:
    """Return deployments, newest first; with `at` those that served at that time."""
    if environment is not None:
        promotion.find_previous_environment(ctx, environment)
    deployments = store.list_deployments(
        ctx.conn, environment=environment, name=name, at=at, active_only=active_only, before=cursor, limit=limit + 1
    )
    return page(deployments, limit)


def get_desired_state(ctx: Context) -> DesiredState:
    """Return the state that the reconciler has to reach."""
    return DesiredState(
        deployments=store.list_active(ctx.conn),
        splits=_hooks(ctx).list_splits(ctx),
        retirements=retirements.list_uncancelled(ctx),
        refusing=frozenset(n for n, _, overrides in store.list_environments(ctx.conn) if overrides == "refuse"),
    )


def list_serving_at(
    ctx: Context, time: datetime, *, environment: str | None = None, name: str | None = None
) -> Page[ServingDeployment]:
    """Return the deployments that served at a time, each with its share: two a name while a rollout split traffic."""
    if environment is not None:
        promotion.find_previous_environment(ctx, environment)
    split_of = {split.baseline_id: split for split in _hooks(ctx).list_splits_at(ctx, time, environment)}
    entries = []
    live = store.list_deployments(
        ctx.conn, environment=environment, name=name, at=time, active_only=False, before=None, limit=None
    )
    for deployment in sorted(live, key=lambda d: (d.environment, d.name, d.id)):
        split = split_of.get(deployment.id)
        entries.append(_serving(deployment, 100 - (split.weight if split is not None else 0.0), split))
        candidate = store.get(ctx.conn, split.candidate_id) if split is not None else None
        if candidate is not None and split is not None and split.weight > 0:
            entries.append(_serving(candidate.model_copy(update={"live_at": None}), split.weight, split))
    return Page(items=[entry for entry in entries if entry.share > 0])


def _serving(deployment: Deployment, share: float, split: TrafficSplit | None) -> ServingDeployment:
    return ServingDeployment(
        environment=deployment.environment,
        name=deployment.name,
        share=share,
        release=deployment.release,
        release_id=deployment.release_id,
        deployment_id=deployment.id,
        rollout_id=split.id if split is not None else None,
        live_at=deployment.live_at,
    )


def go_live(ctx: Context, deployment_id: str) -> Deployment | None:
    """Make a deployment live whose replicas answer. Return None when it is no longer starting.

    A deployment of a rollout enters the rollout's first step instead. One whose approval was withdrawn or has lapsed
    since it was asked for fails.
    """
    deployment = _get_locked(ctx, deployment_id)
    if deployment.state != "starting":
        return None
    try:
        promotion.refuse_uncleared(ctx, deployment)
    except NotCleared as error:
        fail(ctx, deployment_id, error.message)
        return get(ctx, deployment_id)
    if deployment.rollout_id is not None:
        return _hooks(ctx).begin(ctx, deployment)
    return make_live(ctx, deployment, {"kind": deployment.kind})


def make_live(ctx: Context, deployment: Deployment, facts: dict[str, str]) -> Deployment:
    """Make a deployment live, in place of the one that was. `facts` go into the event. Return it."""
    for other in store.list_active(ctx.conn, deployment.environment, deployment.name):
        store.change_state(ctx.conn, other.id, ("live",), state="superseded", ended_at=ctx.now)
    _change(ctx, deployment.id, ("starting", "canary"), state="live", live_at=ctx.now)
    facts = {"environment": deployment.environment, "release": deployment.release, **facts}
    events.emit(ctx, "deployment.live", deployment.id, facts)
    return get(ctx, deployment.id)


def make_canary(ctx: Context, deployment_id: str) -> None:
    """Make a deployment the canary beside the one that is live; a traffic split decides the share of each."""
    _change(ctx, deployment_id, ("starting",), state="canary")


def withdraw(ctx: Context, deployment_id: str, state: EndState, reason: str) -> None:
    """End a canary. What is live stays live."""
    changes = {"state": state, "ended_at": ctx.now, "error": reason[:4000]}
    store.change_state(ctx.conn, deployment_id, ("starting", "canary"), **changes)


def list_active(ctx: Context, environment: str, name: str | None = None) -> list[Deployment]:
    """Return the starting, canary and live deployments of a name, or of an environment, oldest first."""
    return store.list_active(ctx.conn, environment, name)


def find_live_since(ctx: Context, release_id: str, environment: str) -> datetime | None:
    """Return since when a release is live in an environment; None when it is not."""
    live = [d for d in store.list_active(ctx.conn, environment) if d.release_id == release_id and d.state == "live"]
    return min((d.live_at for d in live if d.live_at is not None), default=None)


def fail(ctx: Context, deployment_id: str, error: str) -> None:
    """Mark a starting deployment as failed, as its replicas do not answer. What was live before stays live."""
    deployment = _get_locked(ctx, deployment_id)
    if deployment.state != "starting":
        return
    _change(ctx, deployment.id, ("starting",), state="failed", ended_at=ctx.now, error=error[:4000])
    facts = {"environment": deployment.environment, "release": deployment.release, "error": error[:1000]}
    events.emit(ctx, "deployment.failed", deployment.id, facts)
    if deployment.rollout_id is not None:
        _hooks(ctx).fail(ctx, deployment.rollout_id, error)


def _get_locked(ctx: Context, deployment_id: str) -> Deployment:
    deployment = get(ctx, deployment_id)
    promotion.lock(ctx, deployment.environment, deployment.name)
    return get(ctx, deployment_id)


def _change(ctx: Context, deployment_id: str, before: Collection[str], **values: Any) -> None:
    if not store.change_state(ctx.conn, deployment_id, before, **values):
        deployment = get(ctx, deployment_id)
        raise Conflict(
            f"The deployment of {deployment.release} is {deployment.state} by now.",
            hint="`tidemill deployments history` says more.",
        )


def _hooks(ctx: Context) -> RolloutHooks:
    return ctx.kernel.get(RolloutHooks)
