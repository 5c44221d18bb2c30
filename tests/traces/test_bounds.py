"""What waits is bounded in bytes, and who comes too much hears when to come again."""

import asyncio
from typing import Any

import pytest

from tests.gateway.test_upstream import HEAD, engine
from tests.traces.makers import NOON, call, context, record, write
from tests.traces.otlp_requests import PROTOBUF, request
from tidemill.core.asgi import LOCAL_SCOPE
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.gateway.asgi import GatewayApp
from tidemill.gateway.call_recorder import CallRecorder
from tidemill.gateway.types import ShadowResult, Usage
from tidemill.gateway.upstream import Upstream
from tidemill.jobs import log_buffer, store
from tidemill.jobs.log_buffer import LogBuffer
from tidemill.rollouts import shadow
from tidemill.rollouts.shadow import ShadowSampler
from tidemill.traces import service
from tidemill.traces.masking.masker import build_mask
from tidemill.traces.receiver import OtlpReceiver
from tidemill.traces.service import TraceStore, TraceWriter
from tidemill.traces.types import TraceQueueFull
from tidemill.traces.types.masking import MaskingRule

Sent = tuple[int, dict[bytes, bytes]]


async def post(app: Any, path: str, parts: list[bytes], headers: dict[str, str], stop: asyncio.Event) -> Sent:
    """Send a request in parts, and stop before the last one until the event; return status and headers."""
    waiting, started = list(parts), dict[str, Any]()

    async def receive() -> dict[str, Any]:
        if len(waiting) == 1:
            await stop.wait()
        if not waiting:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: dict[str, Any]) -> None:
        started.update({"status": message["status"], "headers": message["headers"]} if "status" in message else {})

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": "POST", "path": path, "headers": raw, LOCAL_SCOPE: True}, receive, send)
    return started["status"], dict(started["headers"])


async def several(app: Any, path: str, body: bytes, headers: dict[str, str], count: int) -> list[Sent]:
    """Send so many requests at once, whose bodies are all inside before the first one ends."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(post(app, path, [body[:-1], body[-1:]], headers, stop)) for _ in range(count)]
    await asyncio.sleep(0.1)
    stop.set()
    return await asyncio.gather(*tasks)


def test_bodies_of_spans_are_bounded_together(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    body = request(1, attributes={"note": "x" * 1000}).SerializeToString()
    settings = kernel.settings.model_copy(update={"trace_queue_bytes": 3 * len(body)})
    monkeypatch.setattr(kernel.get(TraceStore), "settings", settings)
    receiver = OtlpReceiver(None, kernel.get(TraceWriter))  # type: ignore[arg-type]
    replies = asyncio.run(several(receiver, "/v1/traces", body, PROTOBUF, 10))
    assert sorted(status for status, _ in replies) == [200] * 3 + [503] * 7
    assert {headers.get(b"retry-after") for status, headers in replies if status == 503} == {b"1"}
    assert receiver._budget.used_bytes == 0
    ((status, _),) = asyncio.run(several(receiver, "/v1/traces", body, PROTOBUF, 1))
    assert status == 200


def test_spans_that_wait_are_bounded_in_bytes(kernel: Kernel) -> None:
    writer = TraceWriter(kernel.get(TraceStore))
    writer._capacity_bytes = 1000

    async def fill() -> None:
        writer._thread = writer_thread  # type: ignore[assignment]
        for number in range(2):
            writer.submit([record(number + 1, start=NOON)], 500)
        with pytest.raises(TraceQueueFull, match="1000 bytes"):
            writer.submit([record(3, start=NOON)], 1)
        writer._next_group()
        writer._queued_bytes, writer._queued = 0, 0
        writer.submit([record(4, start=NOON)], 5000)  # alone it is taken

    writer_thread = object()
    asyncio.run(fill())


def test_bodies_of_calls_are_bounded_together(kernel: Kernel) -> None:
    async def run() -> list[Sent]:
        recorder = CallRecorder(kernel.get(TraceWriter))
        async with engine(HEAD) as (target, _):
            gateway = GatewayApp(None, _Replica(target), recorder, Upstream(0.3), 2**20, 250)  # type: ignore[arg-type]
            replies = await several(gateway, "/v1/chat/completions", BODY, {}, 5)
            await gateway.stop()
        return replies

    BODY = b'{"model": "m", "messages": [{"role": "user", "content": "' + b"x" * 40 + b'"}]}'
    replies = asyncio.run(run())
    assert sorted(status for status, _ in replies) == [503, 503, 503, 504, 504]
    assert all(headers[b"retry-after"] == b"1" for status, headers in replies if status == 503)


class _Replica:
    def __init__(self, target: Any) -> None:
        self.target = target

    async def acquire(self, *_: Any) -> "_Replica":
        return self

    def release(self, *, broken: bool = False) -> None:
        return


def test_shadow_copies_that_wait_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "MAX_PENDING_BYTES", 1000)
    sampler = ShadowSampler("ro_1", None, lambda: None)  # type: ignore[arg-type]
    for number in range(9):
        sampler._keep(_result(number, 300))
    assert [result.call_id for result in sampler.drain()] == ["6", "7", "8"]
    sampler._keep(_result(9, 5000))
    assert len(sampler.drain()) == 1
    assert sampler.drain() == []


def _result(number: int, size: int) -> ShadowResult:
    return ShadowResult(
        call_id=str(number), input=(), live="", live_ms=1, text="", ms=1, usage=Usage(), user=None, session=None,
        error=None, size=size,
    )  # fmt: skip


def test_lines_of_a_job_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_buffer, "MAX_CHARS", 100)
    buffer = LogBuffer()
    for _ in range(2):
        for number in range(5):
            buffer.add(store.Note(job_id="j", at=utc_now(), level="info", message=f"{number}" * 30, data={"a": 1}))
        with pytest.raises(ZeroDivisionError), buffer.taken() as notes:
            raise ZeroDivisionError  # the database is away
    with buffer.taken() as notes:
        assert [note.message[:2] for note in notes.lines[:-1]] == ["00", "11"]
        assert notes.lines[-1].message.startswith("8 lines were left out")
    with buffer.taken() as notes:
        assert notes.lines == []


def test_long_keys_are_masked_and_not_cached() -> None:
    rule = MaskingRule.model_construct(keys=["secret*"], kinds=[], pattern=None, replacement="[MASKED]")
    mask = build_mask([], [rule], content=True, salt="", regions=())
    long_key = "secret" + "x" * 10_000
    assert mask.mask_value({long_key: "a", "secret": "b", "open": "c"}) == {
        long_key: "[MASKED]", "secret": "[MASKED]", "open": "c",
    }  # fmt: skip
    assert set(mask._replacements) == {"secret", "open"}


def test_a_session_of_a_trace_without_a_root_has_a_trace(kernel: Kernel) -> None:
    """The caller sent the gateway a `traceparent`, and no spans of its own."""
    write(
        kernel,
        call(1, trace=1, parent=9, start=NOON, session="s", user="ada"),
        call(2, trace=2, parent=9, start=NOON, session="s", user="ada"),
        record(3, trace=3, start=NOON, session="s", user="ada"),
        call(4, trace=3, parent=3, start=NOON, session="s", user="ada"),
        call(5, trace=4, parent=8, start=NOON, session="t", user="bob"),
    )
    ask = context(kernel)
    assert {(one.session, one.traces, one.calls) for one in service.list_sessions(ask).items} == {
        ("s", 3, 3), ("t", 1, 1),
    }  # fmt: skip
    (ada, bob) = kernel.get(TraceStore).list_users(utc_now().replace(year=2026, month=1), None, 10)
    assert (ada.traces, ada.calls, bob.traces, bob.calls) == (3, 3, 1, 1)
