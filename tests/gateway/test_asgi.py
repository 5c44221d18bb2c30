"""What comes through `/v1`: names, keys, bad input, disconnects, and recorded calls."""

import json
import socket
import time
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from tests.deployments.live import ENDLESS, LiveServer, wait_for
from tidemill.core.wire import utc_now

pytestmark = [pytest.mark.engine, pytest.mark.slow]

HI = [{"role": "user", "content": "Say hi."}]


@pytest.fixture
def sdk(server: LiveServer):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0) as client:
        yield client


def post(server: LiveServer, content: bytes, key: str | None = "") -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key or server.token}"}
    return httpx.post(f"{server.url}/v1/chat/completions", content=content, headers=headers, timeout=120)


def test_a_reply_has_its_ids_and_is_recorded(server: LiveServer, sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="dev/hello", messages=HI, max_tokens=5)
    reply = raw.parse()
    assert reply.id.startswith("chatcmpl-")
    assert reply.model == "hello@1"
    assert int(raw.headers["openai-processing-ms"]) >= 0
    with server.client() as client:
        call = client.gateway.call(reply.id)
        assert client.gateway.call(raw.headers["x-request-id"]) == call
        release = client.releases.get("hello@1")
    assert (call.status, call.environment, call.release_id, call.caller_name) == ("ok", "dev", release.id, "owner")
    assert (call.prompt_tokens, call.completion_tokens) == (reply.usage.prompt_tokens, reply.usage.completion_tokens)
    assert call.overrides == ["max_tokens"]
    assert call.finish_reason == reply.choices[0].finish_reason


def test_a_stream_ends_with_its_usage_when_it_is_asked_for(server: LiveServer, sdk: openai.OpenAI) -> None:
    options = {"include_usage": True}
    chunks = list(sdk.chat.completions.create(model="dev/hello", messages=HI, stream=True, stream_options=options))
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].choices == []
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    plain = list(sdk.chat.completions.create(model="dev/hello", messages=HI, stream=True))
    assert all(c.choices for c in plain)
    with server.client() as client:
        call = client.gateway.call(plain[0].id)
    assert call.completion_tokens == chunks[-1].usage.completion_tokens
    assert 0 < call.ttft_ms <= call.latency_ms


def test_all_names_lead_to_an_answer(server: LiveServer, sdk: openai.OpenAI) -> None:
    with server.client() as client:
        client.models.move_alias("smollm2", "champion", 1, reason="test")
        release = client.releases.get("hello@2")
    for name in ("dev/hello", "hello", "hello@2", release.id, "smollm2@champion"):
        reply = sdk.chat.completions.create(model=name, messages=HI, max_tokens=2)
        assert reply.model == (
            "hello@1" if name == "dev/hello" else "smollm2@champion" if "champ" in name else "hello@2"
        )
    listed = {m.id for m in sdk.models.list()}
    assert {"dev/hello", "hello", "hello@2", "smollm2@champion"} <= listed
    assert sdk.models.retrieve("dev/hello").owned_by == "tidemill"


def test_an_unknown_model_is_told_with_the_nearest_names(sdk: openai.OpenAI) -> None:
    for name in ("dev/helo", "helo"):
        with pytest.raises(openai.NotFoundError) as caught:
            sdk.chat.completions.create(model=name, messages=HI)
        assert caught.value.code == "model_not_found"
        assert caught.value.body["details"]["nearest"]
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("nothing-like-it")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{not json", "invalid_request"),
        (b"\xff\xfe", "invalid_request"),
        (b"[1]", "invalid_request"),
        (b'{"messages": []}', "invalid_request"),
        (b'{"model": "dev/hello"}', "invalid_request"),
        (b'{"model": "dev/hello", "messages": ["hi"]}', "invalid_request"),
        (b'{"model": "dev/hello", "messages": []}', "invalid_request"),
        (b'{"model": "dev/hello", "messages": [{"role": "user", "content": 7}]}', "invalid_request"),
    ],
)
def test_a_bad_body_is_refused_with_400(server: LiveServer, content: bytes, code: str) -> None:
    reply = post(server, content)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert (error["code"], error["type"]) == (code, "invalid_request_error")


def test_a_body_over_the_limit_is_refused_with_413(server: LiveServer) -> None:
    reply = post(server, b" " * (11 * 2**20))
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")

    def pieces():
        for _ in range(11):
            yield b" " * 2**20

    headers = {"authorization": f"Bearer {server.token}"}
    chunked = httpx.post(f"{server.url}/v1/chat/completions", content=pieces(), headers=headers, timeout=120)
    assert (chunked.status_code, chunked.json()["error"]["code"]) == (413, "too_large")


def test_too_many_tokens_are_the_callers_fault(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="dev/hello", messages=[{"role": "user", "content": "word " * 20_000}])
    assert caught.value.code == "context_length_exceeded"


def test_keys_are_checked_and_a_revoked_one_stops_at_once(server: LiveServer) -> None:
    body = json.dumps({"model": "dev/hello", "messages": HI, "max_tokens": 2}).encode()
    bare = json.dumps({"model": "hello@1", "messages": HI, "max_tokens": 2}).encode()
    assert post(server, body, key=None).json()["error"]["code"] == "key_missing"
    assert post(server, body, key="tm-wrong").status_code == 401
    with server.client() as client:
        client.access.create_person("vera", roles=["viewer"])
        created_key = client.access.create_key("vera")
        assert post(server, body, key=created_key.secret).status_code == 200
        refused = post(server, bare, key=created_key.secret)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "role_missing")
        client.access.revoke_key(created_key.key.id)
        revoked = post(server, body, key=created_key.secret)
        assert (revoked.status_code, revoked.json()["error"]["code"]) == (401, "key_revoked")
        expiry = utc_now() + timedelta(seconds=0.5)
        late = client.access.create_key("vera", expires_at=expiry)
        while utc_now() <= expiry:
            time.sleep(0.05)
        assert post(server, body, key=late.secret).json()["error"]["code"] == "key_expired"
        calls = client.gateway.calls(caller="vera").items
    assert [c.http_status for c in calls] == [403, 200]


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_frees_the_place_and_is_in_the_books(server: LiveServer, stream: bool) -> None:
    body = json.dumps(
        {"model": "dev/hello", "messages": HI, "stream": stream, "max_tokens": 2000, "logit_bias": ENDLESS}
    ).encode()
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port)) as line, server.client() as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.token}\r\n"
        line.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        wait_for(lambda: any(r.in_flight for r in client.deployments.engines().replicas))
        if stream:
            assert line.recv(4096).startswith(b"HTTP/1.1 200")
        line.close()
        wait_for(lambda: not any(r.in_flight for r in client.deployments.engines().replicas))
        wait_for(lambda: client.gateway.calls(limit=1).items[0].status == "aborted")
        replica = next(r for r in client.deployments.engines().replicas if r.pinned)
        wait_for(lambda: _busy(replica.base_url) == 0)


def _busy(base_url: str) -> float:
    text = httpx.get(f"{base_url}/metrics").text
    line = next(line for line in text.splitlines() if line.startswith("llamacpp:requests_processing"))
    return float(line.split()[-1])


def test_a_releases_prompt_comes_first_and_needs_its_variables(server: LiveServer, sdk: openai.OpenAI) -> None:
    with server.client() as client:
        client.releases.create("terse", model="smollm2", prompt="terse", sampling={"max_tokens": 3})
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model="terse", messages=HI)
    assert (caught.value.code, caught.value.param) == ("prompt_variables_missing", "prompt_variables")
    assert "--variable style=..." in caught.value.body["hint"]
    variables = {"prompt_variables": {"style": "tersely " * 50}}
    long = sdk.chat.completions.create(model="terse", messages=HI, extra_body=variables)
    short = sdk.chat.completions.create(model="terse", messages=HI, extra_body={"prompt_variables": {"style": "so"}})
    assert long.usage.prompt_tokens > short.usage.prompt_tokens + 40
    assert short.usage.completion_tokens == 3


def test_what_is_not_there_is_told(server: LiveServer) -> None:
    headers = {"authorization": f"Bearer {server.token}"}
    reply = httpx.get(f"{server.url}/v1/nothing", headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_route")
    assert reply.headers["x-request-id"].startswith("req_")


def test_what_has_no_effect_is_named_in_the_headers(server: LiveServer) -> None:
    body = {"model": "dev/hello", "messages": HI, "max_tokens": 2, "store": False, "service_tier": "auto"}
    reply = post(server, json.dumps(body).encode())
    assert (reply.status_code, reply.headers["x-tidemill-ignored"]) == (200, "store, service_tier")
    with server.client() as client:
        assert client.gateway.call(reply.json()["id"]).ignored == ["store", "service_tier"]


def test_an_engine_that_shows_no_tools_is_not_asked_with_tools(server: LiveServer) -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    reply = post(server, json.dumps({"model": "dev/hello", "messages": HI, "tools": tools}).encode())
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", "tools")


def test_an_environment_that_refuses_overrides_answers_as_the_release_is_frozen(server: LiveServer) -> None:
    def ask(**fields: object) -> httpx.Response:
        return post(server, json.dumps({"model": "dev/hello", "messages": HI, **fields}).encode())

    with server.client() as client:
        assert client.deployments.update_environment("dev", overrides="refuse").overrides == "refuse"
        try:
            wait_for(lambda: ask(max_tokens=2).status_code == 400)
            refused = ask(max_tokens=2, seed=1)
            error = refused.json()["error"]
            assert (error["code"], error["param"]) == ("overrides_refused", "max_tokens")
            call = client.gateway.call(refused.headers["x-request-id"])
            assert (call.http_status, call.error_code) == (400, "overrides_refused")
            assert call.overrides == ["max_tokens", "seed"]
            # What the release has frozen may be said again, and names outside of the environment are the caller's own.
            assert ask(max_tokens=24, temperature=0).status_code == 200
            assert ask(model="hello@1", max_tokens=2).status_code == 200
        finally:
            client.deployments.update_environment("dev", overrides="allow")
        wait_for(lambda: ask(max_tokens=2).status_code == 200)


def test_an_answer_leads_back_to_its_release(server: LiveServer, sdk: openai.OpenAI) -> None:
    reply = sdk.chat.completions.create(model="dev/hello", messages=HI, max_tokens=2)
    with server.client() as client:
        call = client.gateway.call(reply.id)
        assert call.deployment_id == client.deployments.list(environment="dev", active=True).items[0].id
        assert reply.system_fingerprint == call.release_id
