"""The call recorder stores every call, many in one transaction, and never delays an answer for long."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from tidemill.core.actors import OWNER, Actor
from tidemill.core.kernel import Kernel
from tidemill.core.wire import new_id, utc_now
from tidemill.gateway import service
from tidemill.gateway.call_recorder import CallRecorder
from tidemill.gateway.chat_request import parse_request
from tidemill.gateway.request_metadata import RequestMetadata
from tidemill.gateway.spans import CallProgress, build_span
from tidemill.gateway.types import CallNotFound, ReplicaTarget, Status
from tidemill.traces.store import TraceStore
from tidemill.traces.types import SpanRecord, TracesUnavailable
from tidemill.traces.writer import TraceWriter

VERA = Actor(id="per_1", name="vera", roles=frozenset({"viewer"}), key_id="key_1")
TARGET = ReplicaTarget(
    base_url="http://127.0.0.1:1",
    replica_id="rep_1",
    label="hello@1",
    model_version_id="mv_1",
    release_id="rel_1",
    environment="dev",
    deployment_id="dep_1",
    prompt_ref="greet@2",
)


def call(
    actor: Actor = VERA, status: Status = "ok", *, back: timedelta = timedelta(0), target: ReplicaTarget = TARGET
) -> SpanRecord:
    progress = CallProgress(target=target, attempts=1)
    choice = {"index": 0, "delta": {"content": "Hello."}, "finish_reason": "stop"}
    progress.answer.add({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    digits = new_id("x").removeprefix("x_")
    return build_span(
        f"chatcmpl-{digits}",
        f"req_{digits}",
        actor,
        RequestMetadata(trace_id=b"t" * 16),
        parse_request(
            b'{"model": "dev/hello", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}', "anna"
        ),
        progress,
        start_ns=int((utc_now() - back).timestamp() * 1e9),
        elapsed_ms=5.0,
        status=status,
        http_status=200,
        error=None,
    )


@pytest.fixture
def recorder(kernel: Kernel) -> Iterator[CallRecorder]:
    yield CallRecorder(kernel.get(TraceWriter))
    kernel.get(TraceWriter).close()


@contextmanager
def away(kernel: Kernel, error: Exception) -> Iterator[None]:
    """A store that takes nothing: what a full disk or a lost database looks like to the writer."""
    store = kernel.get(TraceStore)

    def refuse(_records: object) -> int:
        raise error

    store.write = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        del store.write


@pytest.fixture
def patient(kernel: Kernel) -> Iterator[CallRecorder]:
    """One that waits for its entries however long a loaded machine takes for them."""
    yield CallRecorder(kernel.get(TraceWriter), 120)
    kernel.get(TraceWriter).close()


def test_every_call_is_written_before_its_record_returns(kernel: Kernel, patient: CallRecorder) -> None:
    spans = [call() for _ in range(300)]

    async def run() -> None:
        await asyncio.gather(*(patient.record(c) for c in spans))
        assert (patient.stats.recorded, patient.stats.waiting, patient.stats.lost) == (300, 0, 0)
        await patient.close()

    asyncio.run(run())
    with kernel.read(OWNER) as ctx:
        calls = service.list_calls(ctx, caller="vera", limit=500).items
        assert [c.id for c in calls] == sorted((c.response_id for c in spans), reverse=True)
        one = service.get(ctx, spans[7].response_id)
        assert service.get(ctx, one.request_id) == one
        with pytest.raises(CallNotFound):
            service.get(ctx, "chatcmpl-none")
    assert (one.model, one.caller_name, one.status, one.release_id, one.prompt) == (
        "dev/hello",
        "vera",
        "ok",
        "rel_1",
        "greet@2",
    )
    assert (one.prompt_tokens, one.completion_tokens, one.finish_reason, one.user) == (3, 4, "stop", "anna")
    assert (one.key_id, one.caller_id, one.model_version_id) == ("key_1", "per_1", "mv_1")


def test_a_store_that_is_away_delays_an_answer_by_a_second_and_loses_nothing(
    kernel: Kernel, recorder: CallRecorder
) -> None:
    spans = [call(), call()]

    async def run() -> None:
        with away(kernel, TracesUnavailable("The database is away.")):
            began = time.monotonic()
            await asyncio.gather(*(recorder.record(c) for c in spans))
            assert time.monotonic() - began > 0.9
            assert recorder.stats.waiting == 2
        await recorder.close()
        assert (recorder.stats.recorded, recorder.stats.lost, recorder.stats.waiting) == (2, 0, 0)

    asyncio.run(run())
    with kernel.read(OWNER) as ctx:
        assert {c.id for c in service.list_calls(ctx).items} == {c.response_id for c in spans}


def test_a_store_that_comes_back_gets_what_waited_without_being_asked(kernel: Kernel, recorder: CallRecorder) -> None:
    async def run() -> None:
        with away(kernel, TracesUnavailable("The database is away.")):
            await recorder.record(call())
        async with asyncio.timeout(120):
            while not recorder.stats.recorded:
                await asyncio.sleep(0.02)
        assert (recorder.stats.recorded, recorder.stats.waiting) == (1, 0)
        await recorder.close()

    asyncio.run(run())


def test_an_entry_that_cannot_be_written_is_counted_and_the_others_are_kept(
    kernel: Kernel, patient: CallRecorder
) -> None:
    good, bad = call(), call()
    bad.duration_ns = "long"  # type: ignore[assignment]

    async def run() -> None:
        await asyncio.gather(patient.record(good), patient.record(bad))
        await patient.close()
        assert (patient.stats.recorded, patient.stats.lost) == (1, 1)

    asyncio.run(run())
    with kernel.read(OWNER) as ctx:
        assert [c.id for c in service.list_calls(ctx).items] == [good.response_id]


def test_one_that_cannot_be_written_does_not_hold_up_those_that_wait_with_it(
    kernel: Kernel, recorder: CallRecorder
) -> None:
    good, bad, other = call(), call(), call()
    bad.duration_ns = "long"  # type: ignore[assignment]

    async def run() -> None:
        with away(kernel, TracesUnavailable("The database is away.")):
            await asyncio.gather(*(recorder.record(span) for span in (good, bad, other)))
        await recorder.close()
        assert (recorder.stats.recorded, recorder.stats.lost, recorder.stats.waiting) == (2, 1, 0)

    asyncio.run(run())


def test_calls_are_listed_by_what_is_known_of_them_and_in_pages(kernel: Kernel) -> None:
    other = Actor(id="per_2", name="olga", roles=frozenset({"viewer"}))
    elsewhere = ReplicaTarget(
        base_url="", replica_id="rep_2", label="bye@1", model_version_id="mv_2", environment="prod"
    )
    spans = [call(), call(other), call(status="error"), call(status="aborted"), call(target=elsewhere), call()]
    kernel.get(TraceWriter).write(spans)
    ids = [record.response_id for record in spans]

    with kernel.read(OWNER) as ctx:
        assert [c.id for c in service.list_calls(ctx, caller="olga").items] == [ids[1]]
        assert [c.id for c in service.list_calls(ctx, status="aborted").items] == [ids[3]]
        assert [c.id for c in service.list_calls(ctx, status="error").items] == [ids[2]]
        assert [c.id for c in service.list_calls(ctx, environment="prod").items] == [ids[4]]
        assert len(service.list_calls(ctx, release_id="rel_1").items) == 5
        assert service.list_calls(ctx, since=utc_now() + timedelta(hours=1)).items == []
        listed_ids: list[str] = []
        cursor = None
        for _ in range(4):
            page = service.list_calls(ctx, limit=2, cursor=cursor)
            listed_ids += [c.id for c in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert listed_ids == ids[::-1]


def test_a_call_is_found_beside_the_applications_own_span(kernel: Kernel) -> None:
    span = call()
    twin = SpanRecord(
        trace_id=b"u" * 16,
        span_id=b"s" * 8,
        name="ChatCompletion",
        start_ns=span.start_ns,
        duration_ns=10**7,
        kind="llm",
        response_id=span.response_id,
    )
    kernel.get(TraceWriter).write([twin])
    kernel.get(TraceWriter).write([span])
    with kernel.read(OWNER) as ctx:
        assert service.get(ctx, span.response_id).caller_name == "vera"


def test_what_answered_a_call_is_told_for_the_lineage(kernel: Kernel) -> None:
    bare = ReplicaTarget(base_url="", replica_id="rep_2", label="smollm2@1", model_version_id="mv_2")
    spans = [call(), call(target=bare)]
    kernel.get(TraceWriter).write(spans)
    with kernel.read(OWNER) as ctx:
        results = [service.origins(ctx, record.response_id) for record in spans]
        assert service.origins(ctx, "chatcmpl-none") is None
    assert [origins for _, origins in results] == [["dep_1", "rel_1"], ["mv_2"]]
    assert results[0][0].label == "answer to vera by dev/hello"
