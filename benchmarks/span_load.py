"""Spans to send: OTLP/HTTP protobuf requests of 100 spans of some 2.2 KB each, in traces of five, of varied English."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUEST = 100
"""Spans in one request."""
TRACE = 5
"""Spans in one trace."""
CHUNK = 50_000
"""So many spans are made before they are sent."""
HOURS = 20
"""The spans are spread over so many hours, the way a day looks."""
SEED = 1

SENTENCES = """the order was sent from our store on monday and should arrive within three working days please check the
status page or reply to this message with your number we are sorry for any delay caused by high demand this week if you
would like a refund instead choose cancel in your account settings then confirm by mail payment returns usually take
five banking days after approval thank you for your patience and have a good day regards support team weather travel
hotel flight booking change seat upgrade luggage family tickets price discount code invalid expired"""
WORDS = SENTENCES.split()


def text(chance: random.Random, count: int) -> str:
    """So many words, with a number here and there."""
    return " ".join(chance.choices(WORDS, k=count)) + f" reference {chance.randrange(10**8)}"


def payloads(first: int, last: int, count: int, seed: int = SEED, hours: float = HOURS) -> list[bytes]:
    """The spans from `first` to `last` of `count` in requests, newest last."""
    chance = random.Random(f"{seed} {first}")
    now, span_ns = time.time_ns(), round(hours * 3600) * 1_000_000_000
    requests = []
    for number in range(first, last, REQUEST):
        request = ExportTraceServiceRequest()
        of_resource = request.resource_spans.add()
        _put(of_resource.resource.attributes, {"service.name": "shop", "telemetry.sdk.name": "opentelemetry"})
        spans = of_resource.scope_spans.add()
        spans.scope.name = "opentelemetry.instrumentation.openai_v2"
        for at in range(REQUEST // TRACE):
            begin = now - span_ns + (number + at * TRACE) * span_ns // count
            _trace(spans.spans, chance, begin)
        requests.append(request.SerializeToString())
    return requests


def _trace(spans: Any, chance: random.Random, begin: int) -> None:
    trace, ids = chance.randbytes(16), [chance.randbytes(8) for _ in range(TRACE)]
    question, answer = text(chance, 60), text(chance, 70)
    shared = {"user.id": f"user-{chance.randrange(2000)}", "session.id": f"session-{chance.randrange(10**5)}"}
    for at in range(TRACE):
        span = spans.add()
        span.trace_id, span.span_id = trace, ids[at]
        span.parent_span_id = ids[0] if at else b""
        span.start_time_unix_nano = begin + at * 30_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + chance.randrange(10**7, 3 * 10**9)
        span.status.code = 2 if chance.random() < 0.02 else 1
        if at in (1, 3):
            span.name = "chat"
            _put(span.attributes, shared | _chat(chance, question, answer))
        else:
            span.name = ("agent", "", "retrieve", "", "tool lookup")[at]
            kind = ("AGENT", "", "RETRIEVER", "", "TOOL")[at]
            content = {"input.value": question + text(chance, 100), "output.value": answer + text(chance, 80)}
            _put(span.attributes, shared | content | {"openinference.span.kind": kind, "tag": text(chance, 20)})


def _chat(chance: random.Random, question: str, answer: str) -> dict[str, Any]:
    model = chance.choice(["gpt-4o-mini", "support@3", "claude-haiku", "llama-8b"])
    system = "You are the support assistant of a shop. Answer briefly and kindly, and never promise a date. " * 2
    inputs = [{"role": "system", "parts": [{"type": "text", "content": system}]},
            {"role": "user", "parts": [{"type": "text", "content": question + " " + text(chance, 60)}]}]  # fmt: skip
    outputs = [{"role": "assistant", "parts": [{"type": "text", "content": answer}], "finish_reason": "stop"}]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": "chatcmpl-" + chance.randbytes(12).hex(),
        "gen_ai.request.temperature": "0.2",
        "gen_ai.usage.input_tokens": chance.randrange(20, 900),
        "gen_ai.usage.output_tokens": chance.randrange(5, 300),
        "gen_ai.input.messages": json.dumps(inputs),
        "gen_ai.output.messages": json.dumps(outputs),
    }


def _put(attributes: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        pair = attributes.add()
        pair.key = name
        setattr(pair.value, "int_value" if isinstance(value, int) else "string_value", value)


@dataclass(frozen=True)
class Known:
    """A trace that was sent, to be looked for."""

    trace_id: str
    response_id: str
    rare: str
    """A word that this trace alone has."""


def known(first: int, seed: int = SEED) -> Known:
    """The first trace of the requests that begin with the span `first`."""
    request = ExportTraceServiceRequest.FromString(payloads(first, first + REQUEST, REQUEST, seed)[0])
    root, call = request.resource_spans[0].scope_spans[0].spans[:2]
    attributes = {pair.key: pair.value.string_value for span in (root, call) for pair in span.attributes}
    return Known(root.trace_id.hex(), attributes["gen_ai.response.id"], attributes["input.value"].rsplit(" ", 1)[1])


async def send(
    url: str, headers: dict[str, str], bodies: Sequence[bytes], senders: int
) -> tuple[float, list[float], int]:
    """Send all, `senders` at a time. Seconds, acknowledgement times in ms, and how often the server asked to wait."""
    times: list[float] = []
    waits = 0
    queue = iter(bodies)

    async def one(session: aiohttp.ClientSession) -> None:
        nonlocal waits
        for body in queue:
            while True:
                began = time.perf_counter()
                async with session.post(url, data=body, headers=headers) as reply:
                    await reply.read()
                    if reply.status == 200:
                        times.append((time.perf_counter() - began) * 1000)
                        break
                    assert reply.status in (429, 503), (reply.status, await reply.text())
                waits += 1
                await asyncio.sleep(0.2)

    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=senders)) as session:
        await asyncio.gather(*(one(session) for _ in range(senders)))
    return time.perf_counter() - began, times, waits
