"""The role observer: no route shows it anything that a user or a model wrote."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from tests.traces.makers import call, write
from tidemill.access import service as access
from tidemill.access.types import KeyCreate, PersonCreate
from tidemill.core.actors import OWNER, ROLES, Actor, Role
from tidemill.core.http import InProcessTransport
from tidemill.core.settings import Settings
from tidemill.core.wire import utc_now
from tidemill.feedback import service as feedback
from tidemill.feedback.types import Feedback
from tidemill.server.app import ROUTERS, Application, build
from tidemill.traces.types import EventRecord, LinkRecord, SpanPayload

MARK = "Quetzalwort"
SINCE = "2026-01-01T00:00:00Z"


@pytest.fixture
def application(home: Path, database_url: str) -> Iterator[Application]:
    url = None if database_url.startswith("sqlite") else database_url
    application = build(Settings(home=home, database_url=url))
    yield application
    application.kernel.close()


@pytest.fixture
def written(application: Application) -> Application:
    """A trace of the gateway with a marker in all that is written."""
    payload = SpanPayload(
        input=[{"role": "user", "content": MARK}],
        output=[{"role": "assistant", "content": MARK, "tool_calls": [{"function": {"arguments": MARK}}]}],
        attributes={"gen_ai.request.model": "small", "note": MARK, "tidemill.http_status": 200, "n": 3},
        events=[EventRecord(1, "exception", {"exception.message": MARK, "exception.type": "ValueError"})],
        links=[LinkRecord("0" * 32, "0" * 16, {"why": MARK})],
        resource={"service.name": "shop", "process.command_line": MARK},
    )
    kernel = application.kernel
    now = int(utc_now().timestamp() * 1e9) - 10**9
    write(
        kernel,
        call(1, start=now, response_id="chatcmpl-1", status="error", status_message=f"cannot say {MARK}", user="ada",
             session="s-1", dialect="gateway", service="tidemill-gateway", payload=payload),
    )  # fmt: skip
    with kernel.write(OWNER) as ctx:
        said = {"response_id": "chatcmpl-1", "thumbs": "down", "comment": MARK, "correction": MARK}
        feedback.give_feedback(ctx, Feedback.model_validate(said))
    return application


def client_of(application: Application, role: Role) -> httpx.Client:
    with application.kernel.write(OWNER) as ctx:
        access.create_person(ctx, PersonCreate(name=role, roles=[role]))
        key = access.create_key(ctx, KeyCreate(person=role)).secret
    transport = InProcessTransport(application.asgi)
    return httpx.Client(
        transport=transport, base_url="http://tidemill", headers={"authorization": f"Bearer {key}"}, timeout=60
    )


def paths() -> Iterator[str]:
    """Every path that is read by GET, for the trace of `written`."""
    values = {"trace_id": f"{1:032x}", "span_id": f"{1:016x}", "response_id": "chatcmpl-1", "call_id": "chatcmpl-1"}
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and "GET" in route.methods:
                path = re.sub(r"{(\w+)(:path)?}", lambda name: values.get(name[1], "x"), route.path)
                query = {"/api/traces/{trace_id}": "?payload=true", "/api/traces/series": f"?since={SINCE}"}
                yield path + query.get(route.path, "")


def test_no_route_shows_an_observer_what_was_written(written: Application) -> None:
    with client_of(written, "observer") as observer, client_of(written, "viewer") as viewer:
        shown = {path: (observer.get(path), viewer.get(path)) for path in paths() if "/metrics" not in path}
    assert {path for path, (seen, _) in shown.items() if MARK.lower() in seen.text.lower()} == set()
    assert {seen.status_code for seen, _ in shown.values()} <= {200, 400, 403, 404, 409, 422}
    for path in ("/api/traces", f"/api/traces/{1:032x}?payload=true", "/api/traces/tail", "/api/scores"):
        assert MARK in shown[path][1].text, f"{path} has no content to hide"


def test_an_observer_reads_names_and_figures(written: Application) -> None:
    with client_of(written, "observer") as observer:
        (trace,) = observer.get("/api/traces").json()["items"]
        tree = observer.get(f"/api/traces/{1:032x}?payload=true").json()
        (one,) = observer.get("/api/calls?user=ada").json()["items"]
        (session,) = observer.get("/api/traces/sessions").json()["items"]
        for path in ("/api/traces/search?text=a", "/api/traces?text=a", f"/api/traces?text={MARK}"):
            reply = observer.get(path)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "content_refused")
        assert observer.get("/api/scores").json()["error"]["code"] == "role_missing"
        assert observer.get("/api/access/me").json()["roles"] == ["observer"]
        assert {observer.get(path).status_code for path in ("/api/status", "/api/slos", "/api/deployments")} <= {
            200,
            500,
        }
    assert (trace["user"], trace["input_tokens"], trace["input"]) == ("ada", 10, None)
    span = tree["nodes"][0]["span"]
    assert span["attributes"] == {"gen_ai.request.model": "small", "tidemill.http_status": 200, "n": 3}
    assert (span["events"][0]["attributes"], span["resource"]) == (
        {"exception.type": "ValueError"},
        {"service.name": "shop"},
    )
    assert (one["id"], one["prompt_tokens"], session["calls"]) == ("chatcmpl-1", 10, 1)


def test_every_other_role_reads_as_before() -> None:
    for role in ROLES:
        actor = Actor(id="per_1", name="x", roles=frozenset({role}))
        assert actor.has("observer")
        assert actor.has("viewer") is (role != "observer")
