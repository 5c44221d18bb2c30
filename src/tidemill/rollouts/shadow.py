"""Copies of live calls for a release that is tried out: a bounded share, so many at once, and never a queue."""

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from tidemill.deployments.assignment import in_share
from tidemill.deployments.types import ShadowTerms, TrafficSplit
from tidemill.gateway.types import Lease, ShadowResult, ShadowSink

log = logging.getLogger("tidemill.rollouts")

MAX_KEPT = 1000
"""Copied calls that wait to be judged; beyond it the oldest are lost."""


class ShadowSampler:
    """The gateway's shadow for one rollout. Touched on the event loop only, but for `drain`."""

    def __init__(self, rollout_id: str, terms: ShadowTerms, acquire: Callable[[], Lease | None]) -> None:
        """`acquire` gives a place in an engine of the new release, or None when all are busy."""
        self.terms = terms
        self.skipped = 0
        """Calls that were in the share but not copied, as nobody was free."""
        self._rollout_id = rollout_id
        self._acquire = acquire
        self._running: set[asyncio.Task[None]] = set()
        self._done: deque[ShadowResult] = deque(maxlen=MAX_KEPT)

    def offer(self, call_id: str, ask: Callable[[Lease], Awaitable[ShadowResult]]) -> None:
        """Copy this call if it is in the share and somebody is free; never waits."""
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
            log.exception("a mirrored call failed; its caller has had the live answer")
        else:
            self._done.append(result)
        finally:
            lease.release()

    def drain(self) -> list[ShadowResult]:
        """Return the copied calls since the last time."""
        return [self._done.popleft() for _ in range(len(self._done))]


class ShadowSamplers:
    """The samplers of all rollouts that mirror calls now; the reconciler of deployments keeps them up to date."""

    def __init__(self) -> None:
        self._samplers: dict[str, ShadowSampler] = {}

    def get(self, rollout_id: str) -> ShadowSampler | None:
        """Return the sampler of a rollout; None when nothing is mirrored."""
        return self._samplers.get(rollout_id)

    def select(
        self, splits: list[TrafficSplit], acquire: Callable[[TrafficSplit], Lease | None]
    ) -> dict[str, ShadowSink]:
        """Return the sampler of each split that mirrors calls, by the split's id; changed terms make a new one."""
        terms_of = {split.id: split.shadow for split in splits}
        self._samplers = {id_: known for id_, known in self._samplers.items() if known.terms == terms_of.get(id_)}
        for split in splits:
            if split.shadow is not None and split.id not in self._samplers:
                place = functools.partial(acquire, split)
                self._samplers[split.id] = ShadowSampler(split.id, split.shadow, place)
        return dict(self._samplers)
