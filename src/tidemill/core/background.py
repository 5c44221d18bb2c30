"""Threads that repeat a step while a server runs."""

import logging
import threading
from collections.abc import Callable

from tidemill.core.errors import TidemillError

TICK_S = 1.0
OUTAGE_S = 5.0
"""How long a loop rests when the database does not answer, in seconds."""

BUSY_S = 0.05


class BackgroundLoop:
    """A thread that calls `step` again and again; True from it means: again at once. No error ends it."""

    def __init__(self, name: str, step: Callable[[], bool], log: logging.Logger) -> None:
        self.step = step
        self.log = log
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the current step, then end the thread; wait for it at most `timeout_s` seconds."""
        self.stopping.set()
        self.thread.join(timeout=timeout_s)

    def _run(self) -> None:
        while not self.stopping.is_set():
            rest = TICK_S
            try:
                if self.step():
                    rest = BUSY_S
            except TidemillError as error:
                self.log.warning("%s pauses: %s", self.thread.name, error.message)
                rest = OUTAGE_S
            except Exception:  # one step that goes wrong must not end all others
                self.log.exception("%s: a step went wrong", self.thread.name)
                rest = OUTAGE_S
            self.stopping.wait(rest)
