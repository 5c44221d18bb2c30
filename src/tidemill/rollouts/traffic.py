"""The hooks through which deployments, which do not import rollouts, get traffic splits and report changes."""

from datetime import datetime

from tidemill.core.kernel import Context
from tidemill.deployments.types import Deployment, RolloutHooks, ShadowTerms, TrafficSplit
from tidemill.rollouts import service, store
from tidemill.rollouts.types import Rollout, RolloutActive, RolloutMove


def list_splits(ctx: Context) -> list[TrafficSplit]:
    """Return the traffic splits of the open rollouts that have begun."""
    return [
        split
        for rollout in store.list_open(ctx.conn)
        if rollout.began_at is not None and (split := _split(rollout, rollout.weight)) is not None
    ]


def list_splits_at(ctx: Context, time: datetime, environment: str | None) -> list[TrafficSplit]:
    """Return the traffic splits at a time, with their weights at that time."""
    return [
        split
        for rollout in store.list_open_at(ctx.conn, time, environment)
        if (split := _split(rollout, store.find_weight_at(ctx.conn, rollout.id, time))) is not None
    ]


def _split(rollout: Rollout, weight: float) -> TrafficSplit | None:
    """Return the split of a rollout; None when it has no baseline."""
    if rollout.baseline_deployment_id is None:
        return None
    shadow = rollout.shadow
    return TrafficSplit(
        id=rollout.id,
        baseline_id=rollout.baseline_deployment_id,
        candidate_id=rollout.deployment_id,
        weight=weight,
        shadow=ShadowTerms(shadow.share, shadow.concurrency) if shadow is not None else None,
    )


def abort_open(ctx: Context, environment: str, name: str, note: str) -> bool:
    """Abort the open rollout of a name. Return False when there is none."""
    rollout = service.get_open(ctx, environment, name)
    if rollout is None:
        return False
    service.abort(ctx, rollout.id, RolloutMove(note=note))
    return True


def abort_for(ctx: Context, deployment: Deployment, note: str) -> bool:
    """Abort the open rollout of a deployment. Return False when there is none.

    Raises RolloutActive when the deployment is the baseline of the rollout.
    """
    rollout = store.find_open_by_deployment(ctx.conn, deployment.id)
    if rollout is None:
        return False
    if rollout.deployment_id != deployment.id:
        raise RolloutActive(
            f"{deployment.release} is what the rollout of {rollout.release} goes back to.",
            hint=f"First: tidemill rollouts abort {rollout.id}",
        )
    service.abort(ctx, rollout.id, RolloutMove(note=note))
    return True


HOOKS = RolloutHooks(
    refuse_while_open=service.refuse_while_open,
    abort_open=abort_open,
    abort_for=abort_for,
    begin=service.begin,
    fail=service.fail,
    list_splits=list_splits,
    list_splits_at=list_splits_at,
)
"""For `server/app.py`, which registers it in the kernel."""
