"""Steps that a server repeats while it runs: the threads for them, and the log of those that fail."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from tidemill.core.changes import Changes, Pace
from tidemill.core.errors import TidemillError
from tidemill.core.wire import utc_now

TICK_S = 1.0
OUTAGE_S = 5.0
"""How long a loop rests when the database does not answer, in seconds."""

REST_S = 60.0
"""How long a loop rests at most, whatever it waits for, in seconds."""

BUSY_S = 0.05


def seconds_until(moments: Iterable[datetime]) -> float:
    """Return the seconds until the first of these moments; REST_S when there is none."""
    first = min(moments, default=None)
    return REST_S if first is None else (first - utc_now()).total_seconds()


class BackgroundLoop:
    """A thread that calls `step` again and again; True from it means: again at once. No error ends it.

    After False it rests until something is committed, at most as long as `rest_s` says, and at least `tick_s`.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], bool],
        rest_s: Callable[[], float],
        changes: Changes,
        log: logging.Logger,
        *,
        tick_s: float | None = None,
        busy_s: float = BUSY_S,
    ) -> None:
        self.step = step
        self.rest_s = rest_s
        self.log = log
        self.tick_s = TICK_S if tick_s is None else tick_s
        self.busy_s = busy_s
        self.stopping = threading.Event()
        self.pace = Pace(changes, self.tick_s)
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self.thread.is_alive()

    def stop(self, timeout_s: float) -> None:
        """Finish the current step, then end the thread; wait for it at most `timeout_s` seconds."""
        self.stopping.set()
        self.pace.close()
        self.thread.join(timeout=timeout_s)

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                if self.step():
                    self.stopping.wait(self.busy_s)
                else:
                    self.pace.wait(min(max(self.rest_s(), self.tick_s), REST_S))
            except TidemillError as error:
                self.log.warning("%s pauses: %s", self.thread.name, error.message)
                self.stopping.wait(OUTAGE_S)
            except Exception:  # one step that goes wrong must not end all others
                self.log.exception("%s: a step went wrong", self.thread.name)
                self.stopping.wait(OUTAGE_S)


class FailureLog:
    """Logs a step that fails in every round once, not in every round, and once more when it succeeds again."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._failing: dict[str, type[Exception]] = {}

    @contextmanager
    def guard(self, step: str) -> Iterator[None]:
        """Run a step whose exceptions end here. `step` says what it does; steps are told apart by it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one step that goes wrong must not end the others
            if self._failing.get(step) is not type(error):
                self._failing[step] = type(error)
                if isinstance(error, TidemillError):
                    self._log.error("%s failed, and is tried again: %s", step, error.message)
                else:
                    self._log.exception("%s failed, and is tried again", step)
        else:
            if self._failing.pop(step, None) is not None:
                self._log.info("%s works again", step)
