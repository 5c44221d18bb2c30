"""The books keep every call, many in one transaction, and never keep an answer back for long."""

import asyncio
import time
from datetime import UTC, datetime

from tidemill.core.context import OWNER, SYSTEM
from tidemill.core.kernel import Kernel
from tidemill.core.wire import new_id
from tidemill.gateway import service
from tidemill.gateway.books import Bookkeeper
from tidemill.gateway.types import Call


def call(**more: object) -> Call:
    now = datetime.now(UTC)
    values = dict.fromkeys(Call.model_fields) | {
        "id": new_id("chatcmpl").replace("_", "-"),
        "request_id": new_id("req"),
        "model": "dev/hello",
        "caller_id": "per_1",
        "caller_name": "vera",
        "stream": False,
        "status": "ok",
        "http_status": 200,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "cached_tokens": 0,
        "overrides": [],
        "attempts": 1,
        "latency_ms": 5.0,
        "started_at": now,
        "ended_at": now,
    }
    return Call.model_validate(values | more)


def test_every_call_is_written_before_its_record_returns(kernel: Kernel) -> None:
    async def run() -> int:
        books = Bookkeeper(kernel)
        made = [call() for _ in range(300)]
        await asyncio.gather(*(books.record(c) for c in made))
        assert (books.state.recorded, books.state.waiting, books.state.lost) == (300, 0, 0)
        await books.close()
        return len(made)

    count = asyncio.run(run())
    with kernel.look(OWNER) as ctx:
        found = service.listing(ctx, caller="vera", limit=500).items
    assert len(found) == count
    assert [c.id for c in found] == sorted((c.id for c in found), reverse=True)


def test_a_held_database_delays_an_answer_by_a_second_and_loses_nothing(kernel: Kernel) -> None:
    made = call()

    async def run() -> float:
        books = Bookkeeper(kernel)
        with kernel.work(SYSTEM) as ctx:
            ctx.conn.exec_driver_sql("LOCK TABLE gateway_calls" if not kernel.db.is_sqlite else "SELECT 1")
            began = time.monotonic()
            await books.record(made)
            took = time.monotonic() - began
            assert books.state.waiting == 1
        await books.close()
        assert (books.state.recorded, books.state.lost) == (1, 0)
        return took

    assert 0.9 < asyncio.run(run()) < 3
    with kernel.look(OWNER) as ctx:
        assert service.get(ctx, made.id).model_dump() == made.model_dump()


def test_an_entry_that_cannot_be_written_is_counted_and_the_others_are_kept(kernel: Kernel) -> None:
    good, bad = call(), call(deployment_id="dep_nothing_like_it")

    async def run() -> None:
        books = Bookkeeper(kernel)
        await asyncio.gather(books.record(good), books.record(bad))
        await books.close()
        assert (books.state.recorded, books.state.lost) == (1, 1)

    asyncio.run(run())
    with kernel.look(OWNER) as ctx:
        assert [c.id for c in service.listing(ctx).items] == [good.id]
