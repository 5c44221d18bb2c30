"""Releases come and go, engines and servers die, and callers notice nothing or are told plainly."""

import concurrent.futures
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from tests.deployments.live import ENDLESS, LiveServer, served, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.slow]

QUESTION = [{"role": "user", "content": "Count from one to ten."}]


def chat(server: LiveServer, model: str = "dev/hello", **fields: object) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/chat/completions",
        json={"model": model, "messages": QUESTION, **fields},
        headers={"authorization": f"Bearer {server.token}"},
        timeout=120,
    )


def ask(server: LiveServer, number: int) -> str:
    """One request in one of three ways; returns the release that answered. Raises when anything is amiss."""
    if number % 3 == 0:
        reply = chat(server)
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert body["choices"][0]["message"]["content"]
        return body["model"]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0, timeout=120) as client:
        if number % 3 == 1:
            answer = client.chat.completions.create(model="dev/hello", messages=QUESTION)
            assert answer.choices[0].message.content
            return answer.model
        chunks = list(client.chat.completions.create(model="dev/hello", messages=QUESTION, stream=True))
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
        assert len({c.id for c in chunks}) == 1
        return chunks[0].model


def test_no_request_fails_while_a_release_is_deployed_and_rolled_back(server: LiveServer) -> None:
    stop = threading.Event()
    answered: list[str] = []

    def caller(number: int) -> None:
        while not stop.is_set():
            answered.append(ask(server, number))
            number += 1

    with concurrent.futures.ThreadPoolExecutor(100) as callers, server.client() as client:
        running = [callers.submit(caller, n) for n in range(100)]
        wait_for(lambda: client.deployments.engines().waiting > 50)
        deployed = client.deployments.wait(client.deployments.deploy("hello@2", "dev").id)
        wait_for(lambda: answered.count("hello@2") > 20)
        back = client.deployments.wait(client.deployments.rollback("dev").id)
        seen = len(answered)
        wait_for(lambda: len(answered) > seen + 40)
        stop.set()
        for future in running:
            future.result()
    assert (deployed.state, back.state, back.release, back.kind) == ("live", "live", "hello@1", "rollback")
    assert set(answered) == {"hello@1", "hello@2"}
    assert answered[-1] == "hello@1"
    with server.client() as client:
        served_then = client.deployments.list(environment="dev", at=deployed.live_at).items
        assert [d.release for d in served_then] == ["hello@2"]
        page = client.gateway.calls(limit=500)
        assert len([c for c in page.items if c.status == "ok"]) >= min(len(answered), 450)
        assert {c.status for c in page.items} == {"ok"}


def test_an_engine_that_is_killed_is_replaced_and_no_whole_reply_fails(server: LiveServer) -> None:
    with server.client() as client, concurrent.futures.ThreadPoolExecutor(12) as callers:
        before = next(r for r in client.deployments.engines().replicas if r.pinned)
        waiting = [callers.submit(chat, server, temperature=0, max_tokens=120, logit_bias=ENDLESS) for _ in range(12)]
        wait_for(lambda: any(r.in_flight for r in client.deployments.engines().replicas))
        psutil.Process(before.pid).kill()
        replies = [future.result() for future in waiting]
        assert [r.status_code for r in replies] == [200] * 12
        after = next(r for r in client.deployments.engines().replicas if r.pinned)
        assert after.pid != before.pid
        assert after.restarts >= 1
        assert max(client.gateway.call(r.json()["id"]).attempts for r in replies) == 2


def test_a_stream_whose_engine_dies_ends_with_an_error_event(server: LiveServer) -> None:
    with server.client() as client, openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token) as sdk:
        wait_for(lambda: [r for r in client.deployments.engines().replicas if r.state == "ready" and r.pinned])
        pid = next(r.pid for r in client.deployments.engines().replicas if r.pinned)
        stream = sdk.chat.completions.create(
            model="dev/hello", messages=QUESTION, stream=True, max_tokens=2000, logit_bias=ENDLESS
        )
        chunks = [next(stream), next(stream)]
        psutil.Process(pid).kill()
        with pytest.raises(openai.APIError) as caught:
            chunks += list(stream)
        assert caught.value.code == "engine_died"
        call = client.gateway.call(chunks[0].id)
        assert (call.status, call.error_code, call.http_status) == ("error", "engine_died", 200)
        assert call.completion_tokens >= 1


def test_a_corrupt_model_fails_plainly_and_the_old_release_goes_on(server: LiveServer, tmp_path: Path) -> None:
    with server.client() as client:
        wait_for(lambda: chat(server).status_code == 200)
        version = client.models.get("smollm2@1")
        weights = server.home / "cache" / "models" / version.id / version.files[0].path
        kept = weights.read_bytes()
        release = client.releases.create("hello", model="smollm2", sampling={"temperature": 0.5, "max_tokens": 8})
        weights.unlink()  # its own file now, no link to the blob
        weights.write_bytes(kept[:1_000_000].ljust(len(kept), b"\0"))
        try:
            failed = client.deployments.wait(client.deployments.deploy(release.ref, "dev").id, timeout=120)
        finally:
            weights.unlink()
            weights.write_bytes(kept)
        assert failed.state == "failed"
        assert "exit code" in failed.error
        assert chat(server).json()["model"] == "hello@1"
        again = client.deployments.wait(client.deployments.deploy(release.ref, "dev").id, timeout=120)
        assert again.state == "live"
        back = client.deployments.wait(client.deployments.rollback("dev").id)
        assert back.release == "hello@1"


def test_a_release_that_is_not_deployed_starts_on_demand(server: LiveServer) -> None:
    reply = chat(server, model="hello@2")
    assert reply.json()["model"] == "hello@2"
    with server.client() as client:
        shown = {r.serves: r.pinned for r in client.deployments.engines().replicas}
        assert shown["hello@2"] is False
        call = client.gateway.call(reply.json()["id"])
        assert (call.environment, call.release_id) == (None, client.releases.get("hello@2").id)


@pytest.fixture
def own(filled_home: Path, tmp_path: Path) -> Iterator[LiveServer]:
    with served(tmp_path / "home", filled_home) as made:
        yield made


def test_a_killed_server_comes_back_with_its_environments_and_leaves_no_engine(own: LiveServer) -> None:
    with own.client() as client:
        pid = client.deployments.engines().replicas[0].pid
        ordered = client.deployments.deploy("hello@2", "dev")
    own.kill()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    own.start()
    with own.client() as client:
        assert client.deployments.wait(ordered.id, timeout=120).state == "live"
        assert chat(own).json()["model"] == "hello@2"
        assert [d.release for d in client.deployments.list(environment="dev", active=True).items] == ["hello@2"]
    own.stop()
    assert not list((own.home / "run" / "engines").glob("*.json"))
