"""Where an environment's name leads: one release, or two while a rollout shares the calls out."""

from dataclasses import dataclass
from datetime import datetime

from tidemill.deployments.retirements import headers
from tidemill.deployments.retirements.types import Retirement
from tidemill.deployments.rollouts.assignment import in_canary
from tidemill.deployments.rollouts.types import Rollout
from tidemill.deployments.types import Deployment
from tidemill.deployments.unit import Unit


@dataclass(frozen=True)
class Arm:
    """A deployment and what its engines serve."""

    deployment: Deployment
    unit: Unit


@dataclass(frozen=True)
class Route:
    """Where a name leads."""

    live: Arm
    canary: Arm | None = None
    rollout: Rollout | None = None
    retirement: Retirement | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def takes_canary(self, affinity: str) -> bool:
        """Whether this caller belongs to the new release."""
        if self.canary is None or self.rollout is None:
            return False
        return in_canary(self.rollout.id, affinity, self.rollout.weight)


def routes_of(
    arms: list[Arm], rollouts: list[Rollout], retirements: list[Retirement]
) -> tuple[dict[str, Route], dict[str, Retirement]]:
    """Every route by `environment/name`, and the tombstones."""
    under_way = {r.baseline_deployment_id: r for r in rollouts if r.began_at is not None}
    by_id = {arm.deployment.id: arm for arm in arms}
    ending = {r.model: r for r in retirements}
    routes: dict[str, Route] = {}
    for arm in arms:
        if arm.deployment.state != "live":
            continue
        model = f"{arm.deployment.environment}/{arm.deployment.name}"
        rollout, retirement = under_way.get(arm.deployment.id), ending.get(model)
        routes[model] = Route(
            live=arm,
            canary=by_id.get(rollout.deployment_id) if rollout is not None else None,
            rollout=rollout,
            retirement=retirement,
            headers=headers.of(retirement) if retirement is not None else (),
        )
    return routes, ending


def over(retirement: Retirement | None, now: datetime) -> bool:
    """Whether a name is out of service."""
    return retirement is not None and retirement.sunset <= now
