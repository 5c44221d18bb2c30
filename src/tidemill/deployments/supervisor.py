"""Brings about what the database asks for: starts, watches, replaces and ends engines, and flips routes."""

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from tidemill.core.actors import SYSTEM
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.deployments import service, unit
from tidemill.deployments.pool import Pool
from tidemill.deployments.replica import RunningReplica, kill_orphans
from tidemill.deployments.retirements.types import Retirement
from tidemill.deployments.rollouts.mirror import Mirror
from tidemill.deployments.rollouts.types import Rollout
from tidemill.deployments.route import Arm, Route, routes_of
from tidemill.deployments.types import Deployment, Fleet
from tidemill.deployments.unit import Unit

log = logging.getLogger("tidemill.engines")

P = ParamSpec("P")
R = TypeVar("R")

TICK_S = 0.25
HEALTH_EVERY_S = 2.0
UNWELL_AFTER = 3
"""So many failed health checks in a row end a replica."""
TRIES = 3
"""A new deployment fails when its engine did not start so often."""
DRAIN_S = 300.0
QUIT_DRAIN_S = 10.0


class Supervisor:
    """Owns every engine of this server. Its state is touched only on the event loop; what blocks runs in threads."""

    def __init__(self, kernel: Kernel) -> None:
        self.pools: dict[str, Pool] = {}
        self.routes: dict[str, Route] = {}
        self.retirements: dict[str, Retirement] = {}
        """Names that go out of service or are gone."""
        self.spilled: Counter[str] = Counter()
        """By rollout: calls of the new release's users that the old one answered, as no engine of it was ready."""
        self.mirrors: dict[str, Mirror] = {}
        """By rollout: who gets copies of calls."""
        self.running = False
        self._kernel = kernel
        self._units: dict[str, Unit] = {}
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="engines")
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None
        self._checked = 0.0

    async def start(self) -> None:
        """End what an earlier server left, then take up every environment."""
        ended = await self.in_thread(kill_orphans, self._kernel.folder("run", "engines"))
        if ended:
            log.warning("ended %d engines that an earlier server left behind", ended)
        await self._read_desired()
        self.running = True
        self._loop_task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let requests in flight finish for a moment, then end every engine."""
        self.running = False
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.wait([self._loop_task])
        deadline = time.monotonic() + QUIT_DRAIN_S
        while any(p.in_flight for p in self.pools.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        replicas = [r for p in self.pools.values() for r in p.replicas]
        await asyncio.gather(*(self.in_thread(r.stop, 1.0) for r in replicas))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        self._threads.shutdown(wait=False)

    def wake(self) -> None:
        """Look again at once."""
        self._wake.set()

    def pool_for(self, wanted: Unit) -> Pool:
        """The pool of a unit; made, and started at once, when there is none."""
        pool = self.pools.get(wanted.key)
        if pool is None:
            pool = self.pools[wanted.key] = Pool(wanted, self._kernel.settings.engine_parallel, self.wake)
            self.wake()
        return pool

    def fleet(self) -> Fleet:
        """All engines, as the API shows them."""
        shown = [
            r.shown(restarts=p.restarts, pinned=p.pinned > 0, error=p.error)
            for p in list(self.pools.values())
            for r in list(p.replicas)
        ]
        return Fleet(replicas=shown, waiting=sum(p.waiting for p in list(self.pools.values())))

    def deaths(self, release_id: str) -> int:
        """Deaths and failed starts of a release's engines since this server started."""
        pool = self.pools.get(release_id)
        return pool.restarts if pool is not None else 0

    def mirror(self, rollout_id: str) -> Mirror | None:
        """Where copies of calls go."""
        return self.mirrors.get(rollout_id)

    def spills(self, rollout_id: str) -> int:
        """Calls of the new release's users that the old one answered."""
        return self.spilled[rollout_id]

    async def in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call something that blocks."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def read(self, function: Callable[Concatenate[Context, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a service in a reading transaction."""

        def run() -> R:
            with self._kernel.read(SYSTEM) as ctx:
                return function(ctx, *args, **kwargs)

        return await self.in_thread(run)

    async def write(self, function: Callable[Concatenate[Context, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a service in a writing transaction."""

        def run() -> R:
            with self._kernel.write(SYSTEM) as ctx:
                return function(ctx, *args, **kwargs)

        return await self.in_thread(run)

    async def _run(self) -> None:
        while True:
            try:
                await self._tick()
            except TidemillError as error:
                log.error("%s Engines stay as they are.", error.message)
            except Exception:
                log.exception("a round of the supervisor failed; the next one follows")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_S)
            self._wake.clear()

    async def _tick(self) -> None:
        starting = await self._read_desired()
        for pool in list(self.pools.values()):
            self._bury(pool)
            self._fill(pool)
            pool.steady()
        for deployment in starting:
            await self._promote(deployment)
        self._retire()
        if time.monotonic() - self._checked > HEALTH_EVERY_S:
            self._checked = time.monotonic()
            self._check_health()

    async def _read_desired(self) -> list[Deployment]:
        """Pin what environments ask for; returns the deployments that are not live yet."""
        wish = await self.read(service.desired)
        pinned: dict[str, int] = {}
        arms: list[Arm] = []
        for deployment in wish.deployments:
            wanted = await self._unit_of(deployment.release_id)
            pinned[wanted.key] = max(pinned.get(wanted.key, 0), deployment.replicas)
            self.pool_for(wanted)
            arms.append(Arm(deployment, wanted))
        self.routes, self.retirements = routes_of(arms, wish.rollouts, wish.retirements)
        self._set_mirrors(wish.rollouts, {arm.deployment.id: arm.unit for arm in arms})
        for key, pool in self.pools.items():
            pool.pin(pinned.get(key, 0))
        return [d for d in wish.deployments if d.state == "starting"]

    def _set_mirrors(self, rollouts: list[Rollout], units: dict[str, Unit]) -> None:
        wanted = {r.id: (r, r.shadow, units[r.deployment_id]) for r in rollouts if r.shadow and r.began_at}
        for gone in self.mirrors.keys() - wanted.keys():
            del self.mirrors[gone]
        for rollout, terms, shadow in wanted.values():
            known = self.mirrors.get(rollout.id)
            if known is None or known.terms != terms:
                self.mirrors[rollout.id] = Mirror(rollout, terms, functools.partial(self.pool_for, shadow))

    async def _unit_of(self, release_id: str) -> Unit:
        if release_id not in self._units:
            self._units[release_id] = await self.read(unit.of_release, release_id)
        return self._units[release_id]

    def _bury(self, pool: Pool) -> None:
        for replica in list(pool.replicas):
            if replica.state in ("ready", "draining") and not replica.alive():
                pool.replicas.remove(replica)
                self._spawn(self.in_thread(replica.stop, 0.0))
                if replica.state == "ready":
                    log.error("replica %s of %s has died; another one starts", replica.id, pool.unit.label)
                    pool.failed(f"The engine ended by itself; {replica.log_path.name} may say why.")

    def _fill(self, pool: Pool) -> None:
        living = [r for r in pool.replicas if r.state in ("starting", "ready")]
        if len(living) < pool.wanted and time.monotonic() >= pool.not_before:
            for _ in range(pool.wanted - len(living)):
                replica = RunningReplica(self._kernel, pool.unit)
                pool.replicas.append(replica)
                self._spawn(self._bring_up(pool, replica))
        ready = [r for r in living if r.state == "ready"]
        for surplus in ready[pool.wanted :]:
            self._drain(pool, surplus)

    async def _bring_up(self, pool: Pool, replica: RunningReplica) -> None:
        try:
            await self.in_thread(replica.start)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason of the failed start
            reason = error.message if isinstance(error, TidemillError) else f"{type(error).__name__}: {error}"
            log.error("replica %s of %s did not start: %s", replica.id, pool.unit.label, reason)
            pool.replicas.remove(replica)
            pool.failed(reason)
            await self.in_thread(replica.stop, 0.0)
        else:
            replica.state, replica.since = "ready", time.monotonic()
            log.info("replica %s of %s answers at %s", replica.id, pool.unit.label, replica.base_url)
        pool.notify()
        self.wake()

    async def _promote(self, deployment: Deployment) -> None:
        """Make a deployment live once its replicas answer, or give it up."""
        pool = self.pools[deployment.release_id]
        if pool.ready >= deployment.replicas:
            live = await self.write(service.go_live, deployment.id)
            if live is not None:
                await self._read_desired()
                log.info("%s is %s in %s", live.release, live.state, live.environment)
                self.wake()
        elif pool.failures >= TRIES:
            await self.write(service.fail, deployment.id, pool.error or "The engine did not start.")
            # A pool that something else still asks for keeps its back-off: a new one would start at once again.
            asked_for = {d.release_id for d in (await self.read(service.desired)).deployments}
            if pool.ready == 0 and deployment.release_id not in asked_for:
                self._dissolve(pool)

    def _retire(self) -> None:
        """End idle engines that no environment needs: after a while, or at once the longest unused of too many."""
        idle = [p for p in self.pools.values() if p.pinned == 0 and p.in_flight == 0 and p.waiting == 0]
        idle.sort(key=lambda p: p.last_used)
        too_many = sum(p.pinned == 0 for p in self.pools.values()) - self._kernel.settings.engines_on_demand
        for place, pool in enumerate(idle):
            unused = time.monotonic() - pool.last_used
            if unused > self._kernel.settings.engine_idle_seconds or (place < too_many and unused > 1.0):
                self._dissolve(pool)

    def _dissolve(self, pool: Pool) -> None:
        for replica in pool.replicas:
            self._spawn(self.in_thread(replica.stop, 1.0))
        self.pools.pop(pool.unit.key, None)
        pool.notify()

    def _drain(self, pool: Pool, replica: RunningReplica) -> None:
        replica.state = "draining"
        self._spawn(self._drained(pool, replica))

    async def _drained(self, pool: Pool, replica: RunningReplica) -> None:
        deadline = time.monotonic() + DRAIN_S
        while replica.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        if replica in pool.replicas:
            pool.replicas.remove(replica)
        await self.in_thread(replica.stop)

    def _check_health(self) -> None:
        for pool in self.pools.values():
            for replica in pool.replicas:
                if replica.state == "ready":
                    self._spawn(self._check(pool, replica))

    async def _check(self, pool: Pool, replica: RunningReplica) -> None:
        if await self.in_thread(replica.healthy):
            if replica.suspect:
                replica.suspect = 0
                pool.notify()
            return
        replica.suspect += 1
        if replica.suspect >= UNWELL_AFTER:
            log.error("replica %s of %s does not answer; it is ended", replica.id, pool.unit.label)
            await self.in_thread(replica.stop, 0.0)
            self.wake()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the supervisor failed", exc_info=task.exception())
