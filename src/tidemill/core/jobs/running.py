"""A job that this process runs, and the places that such jobs share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidemill.core.jobs import store
from tidemill.core.jobs.context import Notes
from tidemill.core.jobs.durable import StepLog

if TYPE_CHECKING:
    from tidemill.core.kernel import Kernel


@dataclass
class Running:
    """A job that this process runs."""

    claim: store.Claim
    executor: str
    heavy: bool
    log: StepLog
    places: "Places"
    stopping: threading.Event
    kernel: "Kernel"
    notes: Notes = field(default_factory=Notes)
    nudge: threading.Event = field(default_factory=threading.Event)
    """Set when there is something to look at: a signal, a request to end, the end of this process."""

    @contextmanager
    def given_way(self) -> Iterator[None]:
        """Let another job have this one's place meanwhile."""
        self.places.leave(self.heavy)
        try:
            yield
        except BaseException:
            self.places.enter(self.heavy)  # on its way out: no reason to wait
            raise
        self.places.enter(self.heavy, self.stopping)

    def adopt_child(self, child: str) -> None:
        """Write down, before it starts, a process that must end when the job ends badly."""
        if child not in self.claim.children:
            self.claim = self.claim.model_copy(update={"children": [*self.claim.children, child]})
            with self.kernel.db.begin() as conn:
                store.update(conn, self.claim.id, executor=self.executor, children=self.claim.children)


class Places:
    """How many more jobs of each sort may run."""

    def __init__(self, heavy: int, light: int) -> None:
        self._free = {True: heavy, False: light}
        self._changed = threading.Condition()

    def free(self, heavy: bool) -> int:
        """Places left."""
        return self._free[heavy]

    def leave(self, heavy: bool) -> None:
        """Give a place back."""
        with self._changed:
            self._free[heavy] += 1
            self._changed.notify_all()

    def enter(self, heavy: bool, stopping: threading.Event | None = None) -> None:
        """Take a place; with `stopping`, wait until there is one."""
        with self._changed:
            while stopping is not None and self._free[heavy] < 1 and not stopping.is_set():
                self._changed.wait(0.2)
            self._free[heavy] -= 1
