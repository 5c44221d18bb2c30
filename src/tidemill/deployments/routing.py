"""The gateway's router: from a model name to a place in a running replica."""

import time
from dataclasses import dataclass, replace

from tidemill.access import service as access
from tidemill.core.actors import Actor
from tidemill.core.wire import utc_now
from tidemill.deployments import unit
from tidemill.deployments.lease import ReplicaLease
from tidemill.deployments.pool import Pool
from tidemill.deployments.replica import RunningReplica
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.rollouts.mirror import Mirror
from tidemill.deployments.route import Route, over
from tidemill.deployments.supervisor import Supervisor
from tidemill.deployments.types import Deployment, EnginesNotRunning, EngineUnavailable
from tidemill.deployments.unit import Unit
from tidemill.gateway.types import ModelCard, Overloaded, Target, unknown_model

PATIENCE_S = 120.0
"""How long a request waits for a place, or for a replica to start."""
QUEUE = 1000
"""Requests that may wait for one release."""
HOPELESS = 5
"""After so many failures in a row a request is refused at once instead of waiting."""
REMEMBERED_S = 0.5
"""How long the meaning of a moving name (`name`, `model@alias`) is remembered."""


@dataclass(frozen=True)
class Meaning:
    """What a model name means for one caller."""

    unit: Unit
    deployment: Deployment | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    spilled_from: str | None = None
    """The rollout whose new release should have answered but has no engine ready."""
    mirror: Mirror | None = None
    """Who gets a copy of the answer."""

    def target(self, replica: RunningReplica) -> Target:
        """A replica as the gateway sees it."""
        found = self.deployment
        made = self.unit.target(
            replica.base_url, replica.id, found.environment if found else None, found.id if found else None
        )
        if self.headers or self.mirror is not None:
            return replace(made, headers=self.headers, shadow=self.mirror)
        return made


class EngineRouter:
    """Finds replicas through the supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._meanings: dict[str, tuple[float, Unit]] = {}

    async def acquire(self, model: str, actor: Actor, affinity: str | None = None) -> ReplicaLease:
        """A place in a replica of `model`; waits while one starts or all are busy.

        Names in an environment are open to every caller. Other names may start an engine, so they ask for a developer.
        """
        if not self._supervisor.running:
            raise EnginesNotRunning("No engines run in this process.", hint="Start the server with `tidemill up`.")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            # Looked up anew after every wait: what waits while a new release goes live is answered by the new one.
            meaning = await self._meaning(model, actor, affinity or model)
            pool = self._supervisor.pool_for(meaning.unit)
            replica = pool.take()
            if replica is not None:
                if meaning.spilled_from is not None:
                    self._supervisor.spilled[meaning.spilled_from] += 1
                return ReplicaLease(pool, replica, meaning.target(replica))
            self._check_hope(pool, model, deadline)
            await pool.wait(0.5)

    async def models(self) -> list[ModelCard]:
        """Every name that can be asked for."""
        return await self._supervisor.read(unit.cards)

    async def _meaning(self, model: str, actor: Actor, affinity: str) -> Meaning:
        if "/" in model:
            route = self._supervisor.routes.get(model)
            retirement = route.retirement if route is not None else self._supervisor.retirements.get(model)
            if retirement is not None and over(retirement, utc_now()):
                raise retirements.gone(retirement)
            if route is None:
                raise unknown_model(model, [card.id for card in await self.models()])
            return self._shared_out(route, affinity)
        access.require(actor, "developer")
        end, known = self._meanings.get(model, (0.0, None))
        if known is None or end < time.monotonic():
            known = await self._supervisor.read(unit.named, model)
            if len(self._meanings) > 1000:
                self._meanings.clear()
            self._meanings[model] = (time.monotonic() + REMEMBERED_S, known)
        return Meaning(known)

    def _shared_out(self, route: Route, affinity: str) -> Meaning:
        spilled_from = None
        if route.canary is not None and route.rollout is not None and route.takes_canary(affinity):
            # A canary never costs an answer: while none of its engines is ready, the old release answers.
            if self._supervisor.pool_for(route.canary.unit).ready:
                return Meaning(route.canary.unit, route.canary.deployment, route.headers)
            spilled_from = route.rollout.id
        mirror = self._supervisor.mirrors.get(route.rollout.id) if route.rollout is not None else None
        return Meaning(route.live.unit, route.live.deployment, route.headers, spilled_from, mirror)

    def _check_hope(self, pool: Pool, model: str, deadline: float) -> None:
        if pool.waiting >= QUEUE:
            raise Overloaded(f"{pool.waiting} requests wait for {model} already.", hint="Try again in a while.")
        if time.monotonic() > deadline:
            raise EngineUnavailable(f"No replica of {model} was free in {PATIENCE_S:g} s.", hint="Try again.")
        if pool.ready == 0 and pool.failures >= HOPELESS:
            raise EngineUnavailable(
                f"The engine of {model} does not start: {pool.error}",
                hint="`tidemill deployments engines` shows its state.",
            )
