"""The gateway's router: from a model name to a lease on a running replica."""

import time
from dataclasses import dataclass, replace

from tidemill.access import service as access
from tidemill.core.actors import Actor
from tidemill.core.wire import utc_now
from tidemill.deployments import models
from tidemill.deployments.lease import ReplicaLease
from tidemill.deployments.models import ServedModel
from tidemill.deployments.reconciler import Reconciler
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.route import Route, has_ended, successor_answers
from tidemill.deployments.types import Deployment
from tidemill.engines.pool import Pool
from tidemill.engines.replica import RunningReplica
from tidemill.engines.types import EnginesNotRunning, EngineUnavailable
from tidemill.gateway.types import ModelObject, Overloaded, ReplicaTarget, ShadowSink, unknown_model

ACQUIRE_TIMEOUT_S = 120.0
"""How long a request waits for a free slot, or for a replica to start."""
MAX_WAITING = 1000
"""Requests that may wait for one release."""
MAX_FAILURES = 5
"""After this many failures in a row a request is refused at once instead of waiting."""
CACHED_S = 0.5
"""How long the resolution of a name that may move (`name`, `model@alias`) is cached."""
_MAX_CACHED = 1000


@dataclass(frozen=True)
class ResolvedModel:
    """The model that one caller's request goes to."""

    model: ServedModel
    deployment: Deployment | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    fallback_of: str | None = None
    """The traffic split whose candidate should have answered but has no engine ready."""
    shadow: ShadowSink | None = None
    """The sink that gets a copy of the call."""
    refuses_overrides: bool = False

    def target(self, replica: RunningReplica) -> ReplicaTarget:
        """Return a replica as the gateway sees it."""
        deployment = self.deployment
        target = self.model.target(
            replica,
            deployment.environment if deployment else None,
            deployment.id if deployment else None,
        )
        if self.headers or self.shadow is not None or self.refuses_overrides:
            return replace(target, headers=self.headers, shadow=self.shadow, refuses_overrides=self.refuses_overrides)
        return target


class EngineRouter:
    """Finds replicas by the routes of the reconciler, in the pools of its supervisor."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._supervisor = reconciler.supervisor
        self._cache: dict[str, tuple[float, ServedModel]] = {}

    async def acquire(self, model: str, actor: Actor, affinity: str | None = None) -> ReplicaLease:
        """Return a lease on a replica of `model`; waits while one starts or all are busy.

        Names in an environment are open to every caller. Other names may start an engine, so they ask for a developer.
        Raises UnknownModel, Retired, RoleMissing, Overloaded, EngineUnavailable, EnginesNotRunning.
        """
        if not self._supervisor.running:
            raise EnginesNotRunning("No engines run in this process.", hint="Start the server with `tidemill up`.")
        deadline = time.monotonic() + ACQUIRE_TIMEOUT_S
        while True:
            # Looked up anew after every wait: what waits while a new release goes live is answered by the new one.
            resolved = await self._resolve(model, actor, affinity or model)
            pool = self._supervisor.pool_for(resolved.model.servable)
            replica = pool.acquire()
            if replica is not None:
                if resolved.fallback_of is not None:
                    self._reconciler.fallback_counts[resolved.fallback_of] += 1
                return ReplicaLease(pool, replica, resolved.target(replica))
            self._check_admission(pool, model, deadline)
            await pool.wait(0.5)

    async def models(self) -> list[ModelObject]:
        """Return every model name that can be requested."""
        return await self._reconciler.read(models.list_cards)

    async def _resolve(self, model: str, actor: Actor, affinity: str) -> ResolvedModel:
        if "/" in model:
            route = self._reconciler.routes.get(model)
            retirement = route.retirement if route is not None else self._reconciler.retirements.get(model)
            if retirement is not None and has_ended(retirement, utc_now()):
                answers = successor_answers(retirement, self._reconciler.routes)
                raise retirements.retired_error(retirement, successor_answers=answers)
            if route is None:
                raise unknown_model(model, [card.id for card in await self.models()])
            return self._choose(route, affinity)
        access.require(actor, "developer")
        end, served = self._cache.get(model, (0.0, None))
        if served is None or end < time.monotonic():
            served = await self._reconciler.read(models.resolve_name, model)
            if len(self._cache) > _MAX_CACHED:
                self._cache.clear()
            self._cache[model] = (time.monotonic() + CACHED_S, served)
        return ResolvedModel(served)

    def _choose(self, route: Route, affinity: str) -> ResolvedModel:
        fallback_of = None
        if route.canary is not None and route.split is not None and route.takes_canary(affinity):
            # A canary never costs an answer: while none of its engines is ready, the old release answers.
            if self._supervisor.pool_for(route.canary.model.servable).ready:
                return ResolvedModel(
                    route.canary.model,
                    route.canary.deployment,
                    route.headers,
                    refuses_overrides=route.refuses_overrides,
                )
            fallback_of = route.split.id
        return ResolvedModel(
            route.live.model,
            route.live.deployment,
            route.headers,
            fallback_of,
            route.shadow,
            route.refuses_overrides,
        )

    def _check_admission(self, pool: Pool, model: str, deadline: float) -> None:
        if pool.waiting >= MAX_WAITING:
            raise Overloaded(f"{pool.waiting} requests wait for {model} already.", hint="Try again in a while.")
        if time.monotonic() > deadline:
            raise EngineUnavailable(f"No replica of {model} was free in {ACQUIRE_TIMEOUT_S:g} s.", hint="Try again.")
        if pool.ready == 0 and pool.failures >= MAX_FAILURES:
            raise EngineUnavailable(
                f"The engine of {model} does not start: {pool.error}",
                hint="`tidemill deployments engines` shows its state.",
            )
