"""The books: every call is written in group commits, and a caller has its full reply only once it is written."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from tidemill.core.context import SYSTEM
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.gateway import service
from tidemill.gateway.types import Books, Call

log = logging.getLogger("tidemill.gateway")

GROUP = 256
PATIENCE_S = 1.0
"""How long a reply waits for its entry. A database that is down must not keep answers back."""
CAPACITY = 10_000
"""Calls kept while the database is down; beyond it the oldest are lost, counted and logged."""
RETRY_S = 1.0

Entry = tuple[Call, "asyncio.Future[None]"]


class Bookkeeper:
    """Writes calls in the order they end, many in one transaction."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: list[Entry] = []
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-books")
        self._recorded = 0
        self._lost = 0
        self._closing = False

    @property
    def state(self) -> Books:
        """Counts since the start."""
        return Books(recorded=self._recorded, waiting=len(self._waiting), lost=self._lost)

    async def record(self, call: Call) -> None:
        """Enter a call and wait until it is written, for one second at most."""
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_on())
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, written))
        while len(self._waiting) > CAPACITY:
            self._lose(self._waiting.pop(0))
        self._wake.set()
        await asyncio.wait([written], timeout=PATIENCE_S)

    async def close(self) -> None:
        """Write what waits, try it once, and stop."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
        self._thread.shutdown()

    async def _write_on(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if not await self._write_group() and not self._closing:
                    await asyncio.sleep(RETRY_S)
            if self._closing:
                return

    async def _write_group(self) -> bool:
        group = self._waiting[:GROUP]
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._commit, [call for call, _ in group])
        except TidemillError as error:
            # The database is away or busy: keep the group and try again. At the end there is no later.
            log.error("%d calls wait to be recorded: %s", len(self._waiting), error.message)
            if self._closing:
                self._drop(group)
            return False
        except Exception:
            log.exception("a group of %d calls cannot be recorded; trying one by one", len(group))
            await self._write_singly(group)
            return True
        self._done(group)
        return True

    async def _write_singly(self, group: list[Entry]) -> None:
        loop = asyncio.get_running_loop()
        for entry in group:
            try:
                await loop.run_in_executor(self._thread, self._commit, [entry[0]])
            except Exception:
                log.exception("call %s was answered but cannot be recorded", entry[0].id)
                self._drop([entry])
            else:
                self._done([entry])

    def _commit(self, batch: list[Call]) -> None:
        with self._kernel.work(SYSTEM) as ctx:
            service.record(ctx, batch)

    def _done(self, group: list[Entry]) -> None:
        self._forget(group)
        self._recorded += len(group)

    def _drop(self, group: list[Entry]) -> None:
        self._forget(group)
        self._lost += len(group)
        log.error("%d calls lost, %d since the start", len(group), self._lost)

    def _forget(self, group: list[Entry]) -> None:
        gone = {id(written) for _, written in group}
        self._waiting = [entry for entry in self._waiting if id(entry[1]) not in gone]
        for _, written in group:
            if not written.done():
                written.set_result(None)

    def _lose(self, entry: Entry) -> None:
        self._lost += 1
        log.error("call %s lost: %d wait already; %d lost since the start", entry[0].id, CAPACITY, self._lost)
        if not entry[1].done():
            entry[1].set_result(None)
