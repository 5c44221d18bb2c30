"""A canary with real engines: users stay where they are, and nothing that dies costs an answer or a release."""

import concurrent.futures
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest

from tests.deployments.live import LiveServer, served, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.slow]

USERS = [f"user-{n}" for n in range(12)]


@pytest.fixture(scope="module")
def server(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with served(tmp_path_factory.mktemp("canary") / "home", filled_home) as made:
        yield made


def ask(server: LiveServer, user: str | None = None, model: str = "dev/hello") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    if user is not None:
        body["user"] = user
    headers = {"authorization": f"Bearer {server.token}"}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=120)


def answered_by(server: LiveServer) -> dict[str, str]:
    """User -> the release that answered."""
    with concurrent.futures.ThreadPoolExecutor(4) as callers:
        replies = list(callers.map(lambda user: ask(server, user), USERS))
    assert [r.status_code for r in replies] == [200] * len(USERS)
    return {user: reply.json()["model"] for user, reply in zip(USERS, replies, strict=True)}


def engine(server: LiveServer, release: str) -> int | None:
    """The process that answers for a release."""
    with server.client() as client:
        return next((r.pid for r in client.deployments.engines().replicas if r.serves == release), None)


def test_users_stay_where_they_are_through_deaths_of_engine_and_server(server: LiveServer) -> None:
    with server.client() as client:
        made = client.rollouts.start("hello@2", "dev", steps=[{"weight": 50}, {"pause": {}}])
        assert client.rollouts.wait(made.id, timeout=120).state == "paused"
        before = answered_by(server)
        assert set(before.values()) == {"hello@1", "hello@2"}
        assert answered_by(server) == before
        # The canary's engine dies: its users are answered all the same, and come back to it.
        victim = next(r for r in client.deployments.engines().replicas if r.serves == "hello@2")
        psutil.Process(victim.pid).kill()
        answered_by(server)
        wait_for(lambda: answered_by(server) == before)
        wait_for(lambda: _machine(server, made.id)[0] >= 1)
        assert client.rollouts.get(made.id).state == "paused"
    server.kill()
    server.start()
    with server.client() as client:
        found = client.rollouts.get(made.id)
        assert (found.state, found.weight, found.step) == ("paused", 50, 1)
        wait_for(lambda: answered_by(server) == before)
        assert _machine(server, made.id)[0] >= 1
        moment = datetime.now(UTC)
        shares = {a.release: a.share for a in client.deployments.at(moment, environment="dev").items}
        assert shares == {"hello@1": 50, "hello@2": 50}
        assert client.rollouts.resume(made.id, note="looks well").state == "promoted"
        wait_for(lambda: set(answered_by(server).values()) == {"hello@2"})
        story = [(s.move, s.actor) for s in client.rollouts.show("dev/hello").history]
        assert story[-2:] == [("resumed", story[-1][1]), ("promoted", story[-1][1])]


def _machine(server: LiveServer, rollout: str) -> tuple[int, int]:
    with server.client() as client:
        now = client.rollouts.show(rollout).now
        return (now.infrastructure.deaths, now.infrastructure.fallbacks) if now is not None else (0, 0)


def test_blue_green_switches_and_goes_back_at_once(server: LiveServer) -> None:
    with server.client() as client:
        live = client.deployments.list(environment="dev", active=True).items[0].release
        other = "hello@1" if live == "hello@2" else "hello@2"
        made = client.rollouts.start(other, "dev", strategy="blue_green", warm="10m")
        wait_for(lambda: client.rollouts.get(made.id).weight == 100)
        wait_for(lambda: ask(server).json()["model"] == other)
        warm = engine(server, live)
        assert client.rollouts.abort(made.id).state == "aborted"
        wait_for(lambda: ask(server).json()["model"] == live)
        assert engine(server, live) == warm, "it was kept warm, so none is started"
        assert client.deployments.list(environment="dev", active=True).items[0].release == live


def test_a_release_that_people_dislike_is_rolled_back_by_itself(server: LiveServer) -> None:
    rules = {"scores": [{"name": "feedback", "margin": 0.2}], "min_answers": 50, "errors": None}
    with server.client() as client:
        live = client.deployments.list(environment="dev", active=True).items[0].release
        other = "hello@1" if live == "hello@2" else "hello@2"
        made = client.rollouts.start(other, "dev", steps=[{"weight": 50}, {"analysis": rules}])
        wait_for(lambda: client.rollouts.get(made.id).weight == 50)
        for number in range(60):
            reply = ask(server, f"judge-{number}").json()
            thumbs = "up" if reply["model"] == live else "down"
            client.scores.feedback(response_id=reply["id"], thumbs=thumbs)
            if client.rollouts.get(made.id).state == "rolled_back":
                break
        wait_for(lambda: client.rollouts.get(made.id).state == "rolled_back")
        page = client.rollouts.show(made.id)
        assert "feedback is worse: 0 against 1" in page.rollout.reason
        assert page.now.canary_answers >= page.now.scores[0].canary_answers >= 3
        assert page.now.scores[0].worse >= page.now.scores[0].needed == 20
        wait_for(lambda: set(answered_by(server).values()) == {live})
        assert client.deployments.get(made.deployment_id).state == "rolled_back"


def test_a_shadow_answers_nobody_and_both_answers_are_kept(server: LiveServer) -> None:
    with server.client() as client:
        live = client.deployments.list(environment="dev", active=True).items[0].release
        other = "hello@1" if live == "hello@2" else "hello@2"
        steps = [{"shadow": {"share": 100, "concurrency": 2}}, {"analysis": {"min_answers": 3, "max_duration": "2m"}}]
        made = client.rollouts.start(other, "dev", strategy="shadow", steps=steps)
        wait_for(lambda: client.rollouts.get(made.id).shadow is not None)
        asked = []
        while client.rollouts.get(made.id).state == "running" and len(asked) < 60:
            reply = ask(server, f"s-{len(asked)}").json()
            assert reply["model"] == live
            asked.append(reply["id"])
        assert client.rollouts.wait(made.id, timeout=120).state == "finished"
        page = client.rollouts.show(made.id)
        assert page.now.shadow.pairs >= 3
        assert page.now.shadow.agreement == 1.0  # both are greedy and cut at the same length
        assert page.now.shadow.shadow_tokens > 0
        pair = client.rollouts.pairs(made.id).items[-1]
        assert pair.call_id in asked
        assert pair.live == pair.shadow
        assert [d.release for d in client.deployments.list(environment="dev", active=True).items] == [live]


def test_a_retired_name_says_so_until_it_is_gone(server: LiveServer, tmp_path: Path) -> None:
    with server.client() as client:
        sunset = datetime.now(UTC) + timedelta(hours=1)
        found = client.deployments.retire("dev/hello", sunset=sunset, successor="hello@1").items[0]
        assert (found.model, found.ended_at) == ("dev/hello", None)
        wait_for(lambda: "sunset" in ask(server).headers)
        reply = ask(server)
        assert reply.status_code == 200
        assert reply.headers["deprecation"] == f"@{int(found.announced_at.timestamp())}"
        assert reply.headers["sunset"].endswith("GMT")
        assert reply.headers["link"] == '</v1/models/hello%401>; rel="successor-version"'
        client.deployments.retire("dev/hello", sunset=datetime.now(UTC) + timedelta(seconds=1), successor="hello@1")
        wait_for(lambda: ask(server).status_code == 410)
        error = ask(server).json()["error"]
        assert (error["code"], error["details"]["successor"]) == ("model_retired", "hello@1")
        assert "Its successor is hello@1" in error["message"]
        wait_for(lambda: client.deployments.retirements().items[0].ended_at is not None)
        assert client.deployments.list(environment="dev", active=True).items == []
        client.deployments.keep("dev/hello")
        wait_for(lambda: ask(server).status_code == 404)
