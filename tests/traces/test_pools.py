"""Connections to PostgreSQL: many requests at once, and a pool that is in use as a whole."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
import sqlalchemy as sa

from tests.pools import NestedCheckouts
from tests.traces.makers import NOON, call, write
from tests.traces.test_layouts import on_postgres
from tidemill.core.http import InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.server.app import build_api
from tidemill.traces.service import TraceStore
from tidemill.traces.store.postgres import PostgresDayStore

__all__ = ["on_postgres"]

REQUESTS = 45
"""More than either pool has connections."""


def pools(kernel: Kernel) -> dict[str, sa.Engine]:
    days = kernel.get(TraceStore).days
    assert isinstance(days, PostgresDayStore)
    return {"main": kernel.db.engine, "traces": days.engine}


def test_more_listings_at_once_than_there_are_connections(on_postgres: Kernel) -> None:
    write(on_postgres, *(call(number, trace=number, start=NOON) for number in range(1, 6)))
    begun = threading.Barrier(REQUESTS)
    with httpx.Client(transport=InProcessTransport(build_api(on_postgres)), base_url="http://tidemill") as client:

        def list_traces(_: int) -> int:
            begun.wait(60)
            reply = client.get("/api/traces", params={"since": "2026-11-01T00:00:00Z"}, timeout=120)
            assert reply.status_code == 200, reply.text
            return len(reply.json()["items"])

        with ThreadPoolExecutor(REQUESTS) as threads:
            assert list(threads.map(list_traces, range(REQUESTS))) == [5] * REQUESTS


@pytest.mark.parametrize("name", ["main", "traces"])
def test_a_pool_in_use_is_503_and_says_when_to_try_again(
    on_postgres: Kernel, name: str, nested_checkouts: NestedCheckouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(on_postgres, call(1, start=NOON))
    engine = pools(on_postgres)[name]
    assert isinstance(engine.pool, sa.pool.QueuePool)
    monkeypatch.setattr(engine.pool, "_timeout", 0.05)
    with (
        ExitStack() as stack,
        httpx.Client(transport=InProcessTransport(build_api(on_postgres)), base_url="http://tidemill") as client,
    ):
        for _ in range(_capacity(engine.pool)):
            stack.callback(engine.raw_connection().close)
        assert len(nested_checkouts.stacks) == _capacity(engine.pool) - 1
        nested_checkouts.stacks.clear()
        reply = client.get("/api/traces")
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert "in use" in reply.json()["error"]["message"]


def _capacity(pool: sa.pool.QueuePool) -> int:
    return pool.size() + pool._max_overflow
