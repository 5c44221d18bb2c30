"""One bad span of a batch costs the others nothing."""

import json
import time
from typing import Any

import httpx

from tests.traces.otlp_requests import JSON, PROTOBUF, add, request
from tidemill.client import Client
from tidemill.core.text import storable

NAMES = ["first", "bad", "last"]


def _batch(batch: int = 0, **bad: Any) -> bytes:
    """Three spans as OTLP/JSON; the second has other fields."""
    now = str(time.time_ns())
    spans: list[Any] = [
        {
            "traceId": f"{batch * 10 + number:032x}",
            "spanId": f"{batch * 10 + number:016x}",
            "name": f"{name} {batch}",
            "startTimeUnixNano": now,
            "endTimeUnixNano": now,
            "attributes": [{"key": "n", "value": {"intValue": number}}],
        }
        for number, name in enumerate(NAMES, 1)
    ]
    spans[1] |= bad
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


def _post(client: Client, body: bytes, headers: dict[str, str] = JSON) -> httpx.Response:
    return client.http.client.post("/v1/traces", content=body, headers=headers)


def _names(client: Client) -> set[str]:
    return set(_stored(client))


def _spans(client: Client, trace_id: str) -> list[Any]:
    return [node.span for node in client.traces.get(trace_id, payload=True).nodes]


def _stored(client: Client) -> dict[str, Any]:
    traces = client.traces.list(limit=100).items
    return {span.name: span for trace in traces for span in _spans(client, trace.trace_id)}


def test_half_an_emoji_becomes_a_replacement(client: Client) -> None:
    for number, text in enumerate(["so happy \ud83d", "\udc00", "a\x00b", "\ud83d\ud83d\ude00"]):
        messages = json.dumps([{"role": "user", "content": text}])
        values = {"note": text, "gen_ai.operation.name": "chat", "gen_ai.input.messages": messages}
        attributes = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
        reply = _post(client, _batch(number, attributes=attributes))
        assert (reply.status_code, reply.json()) == (200, {})
        stored = _stored(client)
        assert {f"{name} {number}" for name in NAMES} <= stored.keys()
        span = stored[f"bad {number}"]
        assert storable(span.attributes["note"]) == storable(text)
        assert span.input == [{"role": "user", "content": span.input[0]["content"]}]
        assert storable(span.input[0]["content"]) == storable(text)


UNREADABLE: list[dict[str, Any]] = [
    {"startTimeUnixNano": "yesterday"},
    {"startTimeUnixNano": 1e400},
    {"attributes": "none"},
    {"attributes": [None]},
    {"attributes": [{"key": "a", "value": {"doubleValue": "x"}}]},
    {"attributes": [{"key": "a", "value": {"arrayValue": {"values": 5}}}]},
    {"events": {"a": 1}},
    {"events": [7]},
    {"status": "ok"},
    {"links": [None]},
    {"traceId": "zz"},
    {"spanId": 5},
    {"traceId": "00"},
    {"startTimeUnixNano": "1"},
]


def test_a_span_that_cannot_be_read_is_refused_alone(client: Client) -> None:
    for number, bad in enumerate(UNREADABLE):
        reply = _post(client, _batch(number, **bad))
        assert reply.status_code == 200, (bad, reply.text)
        partial = reply.json()["partialSuccess"]
        assert partial["rejectedSpans"] == "1", bad
        assert partial["errorMessage"], bad
    assert _names(client) == {f"{name} {number}" for number in range(len(UNREADABLE)) for name in ("first", "last")}


ODD: list[dict[str, Any]] = [
    {"endTimeUnixNano": str(10**30)},
    {"endTimeUnixNano": "-5"},
    {"kind": 10**30},
    {"status": {"code": 10**30}},
    {"status": {"message": 5}},
    {"name": {"a": 1}},
    {"attributes": [{"key": None, "value": {"stringValue": 5}}]},
    {"attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": str(10**30)}}]},
    {"attributes": [{"key": "a" * 100_000, "value": {"stringValue": "x"}}]},
]


def test_an_odd_span_costs_no_other(client: Client) -> None:
    for number, odd in enumerate(ODD):
        reply = _post(client, _batch(number, **odd))
        assert reply.status_code == 200, (odd, reply.text)
    assert _names(client) >= {f"{name} {number}" for number in range(len(ODD)) for name in ("first", "last")}


def test_bytes_that_are_no_utf8_are_replaced_in_protobuf(client: Client) -> None:
    batch = request()
    add(batch, name="broken NAME", attributes={"broken KEY": "x", "note": "broken VALUE"})
    body = batch.SerializeToString()
    for text in (b"NAME", b"KEY", b"VALUE"):
        assert body.count(text) == 1
        reply = _post(client, body.replace(text, b"\xff" * len(text)), PROTOBUF)
        assert (reply.status_code, reply.content) == (200, b"")
    assert any("\N{REPLACEMENT CHARACTER}" in name for name in _stored(client))
    other = request()
    listed = add(other, name="other").attributes.add()
    listed.key = "list"
    listed.value.array_value.values.add().string_value = "broken INSIDE"
    reply = _post(client, other.SerializeToString().replace(b"INSIDE", b"\xff" * 6), PROTOBUF)
    assert reply.status_code == 200
    assert b"cannot be read" in reply.content
    cut = _post(client, body[:-3], PROTOBUF)
    assert cut.status_code == 400
