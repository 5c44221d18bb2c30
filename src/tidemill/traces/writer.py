"""The one writer of spans: many requests share one commit, and each is answered once its spans are committed.

    writer = kernel.get(TraceWriter)
    await writer.submit(records, size)     # on an event loop: returns once committed
    writer.write(records)            # from a thread

Raises TraceQueueFull when the bounded queue is full, TracesUnavailable when the database does not answer, TracesFull
when the disk is full; then nothing of the call is stored and it may be sent again: a span sent twice is counted once.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from tidemill.core.errors import Failed, TidemillError
from tidemill.traces.store import TraceStore, pack_payload
from tidemill.traces.types import SpanRecord, TraceQueueFull, TracesClosed, WriterState

log = logging.getLogger("tidemill.traces")

GROUP_SPANS = 1000
"""Spans in one commit, about; a request is never split."""

Prepare = Callable[[Sequence[SpanRecord]], None]
"""Changes records in place before they are stored, such as masking and cost. Runs in the writer's thread."""


@dataclass(slots=True)
class _Submission:
    records: Sequence[SpanRecord]
    size: int
    loop: asyncio.AbstractEventLoop | None
    done: "asyncio.Future[None] | Future[None]"


class TraceWriter:
    """Group commits in one thread behind a bounded queue. Starts with the first span; `close` writes what is queued."""

    def __init__(self, store: TraceStore, prepare: Sequence[Prepare] = ()) -> None:
        self.store = store
        self.prepare = list(prepare)
        self._capacity = store.settings.trace_queue_spans
        self._capacity_bytes = store.settings.trace_queue_bytes
        self._queue: deque[_Submission] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._stored = 0
        self._refused = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def state(self) -> WriterState:
        """Return counts since the start."""
        return WriterState(stored=self._stored, waiting=self._queued, refused=self._refused)

    def is_alive(self) -> bool:
        """Return whether spans are stored: the thread begins with the first ones."""
        return self._thread is None or self._thread.is_alive()

    def submit(self, records: Sequence[SpanRecord], size: int) -> "asyncio.Future[None]":
        """Queue spans of `size` bytes, as they were sent; the future ends once they are committed.

        Raises TraceQueueFull, TracesClosed at once.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._put(_Submission(records, size, loop, done))
        return done

    def write(self, records: Sequence[SpanRecord]) -> None:
        """Store spans and wait until they are committed."""
        done: Future[None] = Future()
        size = sum(len(pack_payload(record.payload)) for record in records)
        self._put(_Submission(records, size, None, done))
        done.result()

    def close(self) -> None:
        """Write what is queued, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _put(self, submission: _Submission) -> None:
        count = len(submission.records)
        with self._changed:
            if self._closing:
                raise TracesClosed("The server is stopping.", hint="Send the spans again in a moment.")
            # A request alone is always accepted: one that is larger than the queue could never come in otherwise.
            if self._queued and (
                self._queued + count > self._capacity or self._queued_bytes + submission.size > self._capacity_bytes
            ):
                self._refused += count
                raise TraceQueueFull(
                    f"{self._queued} spans of {self._queued_bytes} bytes wait to be stored already.",
                    hint="Send them again in a second.",
                )
            self._queued += count
            self._queued_bytes += submission.size
            self._queue.append(submission)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="traces-writer", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._changed.wait()
                group = self._next_group()
            self._store(group)

    def _next_group(self) -> list[_Submission]:
        group = [self._queue.popleft()]
        count = len(group[0].records)
        while self._queue and count + len(self._queue[0].records) <= GROUP_SPANS:
            group.append(self._queue.popleft())
            count += len(group[-1].records)
        return group

    def _store(self, group: list[_Submission]) -> None:
        began = time.perf_counter()
        error = self._commit(group)
        if isinstance(error, TidemillError) or error is None or len(group) == 1:
            self._notify(group, error)
        else:
            # One request holds something that cannot be stored: the others are stored without it.
            for submission in group:
                self._notify([submission], self._commit([submission]))
        log.debug("stored a group of %d requests in %.1f ms", len(group), (time.perf_counter() - began) * 1000)

    def _commit(self, group: list[_Submission]) -> Exception | None:
        records = [record for submission in group for record in submission.records]
        try:
            for prepare in self.prepare:
                prepare(records)
            self._stored += self.store.write(records)
        except TidemillError as error:
            log.error("%d spans cannot be stored now: %s", len(records), error.message)
            return error
        except Exception as error:
            # Whatever it is, the senders must learn that nothing was stored, and the writer must go on.
            log.exception("%d spans cannot be stored", len(records))
            return error
        return None

    def _notify(self, group: list[_Submission], error: Exception | None) -> None:
        with self._changed:
            self._queued -= sum(len(submission.records) for submission in group)
            self._queued_bytes -= sum(submission.size for submission in group)
        if error is not None and not isinstance(error, TidemillError):
            error = Failed("The spans could not be stored.", hint="The server's log says why.")
        by_loop: dict[asyncio.AbstractEventLoop | None, list[_Submission]] = {}
        for submission in group:
            by_loop.setdefault(submission.loop, []).append(submission)
        for loop, submissions in by_loop.items():
            if loop is None:
                _complete(submissions, error)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(_complete, submissions, error)


def _complete(group: list[_Submission], error: Exception | None) -> None:
    for submission in group:
        if submission.done.done():
            continue
        if error is None:
            submission.done.set_result(None)
        else:
            submission.done.set_exception(error)
