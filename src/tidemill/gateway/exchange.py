"""One chat call from the request to its entry in the books."""

import asyncio
import functools
import time
from typing import Any

import msgspec

from tidemill.core.actors import Actor
from tidemill.core.asgi import ClientDisconnected, Receive, wait_for_disconnect
from tidemill.core.errors import Failed, TidemillError
from tidemill.gateway import chat, mirror
from tidemill.gateway.accumulator import CompletionAccumulator
from tidemill.gateway.books import Bookkeeper
from tidemill.gateway.engine_time import EngineTime
from tidemill.gateway.line import Line
from tidemill.gateway.sender import Sender
from tidemill.gateway.spans import Outcome, span_of
from tidemill.gateway.types import EngineDied, Lease, Router, Status, Target
from tidemill.gateway.upstream import Reply, Upstream

ATTEMPTS = 3
"""How often a request is sent at most: a replica that dies before the first byte is replaced quietly."""


class Exchange:
    """Runs one call. The reply is complete for the caller only when the call is in the books."""

    def __init__(
        self,
        router: Router,
        upstream: Upstream,
        books: Bookkeeper,
        engine_time: EngineTime,
        actor: Actor,
        sender: Sender,
        line: Line,
    ) -> None:
        self._router = router
        self._upstream = upstream
        self._books = books
        self._engine_time = engine_time
        self._actor = actor
        self._sender = sender
        self._line = line
        # The same digits as the request's, so that the books know a call by either id.
        self._id = f"chatcmpl-{line.request_id.removeprefix('req_')}"
        # When the request came in: its body may have taken a while.
        self._start_ns = time.time_ns() - int(line.elapsed_ms() * 1e6)
        self._created = self._start_ns // 10**9
        self._outcome = Outcome()
        self._inside: tuple[str, float] | None = None

    async def run(self, body: bytes, receive: Receive) -> None:
        """Answer the request in `body`; ends early when the caller hangs up."""
        request = chat.read(body, self._sender.user, self._sender.session)
        answering = asyncio.create_task(self._answer(request))
        leaving = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
                await asyncio.wait([answering])
            await self._conclude(request, answering)
        finally:
            leaving.cancel()
            answering.cancel()

    async def _conclude(self, request: chat.ChatRequest, answering: "asyncio.Task[None]") -> None:
        if answering.cancelled():
            await self._record(request, "aborted", 499, None)
            raise ClientDisconnected
        error = answering.exception()
        if error is None:
            return
        known = error if isinstance(error, TidemillError) else Failed("Something went wrong inside the server.")
        await self._record(request, "error", 200 if self._line.started else known.status, known)
        raise error

    async def _answer(self, request: chat.ChatRequest) -> None:
        while True:
            lease = await self._router.acquire(request.model, self._actor, request.affinity or self._id)
            broken = False
            self._outcome.attempts += 1
            self._enter(lease.target.replica_id)
            try:
                await self._ask(request, lease)
            except EngineDied:
                broken = True
                if self._line.started or self._outcome.attempts >= ATTEMPTS:
                    raise
                self._outcome.answer, self._outcome.ttft_ms = CompletionAccumulator(), None
            else:
                self._mirror(request, lease.target)
                return
            finally:
                self._leave()
                lease.release(broken=broken)

    def _mirror(self, request: chat.ChatRequest, target: Target) -> None:
        if target.shadow is not None:
            live_ms = self._line.elapsed_ms()
            ask = functools.partial(mirror.ask, self._upstream, request, self._outcome, live_ms, self._id)
            target.shadow.offer(self._id, ask)

    def _enter(self, engine: str) -> None:
        self._inside = (engine, self._engine_time.enter(engine))

    def _leave(self) -> None:
        if self._inside is not None:
            self._outcome.engine_s += self._engine_time.leave(*self._inside)
            self._inside = None

    async def _ask(self, request: chat.ChatRequest, lease: Lease) -> None:
        target = self._outcome.target = lease.target
        self._line.headers = target.headers
        messages = self._outcome.messages = chat.messages_for(request, target)
        body, self._outcome.overrides = chat.for_engine(request, target, messages)
        async with self._upstream.chat(target, body) as reply:
            if request.stream:
                await self._stream(request, target, reply)
                return
            if chat.streams_inside(request):
                async for data in reply.events():
                    self._add(_chunk(data))
            else:
                self._outcome.answer.set_completion(await reply.whole())
        completion = self._outcome.answer.completion()
        self._sign(completion, target)
        await self._record(request, "ok", 200, None)
        await self._line.json(200, completion)

    async def _stream(self, request: chat.ChatRequest, target: Target, reply: Reply) -> None:
        async for data in reply.events():
            chunk = _chunk(data)
            self._add(chunk)
            if chunk.get("usage") and not request.wants_usage:
                continue
            self._sign(chunk, target)
            if request.wants_usage:
                chunk.setdefault("usage", None)
            await self._line.event(msgspec.json.encode(chunk))
        if self._outcome.answer.finish_reason is None:
            raise EngineDied("The engine ended its answer without a reason.", hint="Try again.")
        await self._record(request, "ok", 200, None)
        await self._line.end()

    def _add(self, chunk: dict[str, Any]) -> None:
        answer = self._outcome.answer
        answer.add(chunk)
        if self._outcome.ttft_ms is None and answer.delta_count:
            self._outcome.ttft_ms = self._line.elapsed_ms()

    def _sign(self, said: dict[str, Any], target: Target) -> None:
        said["id"], said["model"], said["created"] = self._id, target.label, self._created
        said["system_fingerprint"] = target.release_id or target.model_version_id

    async def _record(
        self, request: chat.ChatRequest, status: Status, http_status: int, error: TidemillError | None
    ) -> None:
        self._leave()
        span = span_of(
            self._id,
            self._line.request_id,
            self._actor,
            self._sender,
            request,
            self._outcome,
            start_ns=self._start_ns,
            elapsed_ms=self._line.elapsed_ms(),
            status=status,
            http_status=http_status,
            error=error,
        )
        await self._books.record(span)


def _chunk(data: bytes) -> dict[str, Any]:
    chunk: dict[str, Any] = msgspec.json.decode(data)
    if "error" in chunk:
        raise EngineDied(f"The engine stopped: {chunk['error']}.", hint="Try again.")
    return chunk
