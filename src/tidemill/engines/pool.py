"""A pool of replicas of one servable: assigns requests to replicas, and backs off after failed starts."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from tidemill.engines.replica import RunningReplica
from tidemill.engines.types import Servable

BACK_OFF_S = 0.2
MAX_BACK_OFF_S = 30.0
STABLE_S = 60.0
"""When a replica has been ready for so long, the failure count is reset."""


class Pool:
    """Replicas of one servable. Used only on the event loop, so it needs no lock."""

    def __init__(self, servable: Servable, slots: int, wake: Callable[[], None]) -> None:
        """`slots` requests run in one replica at once; `wake` starts the supervisor's next round."""
        self.servable = servable
        self.replicas: list[RunningReplica] = []
        self.pinned = 0
        """How many replicas deployments need."""
        self.failures = 0
        """Deaths and failed starts in a row."""
        self.restarts = 0
        self.error: str | None = None
        self.not_before = 0.0
        self.last_used = time.monotonic()
        self._slots = slots
        self._wake = wake
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def in_flight(self) -> int:
        """The number of running requests."""
        return sum(r.in_flight for r in self.replicas)

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return sum(not w.done() for w in self._waiters)

    @property
    def ready(self) -> int:
        """The number of replicas that answer."""
        return sum(r.state == "ready" and r.alive() for r in self.replicas)

    @property
    def target_size(self) -> int:
        """The number of replicas that should run: those pinned, and at least one."""
        return max(self.pinned, 1)

    def pin(self, count: int) -> None:
        """Set how many replicas deployments need. A pool that is no longer needed stays warm for a while."""
        if self.pinned and not count:
            self.last_used = time.monotonic()
        self.pinned = count

    def acquire(self) -> RunningReplica | None:
        """Take a slot of the least busy replica, and return the replica; None when all are busy."""
        self.last_used = time.monotonic()
        free = [r for r in self.replicas if r.state == "ready" and r.in_flight < self._slots and r.suspect == 0]
        for replica in sorted(free, key=lambda r: r.in_flight):
            if replica.alive():
                replica.in_flight += 1
                return replica
            self._wake()
        return None

    def release(self, replica: RunningReplica, broken: bool) -> None:
        """Free a slot. A replica that did not answer gets no request until its health check succeeds."""
        replica.in_flight -= 1
        self.last_used = time.monotonic()
        if broken:
            replica.suspect = max(replica.suspect, 1)
            self._wake()
        else:
            self.notify(1)
        if replica.state == "draining":
            self._wake()

    async def wait(self, timeout: float) -> None:
        """Wait until a slot may be free, at most `timeout` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        # Not wait_for, which may lose a slot that is given at the moment in which the caller is cancelled.
        try:
            await asyncio.wait([waiter], timeout=timeout)
        finally:
            if not waiter.done():
                waiter.cancel()
                self._waiters.remove(waiter)

    def notify(self, count: int | None = None) -> None:
        """Wake `count` waiting requests, by default all, to try again."""
        remaining = len(self._waiters) if count is None else count
        while remaining and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                remaining -= 1

    def record_failure(self, reason: str) -> None:
        """Count a death or a failed start, and back off the next start exponentially."""
        self.failures += 1
        self.restarts += 1
        self.error = reason
        self.not_before = time.monotonic() + min(BACK_OFF_S * 2 ** (self.failures - 1), MAX_BACK_OFF_S)

    def reset_failures(self) -> None:
        """Reset the failure count once a replica has been ready for `STABLE_S`."""
        if self.failures and any(r.state == "ready" and time.monotonic() - r.since > STABLE_S for r in self.replicas):
            self.failures = 0
