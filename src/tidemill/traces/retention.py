"""Removes old spans: whole days by the retention setting, sums by the minute after two days."""

import asyncio
import logging
from datetime import timedelta

from tidemill.core.actors import SYSTEM
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.traces.service import spans
from tidemill.traces.store import TraceStore

log = logging.getLogger("tidemill.traces")

INTERVAL_S = 3600.0
MINUTES_RETAINED = timedelta(days=3)
"""By whole days: 48 hours reach into three."""


class Retention:
    """A service that removes what is too old once an hour."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run now and every hour."""
        self._running = asyncio.create_task(self._loop())
        self._kernel.loops["retention"] = lambda: self._running is not None and not self._running.done()

    async def stop(self) -> None:
        """Cancel the loop."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _loop(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.run_once)
            except TidemillError as error:
                log.error("old traces could not be removed now: %s", error.message)
            except Exception:  # the next hour's turn comes all the same
                log.exception("old traces could not be removed now")
            await asyncio.sleep(INTERVAL_S)

    def run_once(self) -> None:
        """Remove the days and the sums by the minute that are too old."""
        store = self._kernel.get(TraceStore)
        with self._kernel.read(SYSTEM) as ctx:
            first, now = spans.first_retained_day(ctx), ctx.now
        if first is not None and any(day < first for day in store.list_days()):
            spans.prune(self._kernel, SYSTEM)
        store.drop_minutes((now - MINUTES_RETAINED).date())
