"""Supervises the engines of this server: starts, checks, replaces and stops the replicas of every pool."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, Protocol, TypeVar

from tidemill.core.background import FailureLog
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.engines.pool import Pool
from tidemill.engines.replica import RunningReplica, kill_orphans
from tidemill.engines.types import Fleet, Servable

log = logging.getLogger("tidemill.engines")

P = ParamSpec("P")
R = TypeVar("R")

TICK_S = 0.25
IDLE_S = 1.0
"""The same while there is no engine; a commit begins a round sooner."""
HEALTH_EVERY_S = 2.0
MAX_FAILED_CHECKS = 3
"""A replica is stopped after this many failed health checks in a row."""
DRAIN_S = 300.0
STOP_DRAIN_S = 10.0


class Demand(Protocol):
    """Says which pools are needed, and writes what the state of the pools brings about."""

    async def read_desired(self) -> None:
        """Pin the pools that are needed. Called at the start and at the begin of every round; writes nothing."""
        ...

    def note_change(self) -> None:
        """Something may have been committed. Called in any thread, while the supervisor runs."""
        ...

    async def apply_changes(self) -> None:
        """Write what the state of the pools brings about. Called at the end of every round."""
        ...


class Supervisor:
    """Owns every engine of this server. Its state is used only on the event loop; blocking calls run in threads."""

    def __init__(self, kernel: Kernel) -> None:
        self.pools: dict[str, Pool] = {}
        """By the key of their servable."""
        self.running = False
        self._kernel = kernel
        self._demand: Demand | None = None
        self._failures = FailureLog(log)
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="engines")
        self._wake = asyncio.Event()
        self._ticked = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None
        self._checked = 0.0

    def follow(self, demand: Demand) -> None:
        """Keep the pools that `demand` pins. Without a demand every pool stops when it is idle."""
        self._demand = demand

    async def start(self) -> None:
        """Kill engines of an earlier server, read what is needed, and start the loop."""
        ended = await self.in_thread(kill_orphans, self._kernel.folder("run", "engines"))
        if ended:
            log.warning("ended %d engines that an earlier server left behind", ended)
        self._loop = asyncio.get_running_loop()
        self._kernel.db.changes.subscribe(self._note_change)  # before the first read, which then misses nothing
        if self._demand is not None:
            await self._demand.read_desired()
        self.running = True
        self._loop_task = asyncio.create_task(self._run())
        self._kernel.loops["engines"] = lambda: self._loop_task is not None and not self._loop_task.done()

    async def stop(self) -> None:
        """Drain running requests for `STOP_DRAIN_S`, then stop every engine."""
        self.running = False
        self._kernel.db.changes.unsubscribe(self._note_change)
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.wait([self._loop_task])
        deadline = time.monotonic() + STOP_DRAIN_S
        while any(p.in_flight for p in self.pools.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        replicas = [r for p in self.pools.values() for r in p.replicas]
        await asyncio.gather(*(self.in_thread(r.stop, 1.0) for r in replicas))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        self._threads.shutdown(wait=False)

    def wake(self) -> None:
        """Start the next round at once."""
        self._wake.set()

    def _note_change(self) -> None:
        """Called in any thread: begin a round if there has been none for a while."""
        if self._demand is not None:
            self._demand.note_change()
        if self.running and not self.pools and time.monotonic() - self._ticked > TICK_S:
            self._ticked = time.monotonic()
            with suppress(RuntimeError):  # the event loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    def pool_for(self, servable: Servable) -> Pool:
        """Return the pool of a servable; a new pool starts its first replica at once."""
        pool = self.pools.get(servable.key)
        if pool is None:
            pool = self.pools[servable.key] = Pool(servable, self._kernel.settings.engine_parallel, self.wake)
            self.wake()
        return pool

    def pin(self, counts: dict[str, int]) -> None:
        """Set how many replicas of each servable, by its key, are needed; other pools may stop when idle."""
        for key, pool in self.pools.items():
            pool.pin(counts.get(key, 0))

    def get_fleet(self) -> Fleet:
        """Return all engines as the API shows them."""
        replicas = [
            r.to_value(restarts=p.restarts, pinned=p.pinned > 0, error=p.error)
            for p in list(self.pools.values())
            for r in list(p.replicas)
        ]
        return Fleet(replicas=replicas, waiting=sum(p.waiting for p in list(self.pools.values())))

    def deaths(self, key: str) -> int:
        """Return the deaths and failed starts of a servable's engines since this server started."""
        pool = self.pools.get(key)
        return pool.restarts if pool is not None else 0

    async def in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a blocking function in a thread, and return its result."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def remove(self, pool: Pool) -> None:
        """Remove a pool and stop its replicas."""
        for replica in pool.replicas:
            self._spawn(self.in_thread(replica.stop, 1.0))
        self.pools.pop(pool.servable.key, None)
        pool.notify()

    async def _run(self) -> None:
        # Not `while True`: Python 3.11's wait_for loses a cancellation that comes together with the event.
        while self.running:
            await self._tick()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_S if self.pools else IDLE_S)
            self._wake.clear()

    async def _tick(self) -> None:
        """Do one round. A database that cannot be read or written does not keep engines from being replaced."""
        self._ticked = time.monotonic()
        if self._demand is not None:
            with self._failures.guard("Reading what is deployed"):
                await self._demand.read_desired()
        for pool in list(self.pools.values()):
            with self._failures.guard(f"Keeping the engines of {pool.servable.label}"):
                self._reap(pool)
                self._scale(pool)
                pool.reset_failures()
        with self._failures.guard("Stopping idle engines"):
            self._remove_idle()
        if time.monotonic() - self._checked > HEALTH_EVERY_S:
            self._checked = time.monotonic()
            self._check_health()
        if self._demand is not None:
            with self._failures.guard("Writing the state of deployments"):
                await self._demand.apply_changes()

    def _reap(self, pool: Pool) -> None:
        """Remove replicas whose process has ended."""
        for replica in list(pool.replicas):
            if replica.state in ("ready", "draining") and not replica.alive():
                pool.replicas.remove(replica)
                self._spawn(self.in_thread(replica.stop, 0.0))
                if replica.state == "ready":
                    log.error("replica %s of %s has died; another one starts", replica.id, pool.servable.label)
                    pool.record_failure(f"The engine ended by itself; {replica.log_path.name} may say why.")

    def _scale(self, pool: Pool) -> None:
        """Start missing replicas and drain surplus ones."""
        living = [r for r in pool.replicas if r.state in ("starting", "ready")]
        if len(living) < pool.target_size and time.monotonic() >= pool.not_before:
            for _ in range(pool.target_size - len(living)):
                replica = RunningReplica(self._kernel, pool.servable)
                pool.replicas.append(replica)
                self._spawn(self._bring_up(pool, replica))
        ready = [r for r in living if r.state == "ready"]
        for surplus in ready[pool.target_size :]:
            self._drain(pool, surplus)

    async def _bring_up(self, pool: Pool, replica: RunningReplica) -> None:
        try:
            await self.in_thread(replica.start)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason of the failed start
            reason = error.message if isinstance(error, TidemillError) else f"{type(error).__name__}: {error}"
            log.error("replica %s of %s did not start: %s", replica.id, pool.servable.label, reason)
            pool.replicas.remove(replica)
            pool.record_failure(reason)
            await self.in_thread(replica.stop, 0.0)
        else:
            replica.state, replica.since = "ready", time.monotonic()
            log.info("replica %s of %s answers at %s", replica.id, pool.servable.label, replica.base_url)
        pool.notify()
        self.wake()

    def _remove_idle(self) -> None:
        """Remove idle pools that no deployment needs: after a while, or the longest unused when there are too many."""
        idle = [p for p in self.pools.values() if p.pinned == 0 and p.in_flight == 0 and p.waiting == 0]
        idle.sort(key=lambda p: p.last_used)
        too_many = sum(p.pinned == 0 for p in self.pools.values()) - self._kernel.settings.engines_on_demand
        for index, pool in enumerate(idle):
            unused_s = time.monotonic() - pool.last_used
            if unused_s > self._kernel.settings.engine_idle_seconds or (index < too_many and unused_s > 1.0):
                self.remove(pool)

    def _drain(self, pool: Pool, replica: RunningReplica) -> None:
        replica.state = "draining"
        self._spawn(self._stop_drained(pool, replica))

    async def _stop_drained(self, pool: Pool, replica: RunningReplica) -> None:
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
        if replica.suspect >= MAX_FAILED_CHECKS:
            log.error("replica %s of %s does not answer; it is ended", replica.id, pool.servable.label)
            await self.in_thread(replica.stop, 0.0)
            self.wake()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish_task)

    def _finish_task(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the supervisor failed", exc_info=task.exception())
