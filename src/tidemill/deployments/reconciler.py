"""Reconciles the engines with the database: pins pools, makes deployments live, updates routes, ends retired names."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from tidemill.core.actors import SYSTEM
from tidemill.core.background import FailureLog
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import utc_now
from tidemill.deployments import models, service
from tidemill.deployments.lease import ReplicaLease
from tidemill.deployments.models import ServedModel
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.retirements.types import Retirement
from tidemill.deployments.route import Route, RouteTarget, build_routes, has_ended
from tidemill.deployments.types import Deployment, TrafficSplit
from tidemill.engines.supervisor import Supervisor
from tidemill.gateway.types import Lease, ShadowSink

log = logging.getLogger("tidemill.deployments")

P = ParamSpec("P")
R = TypeVar("R")

READ_S = 10.0
"""The database is read so often, in seconds, even when nothing says that it has changed."""

MAX_START_FAILURES = 3
"""A new deployment fails after this many failed starts of its engine."""


class ShadowSelector(Protocol):
    """Selects the shadow sinks of traffic splits; rollouts implement it."""

    def select(
        self, splits: list[TrafficSplit], acquire: Callable[[TrafficSplit], Lease | None]
    ) -> dict[str, ShadowSink]:
        """Return a shadow sink for each split that copies calls, by the split's id, and drop those of other splits.

        `acquire` returns a lease on an engine of the split's candidate, or None when all are busy.
        """
        ...


class Reconciler:
    """Compares the database with the engines in every round of the supervisor. Its state is touched on the event loop.

    The router reads `routes` and `retirements`; it counts `fallbacks`.
    """

    def __init__(self, kernel: Kernel, supervisor: Supervisor, shadows: ShadowSelector) -> None:
        self.supervisor = supervisor
        self.routes: dict[str, Route] = {}
        """By `environment/name`."""
        self.retirements: dict[str, Retirement] = {}
        """By `environment/name`: names that are being retired or are retired."""
        self.fallback_counts: Counter[str] = Counter()
        self._kernel = kernel
        self._shadows = shadows
        self._models: dict[str, ServedModel] = {}
        """By release."""
        self._served: dict[str, ServedModel] = {}
        """By deployment."""
        self._stale = True
        """Whether something may have been committed since the database was read."""
        self._read_at = 0.0
        self._starting: list[Deployment] = []
        """The deployments that wait for their engines."""
        self._failures = FailureLog(log)
        supervisor.follow(self)

    def deaths(self, release_id: str) -> int:
        """Return the deaths and failed starts of a release's engines since this server started."""
        return self.supervisor.deaths(release_id)

    def fallbacks(self, split_id: str) -> int:
        """Return how many calls the baseline answered because the candidate had no engine ready."""
        return self.fallback_counts[split_id]

    async def read(self, function: Callable[Concatenate[Context, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a service in a reading transaction, in a thread."""

        def run() -> R:
            with self._kernel.read(SYSTEM) as ctx:
                return function(ctx, *args, **kwargs)

        return await self.supervisor.in_thread(run)

    async def write(self, function: Callable[Concatenate[Context, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a service in a writing transaction, in a thread."""

        def run() -> R:
            with self._kernel.write(SYSTEM) as ctx:
                return function(ctx, *args, **kwargs)

        return await self.supervisor.in_thread(run)

    async def read_desired(self) -> None:
        """Pin the pools that deployments need and update the routes. Does nothing while nothing can have changed."""
        if not (self._stale or time.monotonic() - self._read_at > READ_S):
            return
        self._stale = False
        try:
            await self._read_desired()
        except BaseException:
            self._stale = True
            raise
        self._read_at = time.monotonic()

    async def apply_changes(self) -> None:
        """Promote ready deployments, fail those that do not start, and stop retired names. Each by itself.

        What cannot be written holds back neither the others nor the engines.
        """
        for deployment in self._starting:
            with self._failures.guard(f"Promoting {deployment.release} in {deployment.environment}"):
                await self._promote(deployment)
        if any(r.ended_at is None and r.sunset <= utc_now() for r in self.retirements.values()):
            with self._failures.guard("Stopping retired names"):
                await self.write(retirements.end_due, utc_now())
                self.supervisor.wake()

    def note_change(self) -> None:
        """Read the database again in the next round: something may have been committed."""
        self._stale = True

    async def _read_desired(self) -> None:
        desired = await self.read(service.get_desired_state)
        retirements_by_name = {r.model: r for r in desired.retirements}
        now = utc_now()
        pinned: dict[str, int] = {}
        targets: list[RouteTarget] = []
        starting: list[Deployment] = []
        for deployment in desired.deployments:
            model = await self._model_of(deployment.release_id)
            targets.append(RouteTarget(deployment, model))
            # A name past its date needs no engine, although its deployment is not stopped yet.
            if has_ended(retirements_by_name.get(f"{deployment.environment}/{deployment.name}"), now):
                continue
            pinned[model.servable.key] = max(pinned.get(model.servable.key, 0), deployment.replicas)
            self.supervisor.pool_for(model.servable)
            if deployment.state == "starting":
                starting.append(deployment)
        self._starting = starting
        self._served = {target.deployment.id: target.model for target in targets}
        shadows = self._shadows.select(desired.splits, self._acquire_candidate)
        self.retirements = retirements_by_name
        self.routes = build_routes(targets, desired.splits, shadows, self.retirements, desired.refusing)
        self.supervisor.pin(pinned)

    def _acquire_candidate(self, split: TrafficSplit) -> ReplicaLease | None:
        model = self._served.get(split.candidate_id)
        if model is None:
            return None
        pool = self.supervisor.pool_for(model.servable)
        replica = pool.acquire()
        if replica is None:
            return None
        return ReplicaLease(pool, replica, model.target(replica, None, split.candidate_id))

    async def _model_of(self, release_id: str) -> ServedModel:
        if release_id not in self._models:
            self._models[release_id] = await self.read(models.resolve_release, release_id)
        return self._models[release_id]

    async def _promote(self, deployment: Deployment) -> None:
        """Make a deployment live once its replicas answer, or mark it as failed."""
        pool = self.supervisor.pools[deployment.release_id]
        if pool.ready >= deployment.replicas:
            live = await self.write(service.go_live, deployment.id)
            if live is not None:
                await self._read_desired()
                log.info("%s is %s in %s", live.release, live.state, live.environment)
                self.supervisor.wake()
        elif pool.failures >= MAX_START_FAILURES:
            await self.write(service.fail, deployment.id, pool.error or "The engine did not start.")
            # A pool that something else still asks for keeps its back-off: a new one would start at once again.
            needed = {d.release_id for d in (await self.read(service.get_desired_state)).deployments}
            if pool.ready == 0 and deployment.release_id not in needed:
                self.supervisor.remove(pool)
