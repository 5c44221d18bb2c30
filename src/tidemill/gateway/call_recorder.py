"""Records every call as a span: a client has its full response only once the span is committed."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.core.errors import StorageFull, TidemillError, Unavailable
from tidemill.gateway.call_journal import CallJournal
from tidemill.gateway.types import RecorderStats
from tidemill.traces.service import TraceWriter
from tidemill.traces.types import SpanRecord

log = logging.getLogger("tidemill.gateway")

BACKLOG_CAPACITY, BACKLOG_BYTES = 10_000, 64 << 20
"""Calls kept in memory while the store is down, and the bytes of their requests and answers.

Beyond either the oldest are lost, counted and logged.
"""
RETRY_S = 1.0
BATCH_SIZE = 256

TRANSIENT_ERRORS = (Unavailable, StorageFull)
"""Errors that may be over at the next attempt. Any other error of the store is final for that call."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingCall:
    """A call that is not recorded yet."""

    span: SpanRecord
    written: "asyncio.Future[None]"
    size: int
    """Bytes of its request and its answer, about."""


class CallRecorder:
    """Submits calls to the trace writer, and retries those that it cannot take now.

    `timeout_s` is how long a response waits for its call to be committed: a store that is down must not delay answers.
    """

    def __init__(self, writer: TraceWriter, timeout_s: float = 1.0, journal: CallJournal | None = None) -> None:
        self._writer = writer
        self._journal = journal
        self._timeout_s = timeout_s
        self._backlog: deque[PendingCall] = deque()
        self._backlog_bytes = 0
        self._retrying: asyncio.Task[None] | None = None
        self._in_flight: set[asyncio.Future[None]] = set()
        self._recorded = 0
        self._lost = 0
        self._closing = asyncio.Event()

    @property
    def stats(self) -> RecorderStats:
        """Return how many calls were recorded, wait and were lost since the start."""
        waiting = len(self._in_flight) + len(self._backlog)
        return RecorderStats(recorded=self._recorded, waiting=waiting, lost=self._lost)

    def begin(self, span: SpanRecord) -> None:
        """Note a call that has begun: if this process ends before it is recorded, the next one records this span."""
        if self._journal is not None:
            self._journal.begin(span)

    def recover(self) -> None:
        """Record the calls that an earlier process began and did not record. Call it once, on the event loop."""
        if self._journal is None:
            return
        try:
            spans = self._journal.open()
        except OSError as error:
            log.error("calls that this server begins are not noted before they are over: %s", error)
            return
        for span in spans:
            self._submit(PendingCall(span, asyncio.get_running_loop().create_future(), 0))
        if spans:
            log.warning("%d calls that an earlier server began and did not end are recorded as unfinished", len(spans))

    async def record(self, span: SpanRecord, request_size: int = 0) -> None:
        """Submit a call and return once it is committed, or after `timeout_s`; it is retried after that.

        `request_size` is that of its request in bytes.
        """
        loop = asyncio.get_running_loop()
        pending = PendingCall(span, loop.create_future(), request_size + _answer_size(span))
        self._submit(pending)
        # A timer of one's own costs a third of what asyncio.wait does, and every response waits here.
        timer = loop.call_later(self._timeout_s, _release, pending)
        try:
            await pending.written
        finally:
            timer.cancel()

    def _submit(self, pending: PendingCall) -> None:
        try:
            done = self._writer.submit([pending.span], pending.size)
        except TidemillError as error:
            self._queue_retry(pending, error)
        else:
            self._in_flight.add(done)
            done.add_done_callback(lambda done: self._handle_result(pending, done))

    async def close(self) -> None:
        """Wait for what the writer has, submit what waits once more, and stop. What fails then is lost."""
        self._closing.set()
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        if self._retrying is not None:
            await self._retrying
        while self._backlog:
            self._discard(self._pop())
        if self._journal is not None:
            self._journal.close()

    def _handle_result(self, pending: PendingCall, done: "asyncio.Future[None]") -> None:
        self._in_flight.discard(done)
        if done.cancelled():
            self._queue_retry(pending, Unavailable("The writer stopped."))
            return
        error = done.exception()
        if error is None:
            self._finish([pending])
        elif isinstance(error, TRANSIENT_ERRORS):
            self._queue_retry(pending, error)
        else:
            log.error("call %s was answered but cannot be recorded: %s", pending.span.response_id, error)
            self._discard(pending)

    def _queue_retry(self, pending: PendingCall, error: TidemillError) -> None:
        """Keep a call for the next attempt: the store is away, full or busy."""
        if not self._backlog:
            log.error("calls wait to be recorded: %s", error.message)
        self._backlog.append(pending)
        self._backlog_bytes += pending.size
        while len(self._backlog) > BACKLOG_CAPACITY or (self._backlog_bytes > BACKLOG_BYTES and len(self._backlog) > 1):
            self._discard(self._pop())
        if self._retrying is None or self._retrying.done():
            self._retrying = asyncio.get_running_loop().create_task(self._retry())

    async def _retry(self) -> None:
        while self._backlog:
            try:
                await asyncio.wait_for(self._closing.wait(), RETRY_S)
            except TimeoutError:
                log.debug("%d calls are tried again", len(self._backlog))
            if not await self._flush_backlog() and self._closing.is_set():
                return

    async def _flush_backlog(self) -> bool:
        """Write the backlog in groups. Return False when the store takes nothing yet."""
        while self._backlog:
            group = [self._backlog[at] for at in range(min(BATCH_SIZE, len(self._backlog)))]
            try:
                await self._writer.submit([pending.span for pending in group], sum(pending.size for pending in group))
            except TRANSIENT_ERRORS as error:
                log.error("%d calls wait to be recorded: %s", len(self._backlog), error.message)
                return False
            except TidemillError:
                await self._write_singly(group)
            else:
                self._remove_group(group)
                self._finish(group)
        log.info("every call that waited is recorded")
        return True

    async def _write_singly(self, group: list[PendingCall]) -> None:
        """Write the calls of a group one at a time, so that one that cannot be stored does not lose the others."""
        self._remove_group(group)
        for pending in group:
            try:
                done = self._writer.submit([pending.span], pending.size)
            except TRANSIENT_ERRORS as error:
                self._queue_retry(pending, error)
                continue
            self._in_flight.add(done)
            await asyncio.wait([done])
            self._handle_result(pending, done)

    def _remove_group(self, group: list[PendingCall]) -> None:
        """Remove a group from the backlog, of which the oldest may have been discarded meanwhile."""
        group_ids = {id(pending) for pending in group}
        self._backlog = deque(pending for pending in self._backlog if id(pending) not in group_ids)
        self._backlog_bytes = sum(pending.size for pending in self._backlog)

    def _pop(self) -> PendingCall:
        pending = self._backlog.popleft()
        self._backlog_bytes -= pending.size
        return pending

    def _finish(self, group: Sequence[PendingCall]) -> None:
        """Count calls that are recorded, and let their responses go."""
        self._recorded += len(group)
        for pending in group:
            self._forget(pending)

    def _forget(self, pending: PendingCall) -> None:
        if self._journal is not None:
            self._journal.end(pending.span.span_id)
        _release(pending)

    def _discard(self, pending: PendingCall) -> None:
        self._lost += 1
        log.error("call %s lost, %d since the start", pending.span.response_id, self._lost)
        self._forget(pending)


def _release(pending: PendingCall) -> None:
    if not pending.written.done():
        pending.written.set_result(None)


def _answer_size(span: SpanRecord) -> int:
    """Return the characters of an answer, without its tool calls and reasoning twice over."""
    output = span.payload.output
    if not isinstance(output, list):
        return 0
    return sum(len(text) for message in output for text in message.values() if isinstance(text, str))
