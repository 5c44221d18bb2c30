"""What rollouts tell deployments, which do not know them: traffic splits, and what a rollout does on their moves."""

from datetime import datetime

from tidemill.core.kernel import Context
from tidemill.deployments.types import Deployment, RolloutHooks, ShadowTerms, TrafficSplit
from tidemill.rollouts import service, store
from tidemill.rollouts.types import Rollout, RolloutActive, RolloutMove


def splits(ctx: Context) -> list[TrafficSplit]:
    """Return the traffic splits of the rollouts that go on and have begun."""
    return [
        split
        for rollout in store.list_open(ctx.conn)
        if rollout.began_at is not None and (split := _split(rollout, rollout.weight)) is not None
    ]


def splits_at(ctx: Context, moment: datetime, environment: str | None) -> list[TrafficSplit]:
    """Return the traffic splits of a moment, with the weights of then."""
    return [
        split
        for rollout in store.list_at(ctx.conn, moment, environment)
        if (split := _split(rollout, store.weight_at(ctx.conn, rollout.id, moment))) is not None
    ]


def _split(rollout: Rollout, weight: float) -> TrafficSplit | None:
    """The split of a rollout; None when there was nothing to share with."""
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
    """Abort the rollout that goes on under a name; False when there is none."""
    rollout = service.get_open(ctx, environment, name)
    if rollout is None:
        return False
    service.abort(ctx, rollout.id, RolloutMove(note=note))
    return True


def abort_for(ctx: Context, deployment: Deployment, note: str) -> bool:
    """Abort the open rollout that brings a deployment in; False when there is none.

    Raises RolloutActive when the deployment is what a rollout goes back to.
    """
    rollout = store.get_open_of(ctx.conn, deployment.id)
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
    splits=splits,
    splits_at=splits_at,
)
"""For `server/app.py`, which registers it in the kernel."""
