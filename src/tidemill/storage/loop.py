"""Frees space while a server runs: what is recorded to go at once, what is old enough a few times a day."""

import asyncio
import logging
import time

from tidemill.core.actors import SYSTEM
from tidemill.core.background import REST_S, BackgroundLoop
from tidemill.core.kernel import Kernel
from tidemill.storage import service
from tidemill.storage.types import StorageReport

log = logging.getLogger("tidemill.storage")

FIRST_S, INTERVAL_S = 600.0, 6 * 3600.0
"""Seconds from the start to the first look at everything, and from one look to the next."""

TICK_S = 5.0
STEP_ITEMS = 100
"""Removals in one step."""


class StorageFigures:
    """What the last look at the storage saw, for the metrics."""

    def __init__(self) -> None:
        self.report: StorageReport | None = None


class StorageCleaner:
    """A service that removes what nothing needs."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._due = time.monotonic() + FIRST_S
        self._loop = BackgroundLoop(
            "tidemill-storage", self.step, lambda: REST_S, kernel.db.changes, log, tick_s=TICK_S, busy_s=1.0
        )

    async def start(self) -> None:
        """Start the thread."""
        self._loop.start()
        self._kernel.loops["storage"] = self._loop.is_alive

    async def stop(self) -> None:
        """Finish the removal under way."""
        await asyncio.to_thread(self._loop.stop, 10.0)

    def step(self) -> bool:
        """Remove some of what may go. Return whether there is more."""
        files, _ = service.finish_scheduled(self._kernel)
        if files:
            return True
        if time.monotonic() < self._due:
            return False
        days = self._kernel.settings.storage_keep_days
        if days and self._clean(days):
            return True
        self._kernel.get(StorageFigures).report = service.get_report(self._kernel)
        self._due = time.monotonic() + INTERVAL_S
        return False

    def _clean(self, days: int) -> bool:
        """Return whether something was removed, after which there may be more."""
        try:
            files, size = service.clean(self._kernel, SYSTEM, days, self._check, limit=STEP_ITEMS)
        except Stopping:
            return False
        if files:
            log.info("removed %d files or folders, %d bytes, that nothing needed", files, size)
        return files > 0

    def _check(self, done: int, total: int) -> None:
        del done, total
        if self._loop.stopping.is_set():
            raise Stopping


class Stopping(Exception):
    """The server stops: the rest is removed after the next start."""
