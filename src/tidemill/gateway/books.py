"""The books: every call becomes a span, and a caller has its full reply only once the span is committed."""

import asyncio
import logging
from collections import deque

from tidemill.core.errors import StorageFull, TidemillError, Unavailable
from tidemill.gateway.types import Books
from tidemill.traces.service import TraceWriter
from tidemill.traces.types import SpanRecord

log = logging.getLogger("tidemill.gateway")

CAPACITY = 10_000
"""Calls kept while the store is down; beyond it the oldest are lost, counted and logged."""
RETRY_S = 1.0
GROUP = 256

PASSING = (Unavailable, StorageFull)
"""What may be over at the next attempt. Whatever else the store says of a call, it will say again."""

Entry = tuple[SpanRecord, "asyncio.Future[None]"]


class Bookkeeper:
    """Hands calls to the trace writer, and keeps those that it cannot take now.

    `patience_s` is how long a reply waits for its entry: a store that is down must not keep answers back.
    """

    def __init__(self, writer: TraceWriter, patience_s: float = 1.0) -> None:
        self._writer = writer
        self._patience_s = patience_s
        self._backlog: deque[Entry] = deque()
        self._retrying: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Future[None]] = set()
        self._recorded = 0
        self._lost = 0
        self._closing = asyncio.Event()

    @property
    def state(self) -> Books:
        """Counts since the start."""
        return Books(recorded=self._recorded, waiting=len(self._under_way) + len(self._backlog), lost=self._lost)

    async def record(self, span: SpanRecord) -> None:
        """Enter a call and wait until it is committed, for a moment at most."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        entry = (span, written)
        try:
            done = self._writer.submit([span])
        except TidemillError as error:
            self._keep(entry, error)
        else:
            self._under_way.add(done)
            done.add_done_callback(lambda done: self._told(entry, done))
        # A timer of one's own costs a third of what asyncio.wait does, and every reply passes here.
        patience = loop.call_later(self._patience_s, _release, entry)
        try:
            await written
        finally:
            patience.cancel()

    async def close(self) -> None:
        """Wait for what the writer has, hand over what waits, once more, and stop."""
        self._closing.set()
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._retrying is not None:
            await self._retrying
        while self._backlog:
            self._lose(self._backlog.popleft())

    def _told(self, entry: Entry, done: "asyncio.Future[None]") -> None:
        self._under_way.discard(done)
        if done.cancelled():
            self._keep(entry, Unavailable("The writer stopped."))
            return
        error = done.exception()
        if error is None:
            self._recorded += 1
            _release(entry)
        elif isinstance(error, PASSING):
            self._keep(entry, error)
        else:
            log.error("call %s was answered but cannot be recorded: %s", entry[0].response_id, error)
            self._lose(entry)

    def _keep(self, entry: Entry, error: TidemillError) -> None:
        """The store is away, full or busy: try again in a while."""
        if not self._backlog:
            log.error("calls wait to be recorded: %s", error.message)
        self._backlog.append(entry)
        while len(self._backlog) > CAPACITY:
            self._lose(self._backlog.popleft())
        if self._retrying is None or self._retrying.done():
            self._retrying = asyncio.get_running_loop().create_task(self._retry())

    async def _retry(self) -> None:
        while self._backlog:
            try:
                await asyncio.wait_for(self._closing.wait(), RETRY_S)
            except TimeoutError:
                log.debug("%d calls are tried again", len(self._backlog))
            if not await self._hand_over() and self._closing.is_set():
                return

    async def _hand_over(self) -> bool:
        """Write the backlog in groups; False when the store takes nothing yet."""
        while self._backlog:
            group = [self._backlog[at] for at in range(min(GROUP, len(self._backlog)))]
            try:
                await self._writer.submit([span for span, _ in group])
            except PASSING as error:
                log.error("%d calls wait to be recorded: %s", len(self._backlog), error.message)
                return False
            except TidemillError:
                await self._one_by_one(group)
            else:
                self._recorded += len(group)
                self._drop(group)
        log.info("every call that waited is recorded")
        return True

    async def _one_by_one(self, group: list[Entry]) -> None:
        """One of a group cannot be stored whatever is done: the others must not be lost for it."""
        self._drop(group, written=False)
        for entry in group:
            try:
                done = self._writer.submit([entry[0]])
            except PASSING as error:
                self._keep(entry, error)
                continue
            self._under_way.add(done)
            await asyncio.wait([done])
            self._told(entry, done)

    def _drop(self, group: list[Entry], *, written: bool = True) -> None:
        """Take a group out of the backlog, of which the oldest may have been lost meanwhile."""
        gone = {id(entry) for entry in group}
        self._backlog = deque(entry for entry in self._backlog if id(entry) not in gone)
        for entry in group if written else []:
            _release(entry)

    def _lose(self, entry: Entry) -> None:
        self._lost += 1
        log.error("call %s lost, %d since the start", entry[0].response_id, self._lost)
        _release(entry)


def _release(entry: Entry) -> None:
    if not entry[1].done():
        entry[1].set_result(None)
