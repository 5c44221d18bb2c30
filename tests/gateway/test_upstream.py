"""The way to an engine that accepts a request and then says nothing, as a real server on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tidemill.gateway.types import ReplicaTarget, UpstreamTimeout
from tidemill.gateway.upstream import Upstream

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices": []}\n\n'
CHUNK = f"{len(EVENT):x}\r\n".encode() + EVENT + b"\r\n"


@asynccontextmanager
async def engine(*chunks: bytes) -> AsyncIterator[tuple[ReplicaTarget, asyncio.Event]]:
    """An engine that says `said` and falls silent; and whether the caller has hung up."""
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in chunks:
            writer.write(piece)
            await writer.drain()
        while await reader.read(65536):
            pass
        hung_up.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        target = ReplicaTarget(
            base_url=f"http://127.0.0.1:{port}", replica_id="rep_1", label="slow@1", model_version_id="mv_1"
        )
        yield target, hung_up


async def ask(read_timeout_s: float, *chunks: bytes) -> list[bytes]:
    upstream, events = Upstream(read_timeout_s), list[bytes]()

    async def read(target: ReplicaTarget) -> None:
        async with upstream.chat(target, b"{}") as engine_response:
            async for event in engine_response.events():
                events.append(event)

    async with engine(*chunks) as (target, hung_up):
        try:
            with pytest.raises(UpstreamTimeout) as caught:
                await read(target)
            assert caught.value.status == 504
            assert caught.value.code == "upstream_timeout"
            assert caught.value.message == "The engine said nothing for 0.5 s."
            await asyncio.wait_for(hung_up.wait(), 60)  # or the engine would go on for nobody
        finally:
            await upstream.close()
    return events


@pytest.mark.parametrize(("chunks", "events"), [((), 0), ((HEAD,), 0), ((HEAD, CHUNK, CHUNK), 2)])
def test_an_engine_that_falls_silent_is_given_up_and_told_to_stop(chunks: tuple[bytes, ...], events: int) -> None:
    assert asyncio.run(ask(0.5, *chunks)) == [b'{"choices": []}'] * events
