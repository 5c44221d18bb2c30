"""`/v1/traces`: what exporters send, whole and broken."""

import gzip
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.traces.otlp_requests import JSON, PROTOBUF, add, partial, request
from tidemill.client import Client

DAY_NS = 86_400 * 1_000_000_000


def post(client: Client, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return client.http.client.post("/v1/traces", content=body, headers=headers if headers is not None else PROTOBUF)


def spans(client: Client) -> int:
    return sum(use.spans for use in client.traces.days())


def code(reply: httpx.Response) -> str:
    return reply.headers["x-tidemill-error"]


def test_protobuf_plain_and_packed_is_stored_before_the_answer(client: Client) -> None:
    reply = post(client, request(3).SerializeToString())
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"", "application/x-protobuf")
    assert spans(client) == 3
    body = request(2).SerializeToString()
    assert post(client, gzip.compress(body), PROTOBUF | {"content-encoding": "gzip"}).status_code == 200
    assert post(client, gzip.compress(body), PROTOBUF | {"content-encoding": "gzip"}).status_code == 200
    assert post(
        client, zlib.compress(request().SerializeToString()), PROTOBUF | {"content-encoding": "deflate"}
    ).is_success
    assert spans(client) == 6


def test_json_has_hexadecimal_ids_and_numbers_as_strings(client: Client) -> None:
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "EEE19B7EC3C1B174",
        "name": "chat",
        "kind": 3,
        "startTimeUnixNano": str(time.time_ns()),
        "endTimeUnixNano": str(time.time_ns() + 2_000_000),
        "attributes": [
            {"key": "text", "value": {"stringValue": "ü"}},
            {"key": "count", "value": {"intValue": "42"}},
            {"key": "share", "value": {"doubleValue": 0.5}},
            {"key": "yes", "value": {"boolValue": True}},
            {"key": "raw", "value": {"bytesValue": "AAE="}},
            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": 1}]}}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}},
            {"key": "empty", "value": {}},
            {"key": "huge", "value": {"intValue": "99999999999999999999"}},
            {"key": "odd", "value": {"intValue": "many"}},
        ],
        "events": [
            {"timeUnixNano": "1", "name": "exception", "attributes": []},
            {"timeUnixNano": "99999999999999999999", "name": "late", "attributes": []},
        ],
        "status": {"code": 2, "message": "broke"},
        "unknownField": 1,
    }
    body = {
        "resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "s"}, "spans": [span]}]}]
    }
    reply = post(client, json.dumps(body).encode(), {"content-type": "application/json; charset=utf-8"})
    assert (reply.status_code, reply.json()) == (200, {})
    found = client.traces.span(span["traceId"], "eee19b7ec3c1b174")  # type: ignore[arg-type]
    assert found.attributes == {
        "text": "ü", "count": 42, "share": 0.5, "yes": True, "raw": "AAE=", "list": ["a", 1], "map": {"k": "v"},
        "huge": "99999999999999999999", "odd": "many",
        "empty": None,
    }  # fmt: skip
    assert (found.status, found.status_message, found.scope) == ("error", "broke", "s")


def broken() -> Iterator[tuple[str, bytes, dict[str, str], int, str]]:
    whole = request(20, attributes={"a": "b" * 50}).SerializeToString()
    packed = gzip.compress(whole)
    gz = PROTOBUF | {"content-encoding": "gzip"}
    yield "garbage", b"\xff\xfe garbage" * 20, PROTOBUF, 400, "otlp_invalid"
    yield "text as protobuf", b"hello", PROTOBUF, 400, "otlp_invalid"
    yield "truncated", whole[:-7], PROTOBUF, 400, "otlp_invalid"
    yield "truncated in the middle", whole[: len(whole) // 2], PROTOBUF, 400, "otlp_invalid"
    yield "truncated gzip", packed[:-9], gz, 400, "otlp_invalid"
    yield "not gzip", whole, gz, 400, "otlp_invalid"
    yield "another encoding", whole, PROTOBUF | {"content-encoding": "br"}, 415, "otlp_encoding"
    yield "no content type", whole, {}, 415, "otlp_media_type"
    yield "wrong content type", whole, {"content-type": "text/plain"}, 415, "otlp_media_type"
    yield "gzip bomb", gzip.compress(b"\0" * 2_000_000), gz, 413, "otlp_too_large"
    yield "oversized", b"\0" * 1_000_001, PROTOBUF, 413, "otlp_too_large"
    yield "zero-length JSON", b"", JSON, 400, "otlp_invalid"
    yield "JSON garbage", b"{", JSON, 400, "otlp_invalid"
    yield "JSON of another kind", b"[]", JSON, 400, "otlp_invalid"
    yield "JSON without spans", b'{"resourceMetrics": []}', JSON, 400, "otlp_invalid"
    yield "JSON with a wrong list", b'{"resourceSpans": [{"scopeSpans": [{"spans": "x"}]}]}', JSON, 400, "otlp_invalid"
    yield "JSON nested too deep", b'{"resourceSpans": ' + b"[" * 100_000, JSON, 400, "otlp_invalid"
    yield "JSON in another encoding", b'{"resourceSpans": "\xff"}', JSON, 400, "otlp_invalid"


def test_what_cannot_be_read_is_refused_with_a_stable_code(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_TRACE_MAX_REQUEST_BYTES", "1000000")
    with Client() as client:
        for name, body, headers, status, expected in broken():
            reply = post(client, body, headers)
            assert (name, reply.status_code, code(reply)) == (name, status, expected)
            if headers.get("content-type") == "application/x-protobuf":
                assert expected.encode() in reply.content, name
            else:
                assert reply.json()["error"]["code"] == expected, name
        assert post(client, b"").status_code == 200, "an empty protobuf message is a request without spans"
        get = client.http.client.get("/v1/traces")
        assert (get.status_code, code(get), get.headers["allow"]) == (405, "method_not_allowed", "POST")
        assert spans(client) == 0
        assert post(client, request().SerializeToString()).status_code == 200


def test_spans_that_cannot_be_taken_are_told_and_the_others_kept(client: Client) -> None:
    now = time.time_ns()
    body = request(2)
    for fields in (
        {"trace_id": b""}, {"trace_id": os.urandom(8)}, {"trace_id": bytes(16)}, {"span_id": os.urandom(16)},
        {"span_id": b"\0" * 8}, {"parent_span_id": b"abc"}, {"start_time_unix_nano": now + 2 * DAY_NS},
        {"start_time_unix_nano": 2**63}, {"start_time_unix_nano": 0}, {"start_time_unix_nano": now - 400 * DAY_NS},
    ):  # fmt: skip
        add(body, **fields)
    reply = post(client, body.SerializeToString())
    rejected, why = partial(reply.content)
    assert (reply.status_code, rejected) == (200, 10)
    assert "trace id is not 16 bytes" in why
    assert "future" in why
    assert "older than what is kept" in why
    assert spans(client) == 2
    in_json = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz", "spanId": "1"}]}]}]}
    said = post(client, json.dumps(in_json).encode(), JSON).json()
    assert said["partialSuccess"]["rejectedSpans"] == "1"
    fast = request(start_time_unix_nano=now + DAY_NS // 2, end_time_unix_nano=now)
    assert post(client, fast.SerializeToString()).content == b"", "a clock that is fast by hours is borne with"
    assert client.traces.list().items[0].duration_ms == 0


def test_large_values_are_stored_cut_and_marked(client: Client) -> None:
    big = request(attributes={"gen_ai.request.model": "small", "note": "x" * 10_000_000, "other": "y"})
    assert post(client, big.SerializeToString()).content == b""
    trace = client.traces.list().items[0]
    found = client.traces.get(trace.trace_id, payload=True).nodes[0].span
    assert len(found.attributes["note"]) < 1_100_000
    assert found.attributes["other"] == "y"
    assert found.truncated == ["attributes.note: 1048576 of 10000000 characters kept"]
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "word " * 2_000_000}]}])
    said = request(attributes={"gen_ai.operation.name": "chat", "gen_ai.input.messages": messages})
    assert post(client, said.SerializeToString()).content == b""
    whole = client.traces.get(client.traces.list().items[0].trace_id, payload=True).nodes[0].span
    assert any(text.startswith("input.") for text in whole.truncated)


@pytest.mark.slow
def test_a_million_distinct_attribute_keys_neither_stay_nor_slow_the_next_one(client: Client) -> None:
    one = request(attributes={f"key-{number}": number for number in range(300_000)})
    assert post(client, one.SerializeToString()).content == b""
    trace = client.traces.list().items[0]
    found = client.traces.get(trace.trace_id, payload=True).nodes[0].span
    assert len(found.attributes) == 2048
    assert "297952 more attributes were left out" in found.truncated[0]
    for batch in range(7):
        many = request(0)
        for number in range(1000):
            add(many, attributes={f"key-{batch}-{number}-{at}": at for at in range(100)})
        assert post(client, many.SerializeToString()).content == b""
    began = time.process_time()
    assert post(client, request().SerializeToString()).is_success
    assert time.process_time() - began < 1
    assert spans(client) == 7002


def test_only_developers_send_spans(client: Client) -> None:
    client.access.create_person("vera", roles=["viewer"])
    client.access.create_person("dave", roles=["developer"])
    viewer = client.access.create_key("vera").secret
    developer = client.access.create_key("dave").secret
    body = request().SerializeToString()
    for key, status, expected in (("tm-wrong", 401, "invalid_api_key"), (viewer, 403, "role_missing")):
        reply = post(client, body, PROTOBUF | {"authorization": f"Bearer {key}"})
        assert (reply.status_code, code(reply)) == (status, expected)
    assert post(client, body, PROTOBUF | {"authorization": f"Bearer {developer}"}).is_success
    assert spans(client) == 1


def test_a_full_queue_sends_back_and_takes_nothing(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_TRACE_QUEUE_SPANS", "100")
    held, goes_on = threading.Event(), threading.Event()

    def hold(_records: object) -> None:
        held.set()
        goes_on.wait(120)

    monkeypatch.setattr("tidemill.traces.truncation.Truncator.__call__", lambda _self, records: hold(records))
    with Client() as client:
        replies: list[int] = []

        def send() -> None:
            replies.append(post(client, request(60).SerializeToString()).status_code)

        first = threading.Thread(target=send)
        first.start()
        assert held.wait(120)
        reply = post(client, request(60).SerializeToString())
        assert (reply.status_code, code(reply), reply.headers["retry-after"]) == (503, "traces_overloaded", "1")
        state = client.traces.writer()
        assert (state.waiting, state.refused) == (60, 60)
        goes_on.set()
        first.join()
        assert replies == [200]
        assert post(client, request(60).SerializeToString()).status_code == 200
        assert spans(client) == 120


def test_reading_and_finding_over_http(client: Client) -> None:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small", "gen_ai.usage.input_tokens": 7}
    post(client, request(3, attributes=attributes).SerializeToString())
    assert len(client.traces.list(model="small").items) == 3
    assert client.traces.list(model="large").items == []
    assert len(client.traces.search("chat").items) == 3
    assert client.traces.search("chat", model="small", limit=2).next_cursor is not None
    since = client.traces.list().items[0].start
    assert sum(point.requests for point in client.traces.series(since)) == 3
    assert sum(point.requests for point in client.traces.series(since, grain="minute", by="model", key="small")) == 3
    assert sum(caller.requests for caller in client.traces.callers(model="small")) == 3
    assert len(client.traces.tail().spans) == 3
    wrong = client.http.client.get("/api/traces", params={"colour": "red"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid")
