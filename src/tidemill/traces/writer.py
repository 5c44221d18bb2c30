"""The one writer of spans: many requests in one commit, and nobody is told «stored» before it is.

    writer = kernel.part(TraceWriter)
    await writer.submit(records)     # on an event loop: returns once committed
    writer.write(records)            # from a thread

Raises IntakeFull when the bounded queue is full, TracesUnavailable when the database is away, TracesFull when the disk
is; then nothing of the call was stored and it may be sent again: a span sent twice is counted once.
"""

import asyncio
from collections.abc import Callable, Sequence

from tidemill.traces.store import TraceStore
from tidemill.traces.types import SpanRecord

Prepare = Callable[[Sequence[SpanRecord]], None]
"""Changes records in place before they are stored, such as masking and cost. Runs in the writer's thread."""


class TraceWriter:
    """Group commits in one thread behind a bounded queue. Starts with the first span; `close` writes what waits."""

    def __init__(self, store: TraceStore, prepare: Sequence[Prepare] = ()) -> None:
        self.store = store
        self.prepare = list(prepare)

    def submit(self, records: Sequence[SpanRecord]) -> "asyncio.Future[int]":
        """Queue spans; the future ends once they are committed, with how many of them were new."""
        raise NotImplementedError

    def write(self, records: Sequence[SpanRecord]) -> int:
        """Store spans and wait; returns how many were new."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what waits and stop."""
        raise NotImplementedError
