"""Looks at everything in its time and empties the outbox, while a server runs.

Any number of servers may share a database: before a look, one of them takes the turn, which is one UPDATE that only
one can win. A server that dies in its turn costs one look; the next turn comes.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from anyio import to_thread

from tidemill.core.actors import SYSTEM
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.monitors import indicators, notifiers, objectives, overview, triggers
from tidemill.monitors.drift import service as drift
from tidemill.monitors.sending import Sender
from tidemill.monitors.store import objectives as store

log = logging.getLogger("tidemill.monitors")

TICK_S = 1.0
OUTAGE_S = 5.0
"""How long a loop rests when the database does not answer."""

CLEANING = timedelta(hours=1)


class Loop:
    """A thread that does `step` again and again; True from it means: again at once."""

    def __init__(self, name: str, step: Callable[[], bool]) -> None:
        self.step = step
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        while not self.stopping.is_set():
            rest = TICK_S
            try:
                if self.step():
                    rest = 0.05
            except TidemillError as error:
                log.warning("%s pauses: %s", self.thread.name, error.message)
                rest = OUTAGE_S
            except Exception:  # one look that goes wrong must not end all others
                log.exception("%s: a step went wrong", self.thread.name)
                rest = OUTAGE_S
            self.stopping.wait(rest)


class Scheduler:
    """The monitors of one server."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.every = timedelta(seconds=kernel.settings.monitor_seconds)
        self.sender = Sender(kernel)
        self._loops: list[Loop] = []

    async def start(self) -> None:
        """Begin to look. That a notifier's secret cannot be read is told now, not when an alert cannot be sent."""
        for error in await to_thread.run_sync(notifiers.seal_all, self.kernel):
            log.error("%s %s", error.message, error.hint)
        steps = (
            ("tidemill-monitors", self.look),
            ("tidemill-sender", self.sender.step),
        )
        self._loops = [Loop(name, step) for name, step in steps]
        for loop in self._loops:
            loop.thread.start()

    async def stop(self) -> None:
        """End after the looks that are under way; what is not sent yet is sent after the next start."""
        await to_thread.run_sync(self._stop)

    def _stop(self) -> None:
        for loop in self._loops:
            loop.stopping.set()
        deadline = time.monotonic() + 5.0
        for loop in self._loops:
            loop.thread.join(timeout=max(0.0, deadline - time.monotonic()))
        self.sender.drain(2.0)

    def take_turn(self, key: str, every: timedelta) -> bool:
        """Whether it is time for `key`, and this server has it."""
        now = utc_now()
        with self.kernel.write(SYSTEM) as ctx:
            return store.take_turn(ctx.conn, key, now, now + every)

    def look(self) -> bool:
        """Look at all whose time has come."""
        self.look_at_drift()
        return self.look_at_objectives()

    def look_at_objectives(self) -> bool:
        """Check the objectives and indicators whose time has come, and then the triggers."""
        with self.kernel.read(SYSTEM) as ctx:
            turns = store.next_turns(ctx.conn)
            names = [(kind, row["name"]) for kind in ("slo", "kpi") for row in store.listing(ctx.conn, kind)]
            watched = bool(triggers.listing(ctx).items)
        now = utc_now()
        for kind, name in names:
            if self._due(turns, f"{kind}:{name}", now) and self.take_turn(f"{kind}:{name}", self.every):
                self._look(kind, name)
        if watched and self._due(turns, "triggers", now) and self.take_turn("triggers", self.every):
            with self.kernel.write(SYSTEM) as ctx:
                triggers.look_at_all(ctx)
        if self._due(turns, "outbox", now) and self.take_turn("outbox", CLEANING):
            self.sender.forget_old()
        return False

    def _due(self, turns: dict[str, datetime], key: str, now: datetime) -> bool:
        return key not in turns or turns[key] <= now

    def _look(self, kind: str, name: str) -> None:
        try:
            if kind == "slo":
                objectives.check(self.kernel, SYSTEM, name)
            else:
                indicators.check(self.kernel, SYSTEM, name)
        except TidemillError as error:
            log.warning("%s %s cannot be checked: %s", kind, name, error.message)

    def look_at_drift(self) -> bool:
        """Ask for the drift checks whose time has come. Each takes seconds and is a job, so it survives a crash."""
        with self.kernel.read(SYSTEM) as ctx:
            due = drift.due(ctx)
            turns = store.next_turns(ctx.conn)
        now = utc_now()
        for monitor in due:
            key = overview.turn_key(monitor)
            if not self._due(turns, key, now):
                continue
            with self.kernel.write(SYSTEM) as ctx:
                if store.take_turn(ctx.conn, key, now, now + timedelta(minutes=monitor.every_minutes)):
                    drift.submit_check(ctx, monitor.id)
        return False
