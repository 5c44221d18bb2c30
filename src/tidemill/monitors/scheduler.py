"""Checks every monitor when it is due, while a server runs.

Any number of servers may share a database: before a check, one of them acquires its lease, which is one UPDATE that
only one can win. A server that dies while it holds one costs one check; the lease ends by itself.
"""

import logging
from datetime import datetime, timedelta

from anyio import to_thread

from tidemill.core.actors import SYSTEM
from tidemill.core.background import BackgroundLoop, seconds_until
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.drift import service as drift
from tidemill.kpis import service as kpis
from tidemill.monitors import store
from tidemill.monitors.service import lease_key
from tidemill.notifications.service import deliveries
from tidemill.slos import service as slos
from tidemill.triggers import service as triggers

log = logging.getLogger("tidemill.monitors")

CLEANING = timedelta(hours=1)
STOP_S = 5.0


class Scheduler:
    """Checks the monitors of one server."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.every = timedelta(seconds=kernel.settings.monitor_seconds)
        self._loop: BackgroundLoop | None = None
        self._next: list[datetime] = []
        """When each thing was due at the last step; after that it may only be due later."""

    async def start(self) -> None:
        """Start the background loop."""
        self._loop = BackgroundLoop("tidemill-monitors", self.step, self.rest_s, self.kernel.db.changes, log)
        self._loop.start()
        self.kernel.loops["monitors"] = self._loop.is_alive

    async def stop(self) -> None:
        """Stop after the current check."""
        if self._loop is not None:
            await to_thread.run_sync(self._loop.stop, STOP_S)

    def acquire_lease(self, key: str, every: timedelta) -> bool:
        """Acquire the lease of `key` for `every`. Return False when it is not due, or another server holds it."""
        now = utc_now()
        with self.kernel.write(SYSTEM) as ctx:
            return store.acquire_lease(ctx.conn, key, now, now + every)

    def step(self) -> bool:
        """Check all that is due. Return False: the loop waits before the next call."""
        self._next = [*self.submit_drift_checks(), *self.check_due()]
        return False

    def rest_s(self) -> float:
        """Return the seconds until something is due."""
        return seconds_until(self._next)

    def check_due(self) -> list[datetime]:
        """Check the SLOs and KPIs that are due, then the triggers, and clean the outbox; returns when each was due."""
        with self.kernel.read(SYSTEM) as ctx:
            next_times = store.next_times(ctx.conn)
            checks = [("slo", name) for name in slos.names(ctx)] + [("kpi", name) for name in kpis.names(ctx)]
            has_triggers = bool(triggers.list_triggers(ctx).items)
        now = utc_now()
        for kind, name in checks:
            key = lease_key(kind, name)
            if _is_due(next_times, key, now) and self.acquire_lease(key, self.every):
                self._check(kind, name)
        if has_triggers and _is_due(next_times, "triggers", now) and self.acquire_lease("triggers", self.every):
            with self.kernel.write(SYSTEM) as ctx:
                triggers.evaluate_all(ctx)
        if _is_due(next_times, "outbox", now) and self.acquire_lease("outbox", CLEANING):
            with self.kernel.write(SYSTEM) as ctx:
                deliveries.delete_old(ctx)
        keys = [*(lease_key(kind, name) for kind, name in checks), *(["triggers"] if has_triggers else []), "outbox"]
        return [next_times.get(key, now) for key in keys]

    def _check(self, kind: str, name: str) -> None:
        try:
            if kind == "slo":
                slos.check(self.kernel, SYSTEM, name)
            else:
                kpis.check(self.kernel, SYSTEM, name)
        except TidemillError as error:
            log.warning("%s %s cannot be checked: %s", kind, name, error.message)

    def submit_drift_checks(self) -> list[datetime]:
        """Submit a job for each drift check that is due: it takes seconds, and as a job it survives a crash.

        Returns when each monitor was due.
        """
        with self.kernel.read(SYSTEM) as ctx:
            monitors = drift.list_due_times(ctx)
            next_times = store.next_times(ctx.conn)
        now = utc_now()
        due_times = []
        for monitor, due in monitors:
            key = lease_key("drift", monitor.name)
            due_times.append(max(due, next_times.get(key, due)))
            if due_times[-1] > now:
                continue
            with self.kernel.write(SYSTEM) as ctx:
                if store.acquire_lease(ctx.conn, key, now, now + timedelta(minutes=monitor.every_minutes)):
                    drift.submit_check(ctx, monitor.id)
        return due_times


def _is_due(next_times: dict[str, datetime], key: str, now: datetime) -> bool:
    return key not in next_times or next_times[key] <= now
