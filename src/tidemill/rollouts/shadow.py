"""Copies live calls to a candidate release: a share of calls, limited concurrency, no queue."""

import asyncio
import functools
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable

from tidemill.deployments.assignment import in_share
from tidemill.deployments.types import ShadowTerms, TrafficSplit
from tidemill.gateway.types import Lease, ShadowResult, ShadowSink

log = logging.getLogger("tidemill.rollouts")

MAX_PENDING, MAX_PENDING_BYTES = 1000, 32 << 20
"""Copied calls that may wait for judgement, and their bytes; beyond either the oldest are dropped."""


class ShadowSampler:
    """The gateway's shadow sink of one rollout. All but `drain` runs on the event loop."""

    def __init__(self, rollout_id: str, terms: ShadowTerms, acquire: Callable[[], Lease | None]) -> None:
        """`acquire` returns a lease on an engine of the new release, or None when all are busy."""
        self.terms = terms
        self.skipped = 0
        """Calls that were in the share but not copied, as no engine was free."""
        self._rollout_id = rollout_id
        self._acquire = acquire
        self._lock = threading.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._done: deque[ShadowResult] = deque()
        self._done_bytes = 0

    def offer(self, call_id: str, ask: Callable[[Lease], Awaitable[ShadowResult]]) -> None:
        """Copy this call if it is in the share and an engine is free. Never waits."""
        if not in_share(f"{self._rollout_id} shadow", call_id, self.terms.share):
            return
        lease = self._acquire() if len(self._running) < self.terms.concurrency else None
        if lease is None:
            self.skipped += 1
            return
        task = asyncio.create_task(self._run(lease, ask))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, lease: Lease, ask: Callable[[Lease], Awaitable[ShadowResult]]) -> None:
        try:
            result = await ask(lease)
        except Exception:
            log.exception("a shadow copy failed; its caller has had the live answer")
        else:
            self._keep(result)
        finally:
            lease.release()

    def _keep(self, result: ShadowResult) -> None:
        with self._lock:
            self._done.append(result)
            self._done_bytes += result.size
            while len(self._done) > MAX_PENDING or (self._done_bytes > MAX_PENDING_BYTES and len(self._done) > 1):
                self._done_bytes -= self._done.popleft().size

    def drain(self) -> list[ShadowResult]:
        """Return the copied calls since the last call of `drain`."""
        with self._lock:
            results = list(self._done)
            self._done.clear()
            self._done_bytes = 0
        return results


class ShadowSamplers:
    """The samplers of all rollouts that copy calls now; the reconciler of deployments keeps them up to date."""

    def __init__(self) -> None:
        self._samplers: dict[str, ShadowSampler] = {}

    def get(self, rollout_id: str) -> ShadowSampler | None:
        """Return the sampler of a rollout; None when it copies no calls."""
        return self._samplers.get(rollout_id)

    def select(
        self, splits: list[TrafficSplit], acquire: Callable[[TrafficSplit], Lease | None]
    ) -> dict[str, ShadowSink]:
        """Return the sampler of each split that copies calls, by the split's id. Changed terms get a new sampler."""
        terms_of = {split.id: split.shadow for split in splits}
        self._samplers = {id_: sampler for id_, sampler in self._samplers.items() if sampler.terms == terms_of.get(id_)}
        for split in splits:
            if split.shadow is not None and split.id not in self._samplers:
                acquire_candidate = functools.partial(acquire, split)
                self._samplers[split.id] = ShadowSampler(split.id, split.shadow, acquire_candidate)
        return dict(self._samplers)
