"""The route of an environment's name: one deployment, or two during a traffic split."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from tidemill.deployments.assignment import in_share
from tidemill.deployments.models import ServedModel
from tidemill.deployments.retirements import headers
from tidemill.deployments.retirements.types import Retirement
from tidemill.deployments.types import Deployment, TrafficSplit
from tidemill.gateway.types import ShadowSink


@dataclass(frozen=True)
class RouteTarget:
    """A deployment and what its engines serve."""

    deployment: Deployment
    model: ServedModel


@dataclass(frozen=True)
class Route:
    """The deployments that a name routes to."""

    live: RouteTarget
    canary: RouteTarget | None = None
    split: TrafficSplit | None = None
    shadow: ShadowSink | None = None
    """The sink that gets copies of the calls that the live deployment answers."""
    retirement: Retirement | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    refuses_overrides: bool = False

    def takes_canary(self, affinity: str) -> bool:
        """Return whether a user or session goes to the canary."""
        if self.canary is None or self.split is None:
            return False
        return in_share(self.split.id, affinity, self.split.weight)


def build_routes(
    targets: list[RouteTarget],
    splits: list[TrafficSplit],
    shadows: Mapping[str, ShadowSink],
    retirements: Mapping[str, Retirement],
    refusing: Collection[str] = (),
) -> dict[str, Route]:
    """Return every route by `environment/name`. `shadows` are by the id of their split, `retirements` by name.

    Environments in `refusing` refuse overrides.
    """
    split_of = {split.baseline_id: split for split in splits}
    by_id = {target.deployment.id: target for target in targets}
    live = {f"{t.deployment.environment}/{t.deployment.name}": t for t in targets if t.deployment.state == "live"}
    routes: dict[str, Route] = {}
    for name, target in live.items():
        split, retirement = split_of.get(target.deployment.id), retirements.get(name)
        routes[name] = Route(
            live=target,
            canary=by_id.get(split.candidate_id) if split is not None else None,
            split=split,
            shadow=shadows.get(split.id) if split is not None else None,
            retirement=retirement,
            headers=headers.build_headers(retirement, successor_answers=successor_answers(retirement, live))
            if retirement is not None
            else (),
            refuses_overrides=target.deployment.environment in refusing,
        )
    return routes


def successor_answers(retirement: Retirement, live: Collection[str]) -> bool:
    """Return whether the successor answers callers: `live` are the names in environments that do."""
    return "/" not in retirement.successor or retirement.successor in live


def has_ended(retirement: Retirement | None, now: datetime) -> bool:
    """Return whether a retirement's date has passed."""
    return retirement is not None and retirement.sunset <= now
