"""The gateway's router: from a model name to a place in a running replica."""

import time

from tidemill.access import service as access
from tidemill.core.context import Actor
from tidemill.deployments import unit
from tidemill.deployments.pool import Pool
from tidemill.deployments.replica import RunningReplica
from tidemill.deployments.supervisor import Supervisor
from tidemill.deployments.types import EnginesNotRunning, EngineUnavailable
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


class ReplicaLease:
    """A place in a replica."""

    def __init__(self, pool: Pool, replica: RunningReplica, target: Target) -> None:
        self.target = target
        self._pool = pool
        self._replica = replica
        self._given_back = False

    def release(self, *, broken: bool = False) -> None:
        """Give the place back, once."""
        if not self._given_back:
            self._given_back = True
            self._pool.give_back(self._replica, broken)


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
            wanted, environment, deployment_id = await self._meaning(model, actor)
            pool = self._supervisor.pool_for(wanted)
            replica = pool.take()
            if replica is not None:
                target = wanted.target(replica.base_url, replica.id, environment, deployment_id)
                return ReplicaLease(pool, replica, target)
            self._check_hope(pool, model, deadline)
            await pool.wait(0.5)

    async def models(self) -> list[ModelCard]:
        """Every name that can be asked for."""
        return await self._supervisor.look(unit.cards)

    async def _meaning(self, model: str, actor: Actor) -> tuple[Unit, str | None, str | None]:
        if "/" in model:
            route = self._supervisor.routes.get(model)
            if route is None:
                raise unknown_model(model, [card.id for card in await self.models()])
            return route.unit, route.deployment.environment, route.deployment.id
        access.require(actor, "developer")
        end, known = self._meanings.get(model, (0.0, None))
        if known is None or end < time.monotonic():
            known = await self._supervisor.look(unit.named, model)
            if len(self._meanings) > 1000:
                self._meanings.clear()
            self._meanings[model] = (time.monotonic() + REMEMBERED_S, known)
        return known, None, None

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
