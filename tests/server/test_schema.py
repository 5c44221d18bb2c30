"""Whatever the OpenAPI document allows, and what it does not, is answered without a fault of the server."""

import json
import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.architecture.source import ROOT
from tests.deployments.live import fill
from tidemill.core.asgi import LOCAL_SCOPE, Receive, Scope, Send
from tidemill.core.settings import Settings
from tidemill.server.app import build

EXAMPLES = int(os.environ.get("TIDEMILL_TEST_EXAMPLES", "4"))
"""Requests for each operation, the same in every run. Set more to search longer."""

DOCUMENT = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.schemas.BaseSchema]:
    """The document of an application on a home with two releases, asked by its owner."""
    home = tmp_path_factory.mktemp("schema")
    fill(home)
    application = build(Settings(home=home))

    async def owner(scope: Scope, receive: Receive, send: Send) -> None:
        await application.asgi({**scope, LOCAL_SCOPE: True} if scope["type"] == "http" else scope, receive, send)

    yield schemathesis.openapi.from_asgi("/api/openapi.json", owner)
    application.kernel.close()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{m.upper()} {p}" for m, p in OPERATIONS])
def test_no_request_makes_the_server_fail(schema: schemathesis.schemas.BaseSchema, method: str, path: str) -> None:
    @given(case=schema[path][method].as_strategy())
    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    def ask(case: schemathesis.Case) -> None:
        reply = case.call()
        statuses.append(reply.status_code)
        assert reply.status_code < 500, reply.text
        case.validate_response(reply, checks=CHECKS)

    statuses: list[int] = []
    ask()
    assert statuses, "nothing was asked"
