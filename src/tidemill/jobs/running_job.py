"""A job that this process runs, and the slots that such jobs share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tidemill.core.kernel import Kernel
from tidemill.jobs import store
from tidemill.jobs.compute import Compute
from tidemill.jobs.durable import StepLog
from tidemill.jobs.log_buffer import LogBuffer


@dataclass
class RunningJob:
    """A job that this process runs."""

    claim: store.Claim
    executor: str
    heavy: bool
    log: StepLog
    slots: "Slots"
    stopping: threading.Event
    kernel: Kernel
    compute: Compute
    log_buffer: LogBuffer = field(default_factory=LogBuffer)
    wake_event: threading.Event = field(default_factory=threading.Event)
    """Set when there is something to look at: a signal, a request to end, the end of this process."""

    @contextmanager
    def slot_released(self) -> Iterator[None]:
        """Release the job's slot inside the block; take one again after it."""
        self.slots.leave(self.heavy)
        try:
            yield
        except BaseException:
            self.slots.enter(self.heavy)  # on its way out: no reason to wait
            raise
        self.slots.enter(self.heavy, self.stopping)

    def adopt_child(self, child: str) -> None:
        """Record a child process before it starts: it ends when the job fails or is cancelled."""
        if child not in self.claim.children:
            self.claim = self.claim.model_copy(update={"children": [*self.claim.children, child]})
            with self.kernel.db.begin() as conn:
                store.update(conn, self.claim.id, executor=self.executor, children=self.claim.children)


class Slots:
    """How many more jobs of each sort may run."""

    def __init__(self, heavy: int, light: int) -> None:
        self._free = {True: heavy, False: light}
        self._changed = threading.Condition()

    def free(self, heavy: bool) -> int:
        """Return how many slots are left."""
        return self._free[heavy]

    def leave(self, heavy: bool) -> None:
        """Release a slot."""
        with self._changed:
            self._free[heavy] += 1
            self._changed.notify_all()

    def enter(self, heavy: bool, stopping: threading.Event | None = None) -> None:
        """Take a slot; with `stopping`, wait until one is free or `stopping` is set."""
        with self._changed:
            while stopping is not None and self._free[heavy] < 1 and not stopping.is_set():
                self._changed.wait(0.2)
            self._free[heavy] -= 1
