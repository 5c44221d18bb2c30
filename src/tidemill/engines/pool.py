"""The replicas of one servable: which request gets which place, and how failures delay the next start."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from tidemill.engines.replica import RunningReplica
from tidemill.engines.types import Servable

BACK_OFF_S = 0.2
MAX_BACK_OFF_S = 30.0
STABLE_S = 60.0
"""After so long a life, a death counts as the first one again."""


class Pool:
    """Replicas of one servable. Only touched from the event loop, so it needs no lock."""

    def __init__(self, servable: Servable, places: int, wake: Callable[[], None]) -> None:
        """`places` requests run in one replica at once; `wake` has the supervisor look at the pool at once."""
        self.servable = servable
        self.replicas: list[RunningReplica] = []
        self.pinned = 0
        """How many replicas environments ask for."""
        self.failures = 0
        """Deaths and failed starts in a row."""
        self.restarts = 0
        self.error: str | None = None
        self.not_before = 0.0
        self.last_used = time.monotonic()
        self._places = places
        self._wake = wake
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def in_flight(self) -> int:
        """Return how many requests hold a place."""
        return sum(r.in_flight for r in self.replicas)

    @property
    def waiting(self) -> int:
        """Return how many requests wait for a place."""
        return sum(not w.done() for w in self._waiters)

    @property
    def ready(self) -> int:
        """Return how many replicas answer."""
        return sum(r.state == "ready" and r.alive() for r in self.replicas)

    @property
    def target_size(self) -> int:
        """Return how many replicas there should be: those pinned, and at least one."""
        return max(self.pinned, 1)

    def pin(self, count: int) -> None:
        """Note how many replicas environments ask for. What is no longer asked for stays warm for a while."""
        if self.pinned and not count:
            self.last_used = time.monotonic()
        self.pinned = count

    def acquire(self) -> RunningReplica | None:
        """Take a place in the least busy replica and return it; None when all are busy."""
        self.last_used = time.monotonic()
        free = [r for r in self.replicas if r.state == "ready" and r.in_flight < self._places and r.suspect == 0]
        for replica in sorted(free, key=lambda r: r.in_flight):
            if replica.alive():
                replica.in_flight += 1
                return replica
            self._wake()
        return None

    def release(self, replica: RunningReplica, broken: bool) -> None:
        """Free a place; a replica that did not answer gets no request until its health check succeeds."""
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
        """Return when a place may be free, or after `timeout` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        # Not wait_for: a cancelled caller leaves a done or cancelled future behind, which `notify` skips.
        await asyncio.wait([waiter], timeout=timeout)
        if not waiter.done():
            waiter.cancel()

    def notify(self, count: int | None = None) -> None:
        """Tell `count` waiting requests (all of them without a number) to look again."""
        remaining = len(self._waiters) if count is None else count
        while remaining and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                remaining -= 1

    def record_failure(self, reason: str) -> None:
        """Count a death or a failed start; the next start waits longer each time."""
        self.failures += 1
        self.restarts += 1
        self.error = reason
        self.not_before = time.monotonic() + min(BACK_OFF_S * 2 ** (self.failures - 1), MAX_BACK_OFF_S)

    def reset_failures(self) -> None:
        """Forget old failures once a replica has lived for a while."""
        if self.failures and any(r.state == "ready" and time.monotonic() - r.since > STABLE_S for r in self.replicas):
            self.failures = 0
