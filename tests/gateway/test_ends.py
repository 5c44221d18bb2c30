"""How a call ends, whoever ends it: caller, engine or the whole server. It is recorded once, with its figures."""

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.test_call_recorder import VERA, away, call
from tests.gateway.test_timeouts import HI, OneReplica
from tests.gateway.test_upstream import HEAD, engine
from tidemill.core.actors import OWNER
from tidemill.core.asgi import LOCAL_SCOPE
from tidemill.core.kernel import Kernel
from tidemill.gateway import call_recorder, service
from tidemill.gateway.accumulator import CompletionAccumulator, read_usage
from tidemill.gateway.asgi import GatewayApp
from tidemill.gateway.call_journal import SLOT_BYTES, SLOTS, CallJournal
from tidemill.gateway.call_recorder import CallRecorder
from tidemill.gateway.types import Call
from tidemill.gateway.upstream import Upstream
from tidemill.traces.service import TraceWriter
from tidemill.traces.types import SpanRecord, TracesUnavailable

PATIENCE_S = 120


def event(**payload: Any) -> bytes:
    """One event of an engine's stream."""
    data = f"data: {json.dumps(payload)}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def token(text: str | None, reason: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": reason}])


PROGRESS = event(
    choices=[{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}],
    prompt_progress={"total": 40, "cache": 8, "processed": 0, "time_ms": 0},
)
USAGE = event(choices=[], usage={"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42})
END = b"6\r\ndata: \r\n8\r\n[DONE]\n\n\r\n0\r\n\r\n"


def calls(kernel: Kernel) -> list[Call]:
    with kernel.read(OWNER) as ctx:
        return service.list_calls(ctx).items


async def ask(
    kernel: Kernel, *chunks: bytes, until: Callable[[bytes], bool], journal: CallJournal | None = None, **fields: Any
) -> bytes:
    """Ask over the gateway, and go away once what came fits. Return what came."""
    recorder = CallRecorder(kernel.get(TraceWriter), PATIENCE_S, journal)
    body = json.dumps({"model": "dev/hello", "messages": HI, **fields}).encode()
    gone, requested, received = asyncio.Event(), False, b""

    async def receive() -> dict[str, Any]:
        nonlocal requested
        if not requested:
            requested = True
            return {"type": "http.request", "body": body}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal received
        received += message.get("body", b"")
        if until(received):
            gone.set()
            await asyncio.sleep(0)

    async with engine(HEAD, *chunks) as (target, _):
        gateway = GatewayApp(None, OneReplica(target), recorder, Upstream(0.5), 2**20)  # type: ignore[arg-type]
        await gateway.start()
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [], LOCAL_SCOPE: True}
        await asyncio.wait_for(gateway(scope, receive, send), PATIENCE_S)  # type: ignore[arg-type]
        await gateway.stop()
    return received


@pytest.mark.parametrize("last", ["one", "stop"])
def test_a_caller_who_leaves_after_the_last_token_is_recorded_once(kernel: Kernel, last: str) -> None:
    """The end of the answer is being recorded when the caller goes, which must not record it again."""
    write, recording = kernel.get(TraceWriter).store.write, asyncio.Event()
    chunks = (PROGRESS, token("one"), token(None, "stop"), USAGE, END)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def write_slowly(records: list[SpanRecord]) -> int:
            loop.call_soon_threadsafe(recording.set)
            return write(records)

        kernel.get(TraceWriter).store.write = write_slowly  # type: ignore[method-assign, assignment]
        await ask(kernel, *chunks, until=lambda came: last.encode() in came, stream=True)

    asyncio.run(run())
    (recorded,) = calls(kernel)
    assert recorded.completion_tokens in (1, 2)
    assert recorded.status in ("ok", "aborted")
    assert (recorded.prompt_tokens, recorded.cached_tokens > 0) in ((40, True), (40, False))


def test_a_call_that_is_being_recorded_is_not_recorded_again(kernel: Kernel) -> None:
    """The caller goes in the very moment in which the whole answer waits for its commit."""

    async def run() -> None:
        gone = asyncio.Event()
        recorder = CallRecorder(kernel.get(TraceWriter), PATIENCE_S)
        record = recorder.record

        async def record_while_the_caller_goes(span: SpanRecord, size: int = 0) -> None:
            task = asyncio.ensure_future(record(span, size))
            await asyncio.sleep(0)
            gone.set()
            await task

        recorder.record = record_while_the_caller_goes  # type: ignore[method-assign]
        await _answer(kernel, recorder, gone, (token("one"), token(None, "stop"), USAGE, END))

    asyncio.run(run())
    (recorded,) = calls(kernel)
    assert (recorded.status, recorded.http_status, recorded.prompt_tokens) == ("ok", 200, 40)


async def _answer(kernel: Kernel, recorder: CallRecorder, gone: asyncio.Event, chunks: tuple[bytes, ...]) -> None:
    messages = [{"type": "http.request", "body": json.dumps({"model": "m", "messages": HI, "stream": True}).encode()}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        return

    async with engine(HEAD, *chunks) as (target, _):
        gateway = GatewayApp(None, OneReplica(target), recorder, Upstream(0.5), 2**20)  # type: ignore[arg-type]
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [], LOCAL_SCOPE: True}
        await asyncio.wait_for(gateway(scope, receive, send), PATIENCE_S)  # type: ignore[arg-type]
        await gateway.stop()


@pytest.mark.parametrize("stream", [True, False])
def test_a_call_that_breaks_off_has_the_tokens_of_its_prompt(kernel: Kernel, stream: bool) -> None:
    """The engine falls silent after two tokens: the caller of a stream has had them."""
    came = asyncio.run(ask(kernel, PROGRESS, token("one"), token("two"), until=lambda _: False, stream=stream))
    assert b"prompt_progress" not in came
    (recorded,) = calls(kernel)
    assert (recorded.status, recorded.prompt_tokens, recorded.cached_tokens) == ("error", 40, 8)
    assert recorded.completion_tokens == 2


def test_tokens_that_the_engine_never_told_are_not_known(kernel: Kernel) -> None:
    asyncio.run(ask(kernel, until=lambda _: False, stream=True))
    (recorded,) = calls(kernel)
    assert recorded.status == "error"
    assert recorded.prompt_tokens is None


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}, (7, 3, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 50}}, (7, 3, 7)),
        ({"prompt_tokens": -7, "completion_tokens": None, "prompt_tokens_details": None}, (0, 0, 0)),
        ({"prompt_tokens": "7", "completion_tokens": True, "prompt_tokens_details": {"cached_tokens": -1}}, (0, 0, 0)),
        ({"prompt_tokens": 10**30, "completion_tokens": 1.5, "prompt_tokens_details": [1]}, (0, 0, 0)),
        ({}, (0, 0, 0)),
    ],
)
def test_figures_that_cannot_be_are_none(usage: dict[str, Any], counts: tuple[int, int, int]) -> None:
    read = read_usage(usage)
    assert (read.prompt_tokens, read.completion_tokens, read.cached_tokens) == counts


def test_what_the_engine_said_of_the_prompt_outlives_a_usage_without_it() -> None:
    answer = CompletionAccumulator()
    answer.add_progress({"total": 40, "cache": 8})
    assert (answer.knows_input, answer.usage.prompt_tokens) == (True, 40)
    answer.add({"choices": [], "usage": {"completion_tokens": 3}})
    assert (answer.knows_input, answer.usage.prompt_tokens, answer.usage.completion_tokens) == (True, 40, 3)


# After kill -9


def killed(kernel: Kernel, path: Path, spans: list[SpanRecord], recorded: int) -> None:
    """A process begins calls, records some of them, and ends without a word."""
    journal = CallJournal(path)
    assert journal.open() == []

    async def run() -> None:
        recorder = CallRecorder(kernel.get(TraceWriter), PATIENCE_S, journal)
        for span in spans:
            recorder.begin(span)
        for span in spans[:recorded]:
            await recorder.record(span)

    asyncio.run(run())
    journal.close()


def recover(kernel: Kernel, path: Path) -> None:
    async def run() -> None:
        recorder = CallRecorder(kernel.get(TraceWriter), PATIENCE_S, CallJournal(path))
        recorder.recover()
        await recorder.close()

    asyncio.run(run())


def test_calls_that_a_killed_server_had_begun_are_recorded_by_the_next_one(kernel: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "run" / "calls.journal"
    spans = [call(VERA, "error") for _ in range(5)]
    killed(kernel, path, spans, 2)
    assert len(calls(kernel)) == 2
    for _ in range(2):  # again changes nothing
        recover(kernel, path)
        assert {recorded.id for recorded in calls(kernel)} == {span.response_id for span in spans}
    assert not any(path.read_bytes())


def test_the_file_has_its_space_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "run" / "calls.journal"
    journal = CallJournal(path)
    journal.open()
    facts = path.stat()
    assert facts.st_size == SLOTS * SLOT_BYTES
    assert facts.st_blocks * 512 >= facts.st_size, "a write to a hole ends the process where the disk is full"
    journal.close()


def test_without_room_for_the_file_calls_are_answered_all_the_same(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    recover(kernel, tmp_path / "calls.journal")
    assert "No space left on device" in caplog.text


def test_a_call_leaves_the_file_once_it_is_stored_and_not_before(kernel: Kernel, tmp_path: Path) -> None:
    path, journal = tmp_path / "calls.journal", CallJournal(tmp_path / "calls.journal")
    journal.open()

    async def run() -> None:
        recorder = CallRecorder(kernel.get(TraceWriter), 0.05, journal)
        with away(kernel, TracesUnavailable("away")):
            span = call()
            recorder.begin(span)
            await recorder.record(span)
            assert b"anna" in path.read_bytes()
        await recorder.close()

    asyncio.run(run())
    assert len(calls(kernel)) == 1
    assert not any(path.read_bytes())


def test_a_call_under_way_is_recorded_as_unfinished(kernel: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    journal = CallJournal(path)
    journal.end = lambda _: None  # type: ignore[method-assign]  # the process is killed before the call is over
    asyncio.run(ask(kernel, PROGRESS, token("one"), until=lambda _: False, journal=journal, stream=True, user="leaver"))
    (complete,) = calls(kernel)
    kernel.get(TraceWriter).store.erase_day(complete.started_at.date())
    recover(kernel, path)
    (recorded,) = calls(kernel)
    assert (recorded.id, recorded.span_id, recorded.trace_id) == (complete.id, complete.span_id, complete.trace_id)
    assert (recorded.status, recorded.http_status, recorded.error_code) == ("error", 500, "call_unfinished")
    assert (recorded.user, recorded.model, recorded.model_version_id) == ("leaver", "dev/hello", "mv_1")
    assert recorded.prompt_tokens is None
    assert recorded.stream is True


def test_a_file_that_is_damaged_in_use_or_full_stops_no_call(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    path.write_bytes(b"\x00\x00\x00\x05hello" + b"\xff" * 9000)
    first, second = CallJournal(path), CallJournal(path)
    assert first.open() == second.open() == []
    spans = [call() for _ in range(SLOTS + 5)]
    for journal in (first, second):
        for span in spans:
            journal.begin(span)
        spans[0].payload.attributes["large"] = "x" * 10_000
        journal.begin(spans[0])
        for span in spans:
            journal.end(span.span_id)
        journal.close()
    assert not any(path.read_bytes())


def test_calls_that_wait_for_the_store_are_bounded_in_bytes(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_recorder, "BACKLOG_BYTES", 1000)

    async def run() -> None:
        recorder = CallRecorder(kernel.get(TraceWriter), 0.05)
        with away(kernel, TracesUnavailable("away")):
            await asyncio.gather(*(recorder.record(call(), 400) for _ in range(5)))
            assert (recorder.stats.waiting, recorder.stats.lost) == (2, 3)
        await recorder.close()

    asyncio.run(run())
    assert len(calls(kernel)) == 2
