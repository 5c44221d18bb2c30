"""One chat completion, from the request's body to the recorded span."""

import asyncio
import functools
import time
from typing import Any

import msgspec

from tidemill.core.actors import Actor
from tidemill.core.asgi import ClientDisconnected, Receive, wait_for_disconnect
from tidemill.core.errors import Failed, TidemillError
from tidemill.gateway.accumulator import CompletionAccumulator
from tidemill.gateway.call_recorder import CallRecorder
from tidemill.gateway.chat_request import (
    ChatRequest,
    build_messages,
    check_overrides,
    encode_engine_body,
    parse_request,
    streams_internally,
)
from tidemill.gateway.engine_time import EngineTime
from tidemill.gateway.request_metadata import RequestMetadata
from tidemill.gateway.response import ResponseWriter
from tidemill.gateway.shadow import ask_shadow
from tidemill.gateway.spans import CallProgress, build_begun_span, build_span
from tidemill.gateway.types import EngineDied, Lease, ReplicaTarget, Router, Status
from tidemill.gateway.upstream import EngineResponse, Upstream, engine_error

ATTEMPTS = 3
"""How often a request is sent to an engine at most: a replica that dies before the first byte is replaced quietly."""


PROGRESS = "prompt_progress"
"""In chunks before the first token, which only we have asked for: how far llama.cpp is with the prompt."""


class ChatCompletionHandler:
    """Answers one chat request. The response is complete for the client only after its span is committed."""

    def __init__(
        self,
        router: Router,
        upstream: Upstream,
        recorder: CallRecorder,
        engine_time: EngineTime,
        actor: Actor,
        metadata: RequestMetadata,
        response: ResponseWriter,
    ) -> None:
        self._router = router
        self._upstream = upstream
        self._recorder = recorder
        self._engine_time = engine_time
        self._actor = actor
        self._metadata = metadata
        self._response = response
        # The same digits as the request's, so that a call is found by either id.
        self._id = f"chatcmpl-{response.request_id.removeprefix('req_')}"
        # When the request came in: its body may have taken a while.
        self._start_ns = time.time_ns() - int(response.elapsed_ms() * 1e6)
        self._created = self._start_ns // 10**9
        self._progress = CallProgress()
        self._engine_mark: tuple[str, float] | None = None
        self._is_recorded = False
        self._body_size = 0

    async def run(self, body: bytes, receive: Receive) -> None:
        """Answer the request in `body` and record it. Raises ClientDisconnected, and TidemillError for the client."""
        request = parse_request(body, self._metadata.user, self._metadata.session)
        self._body_size = len(body)
        self._note(request)
        answering = asyncio.create_task(self._answer(request))
        disconnecting = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait([answering, disconnecting], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
                await asyncio.wait([answering])
            await self._finish(request, answering)
        finally:
            disconnecting.cancel()
            answering.cancel()

    async def _finish(self, request: ChatRequest, answering: "asyncio.Task[None]") -> None:
        if answering.cancelled():
            await self._record(request, "aborted", 499, None)
            raise ClientDisconnected
        error = answering.exception()
        if error is None:
            return
        failure = error if isinstance(error, TidemillError) else Failed("Something went wrong inside the server.")
        await self._record(request, "error", 200 if self._response.started else failure.status, failure)
        raise error

    async def _answer(self, request: ChatRequest) -> None:
        while True:
            lease = await self._router.acquire(request.model, self._actor, request.affinity or self._id)
            broken = False
            self._progress.attempts += 1
            self._enter_engine(lease.target.replica_id)
            try:
                await self._ask(request, lease)
            except EngineDied:
                broken = True
                if self._response.started or self._progress.attempts >= ATTEMPTS:
                    raise
                self._progress.answer, self._progress.ttft_ms = CompletionAccumulator(), None
            else:
                self._offer_to_shadow(request, lease.target)
                return
            finally:
                self._leave_engine()
                lease.release(broken=broken)

    def _offer_to_shadow(self, request: ChatRequest, target: ReplicaTarget) -> None:
        if target.shadow is not None:
            live_ms = self._response.elapsed_ms()
            ask = functools.partial(ask_shadow, self._upstream, request, self._progress, live_ms, self._id)
            target.shadow.offer(self._id, ask)

    def _enter_engine(self, engine: str) -> None:
        self._engine_mark = (engine, self._engine_time.enter(engine))

    def _leave_engine(self) -> None:
        if self._engine_mark is not None:
            self._progress.engine_s += self._engine_time.leave(*self._engine_mark)
            self._engine_mark = None

    async def _ask(self, request: ChatRequest, lease: Lease) -> None:
        target = self._progress.target = lease.target
        self._response.headers = (*target.headers, *_ignored_header(request))
        messages = self._progress.messages = build_messages(request, target)
        body, self._progress.overrides = encode_engine_body(request, target, messages)
        check_overrides(target, self._progress.overrides)
        self._note(request)
        async with self._upstream.chat(target, body) as engine_response:
            if request.stream:
                await self._stream(request, target, engine_response)
                return
            if streams_internally(request):
                await self._accumulate(engine_response)
            else:
                self._progress.answer.set_completion(await engine_response.read())
        completion = self._progress.answer.completion()
        self._set_identity(completion, target)
        await self._record(request, "ok", 200, None)
        await self._response.json(200, completion)

    async def _accumulate(self, engine_response: EngineResponse) -> None:
        progress = self._progress
        answer = progress.answer = CompletionAccumulator(keep_logprobs=True)
        async for data in engine_response.events():
            chunk = _decode_chunk(data)
            if PROGRESS in chunk:
                answer.add_progress(chunk[PROGRESS])
                continue
            answer.add(chunk)
            if progress.ttft_ms is None and answer.delta_count:
                progress.ttft_ms = self._response.elapsed_ms()

    async def _stream(self, request: ChatRequest, target: ReplicaTarget, engine_response: EngineResponse) -> None:
        progress, answer, wants_usage = self._progress, self._progress.answer, request.wants_usage
        async for data in engine_response.events():
            chunk = _decode_chunk(data)
            if PROGRESS in chunk:
                answer.add_progress(chunk[PROGRESS])
                continue
            answer.add(chunk)
            if progress.ttft_ms is None and answer.delta_count:
                progress.ttft_ms = self._response.elapsed_ms()
            if wants_usage:
                chunk.setdefault("usage", None)
            elif chunk.get("usage"):
                continue
            self._set_identity(chunk, target)
            await self._response.event(msgspec.json.encode(chunk))
        if answer.finish_reason is None:
            raise EngineDied("The engine ended its answer without a reason.", hint="Try again.")
        await self._record(request, "ok", 200, None)
        await self._response.end()

    def _set_identity(self, body: dict[str, Any], target: ReplicaTarget) -> None:
        body["id"], body["model"], body["created"] = self._id, target.label, self._created
        body["system_fingerprint"] = target.release_id or target.model_version_id

    async def _record(
        self, request: ChatRequest, status: Status, http_status: int, error: TidemillError | None
    ) -> None:
        self._leave_engine()
        if self._is_recorded:  # it was over for us when the caller went or the connection broke
            return
        self._is_recorded = True
        span = build_span(
            self._id,
            self._response.request_id,
            self._actor,
            self._metadata,
            request,
            self._progress,
            start_ns=self._start_ns,
            elapsed_ms=self._response.elapsed_ms(),
            status=status,
            http_status=http_status,
            error=error,
        )
        await self._recorder.record(span, self._body_size)

    def _note(self, request: ChatRequest) -> None:
        """Note the call for the case that this process ends before it does."""
        self._recorder.begin(
            build_begun_span(
                self._id,
                self._response.request_id,
                self._actor,
                self._metadata,
                request,
                self._progress,
                start_ns=self._start_ns,
            )
        )


def _ignored_header(request: ChatRequest) -> list[tuple[bytes, bytes]]:
    return [(b"x-tidemill-ignored", ", ".join(request.ignored).encode())] if request.ignored else []


def _decode_chunk(data: bytes) -> dict[str, Any]:
    chunk: dict[str, Any] = msgspec.json.decode(data)
    if "error" in chunk:
        code = chunk["error"].get("code") if isinstance(chunk["error"], dict) else None
        raise engine_error(code if isinstance(code, int) else 500, chunk["error"])
    return chunk
