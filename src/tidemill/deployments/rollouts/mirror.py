"""Copies of live calls for a release that is tried out: a bounded share, so many at once, and never a queue."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from tidemill.deployments.lease import ReplicaLease
from tidemill.deployments.pool import Pool
from tidemill.deployments.rollouts.assignment import in_canary
from tidemill.deployments.rollouts.types import Rollout, Shadow
from tidemill.gateway.types import Lease, ShadowResult

log = logging.getLogger("tidemill.rollouts")

KEPT = 1000
"""Mirrored calls that wait to be judged; beyond it the oldest are lost."""


class Mirror:
    """The gateway's shadow for one rollout. Touched on the event loop only, but for `take`."""

    def __init__(self, rollout: Rollout, terms: Shadow, pool: Callable[[], Pool]) -> None:
        self.terms = terms
        self._rollout = rollout
        self._pool = pool
        self._running: set[asyncio.Task[None]] = set()
        self._done: deque[ShadowResult] = deque(maxlen=KEPT)
        self.skipped = 0

    def offer(self, call_id: str, ask: Callable[[Lease], Awaitable[ShadowResult]]) -> None:
        """Mirror this call if it is in the share and somebody is free; never waits."""
        if not in_canary(f"{self._rollout.id} shadow", call_id, self.terms.share):
            return
        pool = self._pool()
        replica = pool.take() if len(self._running) < self.terms.concurrency else None
        if replica is None:
            self.skipped += 1
            return
        target = pool.unit.target(replica.base_url, replica.id, None, self._rollout.deployment_id)
        task = asyncio.create_task(self._run(ReplicaLease(pool, replica, target), ask))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, lease: ReplicaLease, ask: Callable[[Lease], Awaitable[ShadowResult]]) -> None:
        try:
            found = await ask(lease)
        except Exception:
            log.exception("a mirrored call failed; its caller has had the live answer")
        else:
            self._done.append(found)
        finally:
            lease.release()

    def take(self) -> list[ShadowResult]:
        """What was mirrored since the last time."""
        return [self._done.popleft() for _ in range(len(self._done))]
