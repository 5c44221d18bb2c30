"""No thread takes a second connection of a pool beside its first: enough such threads wait for each other for good."""

import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa


class NestedCheckouts:
    """Watches all pools of the process; `stacks` says where a thread took a connection beside its first one."""

    def __init__(self) -> None:
        self.stacks: list[str] = []
        self._held: Counter[tuple[int, int]] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch until the end of the block."""
        sa.event.listen(sa.pool.Pool, "checkout", self._take)
        sa.event.listen(sa.pool.Pool, "checkin", self._give_back)
        try:
            yield
        finally:
            sa.event.remove(sa.pool.Pool, "checkout", self._take)
            sa.event.remove(sa.pool.Pool, "checkin", self._give_back)

    def _take(self, _connection: Any, record: Any, proxy: Any) -> None:
        holder = (id(proxy._pool), threading.get_ident())
        record.record_info["holder"] = holder
        with self._lock:
            self._held[holder] += 1
            if self._held[holder] > 1 and not _is_library(frames := traceback.extract_stack(limit=40)):
                self.stacks.append("".join(traceback.format_list(frames)))

    def _give_back(self, _connection: Any, record: Any) -> None:
        holder = record.record_info.pop("holder", None)
        if holder is not None:
            with self._lock:
                self._held[holder] -= 1


def _is_library(stack: traceback.StackSummary) -> bool:
    """Whether the library of durable jobs took the connection, from a pool of its own."""
    callers = (frame.filename for frame in reversed(stack[:-1]))
    return "/dbos/" in next((name for name in callers if "/sqlalchemy/" not in name and "contextlib" not in name), "")
