"""Deciding about deployments: what may go where, what goes live, and what served when."""

from dataclasses import dataclass
from datetime import datetime

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.deployments import orders, store
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.retirements.types import Retirement
from tidemill.deployments.rollouts import service as rollouts
from tidemill.deployments.rollouts import store as rollout_rows
from tidemill.deployments.rollouts.types import Rollout, RolloutActive, RolloutCreate, RolloutMove
from tidemill.deployments.types import (
    Answering,
    Deployment,
    DeploymentCreate,
    DeploymentNotFound,
    Environment,
    NothingToRollBack,
    Rollback,
    RollbackAmbiguous,
)
from tidemill.releases import service as releases


@dataclass(frozen=True)
class Desired:
    """What the supervisor has to bring about."""

    deployments: list[Deployment]
    """Oldest first."""
    rollouts: list[Rollout]
    retirements: list[Retirement]


def environments(ctx: Context) -> Page[Environment]:
    """Every environment, in the order of promotion."""
    found = store.all_environments(ctx.conn)
    return Page(items=[Environment(name=n, position=p, policy=releases.policy_of(n)) for n, p in found])


def environment_names(ctx: Context) -> list[str]:
    """The names of all environments, in the order of promotion."""
    return [name for name, _ in store.all_environments(ctx.conn)]


def deploy(ctx: Context, body: DeploymentCreate) -> Deployment:
    """Order that a release be served in an environment; the supervisor does it.

    A release that is live or starting there already is given back as it is. Raises PromotionOutOfOrder, NotCleared,
    ForceNotAllowed, NotDeployable, EnvironmentNotFound, ReleaseNotFound.
    """
    orders.environment_before(ctx, body.environment)
    release = releases.get_release(ctx, body.release)
    current = store.active(ctx.conn, body.environment, release.name)
    if current and current[-1].release_id == release.id and current[-1].replicas == body.replicas:
        return current[-1]
    rollouts.refuse_while_open(ctx, body.environment, release.name)
    deployment = orders.make(
        ctx,
        release,
        body.environment,
        replicas=body.replicas,
        note=body.note,
        force_reason=body.force_reason,
    )
    retirements.refuse_when_gone(ctx, body.environment, release.name)
    return orders.place(ctx, deployment)


def start_rollout(ctx: Context, body: RolloutCreate) -> Rollout:
    """Order that an environment moves to a release step by step. Raises what `rollouts.start` raises."""
    return rollouts.start(ctx, body)


def get_rollout(ctx: Context, rollout_id: str) -> Rollout:
    """One rollout by its id, or the newest of `environment/name`. Raises RolloutNotFound."""
    return rollouts.get(ctx, rollout_id)


def open_rollout(ctx: Context, environment: str, name: str) -> Rollout | None:
    """The rollout that goes on under a name in an environment."""
    return next(iter(rollout_rows.open_ones(ctx.conn, environment, name)), None)


def abort_rollout(ctx: Context, rollout_id: str, note: str) -> Rollout:
    """Back to the old release alone, at once. Raises RolloutEnded, RolloutNotFound."""
    return rollouts.abort(ctx, rollout_id, RolloutMove(note=note))


def rollback(ctx: Context, environment: str, body: Rollback) -> Deployment:
    """Order the release that was live before. It was cleared for this environment then, so nothing is asked again.

    While a rollout goes on, this ends it: the old release, which is live still, answers everybody again.

    Raises NothingToRollBack, RollbackAmbiguous, EnvironmentNotFound.
    """
    orders.environment_before(ctx, environment)
    live = [d for d in store.active(ctx.conn, environment) if d.state == "live"]
    names = sorted({d.name for d in live})
    name = body.name or (names[0] if len(names) == 1 else None)
    if name is None and names:
        raise RollbackAmbiguous(
            f"{environment} serves {', '.join(names)}.", hint="Say which one with --name.", param="name"
        )
    current = next((d for d in live if d.name == name), None)
    under_way = rollout_rows.open_ones(ctx.conn, environment, name) if name is not None else []
    if under_way and current is not None:
        rollouts.abort(ctx, under_way[0].id, RolloutMove(note=body.note or "Rolled back by hand."))
        return current
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
            "rollout_id": None,
        }
    )
    return orders.place(ctx, deployment)


def stop(ctx: Context, deployment_id: str) -> Deployment:
    """Serve it no longer. Stopping an ended deployment changes nothing."""
    found = get(ctx, deployment_id)
    if found.state not in store.ACTIVE:
        return found
    rollout = rollout_rows.of_deployment(ctx.conn, found.id)
    if rollout is not None and rollout.deployment_id == found.id:
        rollouts.abort(ctx, rollout.id, RolloutMove(note="Its deployment was stopped by hand."))
        return get(ctx, deployment_id)
    if rollout is not None:
        raise RolloutActive(
            f"{found.release} is what the rollout of {rollout.release} goes back to.",
            hint=f"First: tidemill rollouts abort {rollout.id}",
        )
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
        orders.environment_before(ctx, environment)
    found = store.listing(
        ctx.conn, environment=environment, name=name, at=at, active_only=active_only, before=cursor, limit=limit + 1
    )
    return page(found, limit)


def desired(ctx: Context) -> Desired:
    """What the supervisor has to bring about."""
    return Desired(
        deployments=store.active(ctx.conn),
        rollouts=rollout_rows.open_ones(ctx.conn),
        retirements=retirements.standing(ctx),
    )


def answered_at(
    ctx: Context, moment: datetime, *, environment: str | None = None, name: str | None = None
) -> Page[Answering]:
    """What answered at a moment, with the share of each: two releases while a rollout shared calls out."""
    if environment is not None:
        orders.environment_before(ctx, environment)
    shared = {r.baseline_deployment_id: r for r in rollout_rows.at(ctx.conn, moment, environment)}
    found = []
    live = store.listing(
        ctx.conn, environment=environment, name=name, at=moment, active_only=False, before=None, limit=1000
    )
    for deployment in sorted(live, key=lambda d: (d.environment, d.name, d.id)):
        rollout = shared.get(deployment.id)
        weight = rollout_rows.weight_at(ctx.conn, rollout.id, moment) if rollout is not None else 0.0
        found.append(_answering(deployment, 100 - weight, rollout))
        candidate = store.get(ctx.conn, rollout.deployment_id) if rollout is not None else None
        if candidate is not None and weight > 0:
            found.append(_answering(candidate.model_copy(update={"live_at": None}), weight, rollout))
    return Page(items=[answering for answering in found if answering.share > 0])


def _answering(deployment: Deployment, share: float, rollout: Rollout | None) -> Answering:
    return Answering(
        environment=deployment.environment,
        name=deployment.name,
        share=share,
        release=deployment.release,
        release_id=deployment.release_id,
        deployment_id=deployment.id,
        rollout_id=rollout.id if rollout is not None else None,
        live_at=deployment.live_at,
    )


def go_live(ctx: Context, deployment_id: str) -> Deployment | None:
    """Its replicas answer: it is live, and what was live under that name no longer. None if it was called off.

    A release that is rolled out begins with its first step instead.
    """
    found = get(ctx, deployment_id)
    if found.state != "starting":
        return None
    if found.rollout_id is not None:
        return rollouts.begin(ctx, found)
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
    if found.rollout_id is not None:
        rollouts.fail(ctx, found.rollout_id, error)
