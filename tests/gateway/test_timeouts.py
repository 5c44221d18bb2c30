"""An engine that falls silent, seen through the whole door: keys, gateway, a real slow server, and the recorder."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.gateway.test_upstream import HEAD, engine
from tidemill.access import service as access
from tidemill.access.types import KeyCreate, PersonCreate
from tidemill.core.actors import OWNER, Actor
from tidemill.core.kernel import Kernel
from tidemill.gateway import service
from tidemill.gateway.asgi import GatewayApp
from tidemill.gateway.call_recorder import CallRecorder
from tidemill.gateway.types import Call, ModelObject, ReplicaTarget
from tidemill.gateway.upstream import Upstream
from tidemill.traces.service import TraceWriter

HI = [{"role": "user", "content": "Hi"}]


def chunk(text: str) -> bytes:
    """One event of an engine's stream."""
    payload = json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
    event = f"data: {payload}\n\n".encode()
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


class OneReplica:
    """Every name leads to one engine; notes how its place was given back."""

    def __init__(self, target: ReplicaTarget) -> None:
        self.target = target
        self.released: list[bool] = []

    async def acquire(self, model: str, actor: Actor, affinity: str | None = None) -> "OneReplica":
        return self

    async def models(self) -> list[ModelObject]:
        return []

    def release(self, *, broken: bool = False) -> None:
        self.released.append(broken)


async def ask(kernel: Kernel, *chunks: bytes, **fields: Any) -> tuple[httpx.Response, list[bool]]:
    """The reply to one call whose engine says `said` and then nothing."""
    with kernel.write(OWNER) as ctx:
        access.create_person(ctx, PersonCreate(name="vera", roles=["viewer"]))
        key = access.create_key(ctx, KeyCreate(person="vera")).secret
    recorder = CallRecorder(kernel.get(TraceWriter), 120)
    async with engine(*chunks) as (target, hung_up):
        router = OneReplica(target)
        gateway = GatewayApp(access.KeyAuthenticator(kernel), router, recorder, Upstream(0.5), 2**20)
        transport = httpx.ASGITransport(app=gateway)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            body = {"model": "dev/hello", "messages": HI, **fields}
            reply = await client.post(
                "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}, timeout=120
            )
        await asyncio.wait_for(hung_up.wait(), 120)  # or the engine would go on for nobody
        await gateway.stop()
    kernel.get(TraceWriter).close()
    return reply, router.released


def entry(kernel: Kernel) -> Call:
    with kernel.read(OWNER) as ctx:
        (call,) = service.list_calls(ctx).items
    return call


@pytest.mark.parametrize("stream", [False, True])
def test_silence_before_the_first_word_is_a_504(kernel: Kernel, stream: bool) -> None:
    reply, released = asyncio.run(ask(kernel, HEAD, stream=stream))
    assert reply.status_code == 504
    error = reply.json()["error"]
    assert (error["code"], error["message"]) == ("upstream_timeout", "The engine said nothing for 0.5 s.")
    call = entry(kernel)
    assert (call.status, call.http_status, call.error_code) == ("error", 504, "upstream_timeout")
    assert (call.caller_name, call.attempts, call.request_id) == ("vera", 1, reply.headers["x-request-id"])
    assert released == [False], "an engine that is slow is not dead"


def test_silence_in_the_middle_of_a_stream_ends_it_with_an_error_event(kernel: Kernel) -> None:
    reply, released = asyncio.run(ask(kernel, HEAD, chunk("Hel"), chunk("lo"), stream=True))
    assert reply.status_code == 200
    *words, last = [json.loads(line[6:]) for line in reply.text.split("\n\n") if line]
    assert [word["choices"][0]["delta"]["content"] for word in words] == ["Hel", "lo"]
    assert last["error"]["code"] == "upstream_timeout"
    call = entry(kernel)
    assert (call.id, call.status, call.http_status) == (words[0]["id"], "error", 200)
    assert (call.error_code, call.completion_tokens) == ("upstream_timeout", 2)
    assert released == [False]


def test_silence_in_the_middle_of_a_whole_answer_is_a_504(kernel: Kernel) -> None:
    reply, released = asyncio.run(ask(kernel, HEAD, chunk("Hel")))
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")
    assert entry(kernel).http_status == 504
    assert released == [False]
