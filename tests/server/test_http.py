"""The application over HTTP: who may enter, the one error shape, limits."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tidemill.access import service as access
from tidemill.access.types import KeyCreate, PersonCreate
from tidemill.client import Client
from tidemill.core import server_lock
from tidemill.core.actors import OWNER
from tidemill.core.blobs import Blob
from tidemill.core.http import InProcessTransport, ServerUnreachable
from tidemill.core.settings import Settings
from tidemill.server.app import Application, build


@pytest.fixture
def application(home) -> Iterator[Application]:
    made = build(Settings(home=home, max_body_bytes=4096))
    yield made
    made.kernel.close()


@pytest.fixture
def outside(application: Application) -> Iterator[httpx.Client]:
    """Somebody who does not own the home folder: every request needs a key."""

    class Stranger(InProcessTransport):
        async def _marked(self, scope, receive, send) -> None:
            await self.app(scope, receive, send)

    with httpx.Client(base_url="http://x", transport=Stranger(application.asgi)) as client:
        yield client


def secret(application: Application, role: str) -> dict[str, str]:
    with application.kernel.write(OWNER) as ctx:
        access.create_person(ctx, PersonCreate.model_validate({"name": role, "roles": [role]}))
        made = access.create_key(ctx, KeyCreate(person=role))
    return {"authorization": f"Bearer {made.secret}"}


def test_no_key_and_a_wrong_key_are_401_in_the_one_shape(outside: httpx.Client) -> None:
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic eDp5"}):
        reply = outside.get("/api/prompts", headers=headers)
        assert reply.status_code == 401
        assert set(reply.json()["error"]) >= {"message", "type", "param", "code"}
        assert reply.headers["x-request-id"].startswith("req_")


def test_a_role_that_does_not_suffice_is_403(application: Application, outside: httpx.Client) -> None:
    viewer = secret(application, "viewer")
    assert outside.get("/api/prompts", headers=viewer).status_code == 200
    reply = outside.post("/api/prompts", headers=viewer, json={"name": "x", "text": "y"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "role_missing")


def test_a_stranger_cannot_pass_as_the_owner_of_the_home(outside: httpx.Client) -> None:
    assert outside.get("/api/access/me", headers={"tidemill.local": "true"}).status_code == 401


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "bad_request"),
        (b"[]", 422, "invalid"),
        (b'{"name": "x"}', 422, "invalid"),
        (b'{"name": "Not A Name", "text": "x"}', 422, "invalid"),
        (b'{"name": "x", "text": "y", "colour": 1}', 422, "invalid"),
        (json.dumps({"name": "x", "text": "y" * 5000}).encode(), 413, "too_large"),
    ],
)
def test_bad_bodies_are_refused_clearly(application, outside, content: bytes, status: int, code: str) -> None:
    headers = secret(application, "developer") | {"content-type": "application/json"}
    reply = outside.post("/api/prompts", headers=headers, content=content)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert outside.get("/api/prompts", headers=headers).json()["items"] == []


def test_unknown_paths_and_methods_have_the_one_shape(application, outside) -> None:
    headers = secret(application, "viewer")
    assert outside.get("/api/nowhere", headers=headers).json()["error"]["code"] == "not_found"
    for method, path, allowed in (
        ("PUT", "/api/prompts", "GET, POST"),
        ("PATCH", "/api/model-versions/tiny@1", "GET, DELETE"),
        ("DELETE", "/api/openapi.json", "GET"),
    ):
        reply = outside.request(method, path, headers=headers)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], reply.headers["allow"]) == (405, "method_not_allowed", allowed)
        assert error["message"] == f"{path} does not take {method}."
        assert error["hint"] == f"It takes {allowed}."


def test_an_unexpected_error_is_500_with_its_request_id_and_no_trace(application, outside, monkeypatch) -> None:
    headers = secret(application, "viewer")
    monkeypatch.setattr("tidemill.prompts.service.list_prompts", lambda *_a, **_k: 1 / 0)
    reply = outside.get("/api/prompts", headers=headers)
    assert reply.status_code == 500
    assert reply.headers["x-request-id"] in reply.json()["error"]["message"]
    assert "ZeroDivision" not in reply.text


def test_a_large_file_is_never_whole_in_memory(client: Client, home) -> None:
    """Also without a server between: what has been sent is on the disk before the rest is read."""
    written = []

    def pieces() -> Iterator[bytes]:
        for _ in range(8):
            yield b"x" * 2**20
            written.append(sum(path.stat().st_size for path in (home / "blobs" / "incoming").glob("put-*")))

    blob = client.http.upload("/api/blobs", Blob, pieces())
    assert blob.size == 8 * 2**20
    assert written[-1] >= 2**20


@pytest.mark.slow
def test_waiting_for_a_job_in_an_embedded_client_starts_somebody_to_do_it(home, tmp_path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")
    with Client() as client:
        made = client.data.import_(source, name="rows", row_schema="text")
        assert made.rows == 2
    assert server_lock.find(home) is None


@pytest.mark.parametrize("opening", [b"[", b'{"":'])
@pytest.mark.parametrize("depth", [300, 700, 2000])
def test_a_body_that_is_nested_without_end_is_the_callers_fault(
    application: Application, opening: bytes, depth: int
) -> None:
    with httpx.Client(base_url="http://x", transport=InProcessTransport(application.asgi)) as client:
        for path in ("/api/prompts", "/api/scores", "/api/releases", "/api/evals/runs"):
            reply = client.post(path, content=opening * depth, headers={"content-type": "application/json"})
            assert 400 <= reply.status_code < 500, reply.text
            closing = b"]" * depth if opening == b"[" else b"1" + b"}" * depth
            reply = client.post(path, content=opening * depth + closing, headers={"content-type": "application/json"})
            assert 400 <= reply.status_code < 500, reply.text


@pytest.mark.parametrize(
    "query",
    [
        "/api/kpi-series?score=s&since=0001-01-01T00:00:00Z",
        "/api/kpi-series?score=s&until=9999-12-31T23:59:59Z",
        "/api/kpi-series?score=s&source=robot",
        "/api/kpi-series?score=s&step_s=1",
        "/api/scores/series?bucket_seconds=-99999999999999",
        "/api/scores/series?bucket_seconds=0",
        "/api/traces?since=9999-12-31T23:59:59-12:00",
    ],
)
def test_times_and_steps_that_cannot_be_are_refused(application: Application, query: str) -> None:
    with httpx.Client(base_url="http://x", transport=InProcessTransport(application.asgi)) as client:
        reply = client.get(query)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid"), reply.text


@pytest.mark.parametrize("day", ["0000-00-00", "9088-43-55", "2026-02-30", "yesterday"])
def test_a_day_that_cannot_be_is_refused(application: Application, day: str) -> None:
    with httpx.Client(base_url="http://x", transport=InProcessTransport(application.asgi)) as client:
        reply = client.post("/api/traces/prune", json={"before": day})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "before"), reply.text


def test_asking_a_server_that_is_gone_is_said_in_a_sentence() -> None:
    with Client("http://127.0.0.1:9", api_key="tm-x") as client:
        with pytest.raises(ServerUnreachable, match="No answer"):
            client.gateway.ask("dev/hello", [{"role": "user", "content": "Hi"}])
        with pytest.raises(ServerUnreachable, match="No answer"):
            list(client.gateway.stream("dev/hello", [{"role": "user", "content": "Hi"}]))
