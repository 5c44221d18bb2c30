"""Real instrumentations watch a real OpenAI client that asks a real server, and send their spans to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import openai
import pytest

from tests.deployments.live import LiveServer, served, wait_for
from tidemill.core.wire import utc_now
from tidemill.traces.types import SpanDetail

pytestmark = [pytest.mark.engine, pytest.mark.slow]

APPLICATION = Path(__file__).with_name("application.py")
SENDERS = ["otel", "openinference", "traceloop", "logfire", "mlflow"]
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi."}]


@pytest.fixture(scope="module")
def server(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with hello@1 live in dev, whose tokens cost a dollar a million."""
    with served(tmp_path_factory.mktemp("served") / "home", filled_home) as made:
        with made.client() as client:
            client.prices.create("hello@*", input_per_million=1.0, output_per_million=1.0)
        yield made


@pytest.fixture(scope="module")
def sent(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Every application at once; the ids of the whole and of the streamed reply of each."""
    home = tmp_path_factory.mktemp("applications")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TIDEMILL_"))}
    running = {}
    for sender in SENDERS:
        argv = [sys.executable, str(APPLICATION), sender, server.url, server.token]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running[sender] = subprocess.Popen(argv, text=True, cwd=home, env=environment, **pipes)
    found = {}
    for sender, process in running.items():
        said, complaints = process.communicate(timeout=240)
        assert process.returncode == 0, complaints
        assert "refused model_not_found" in said
        found[sender] = said.split("replies ")[1].split()
    return found


def spans_of(server: LiveServer, dialect: str) -> list[SpanDetail]:
    with server.client() as client:
        return [span for span in client.traces.tail(limit=500).spans if span.dialect == dialect]


def calls(server: LiveServer, sender: str) -> list[SpanDetail]:
    wait_for(lambda: len([s for s in spans_of(server, sender) if s.kind == "llm"]) >= 3)
    return sorted((s for s in spans_of(server, sender) if s.kind == "llm"), key=lambda s: s.start)


@pytest.mark.parametrize("sender", SENDERS)
def test_model_tokens_messages_and_cost_are_there(server: LiveServer, sent: dict[str, list[str]], sender: str) -> None:
    whole, stream, refused = calls(server, sender)
    with server.client() as client:
        books = [client.gateway.call(reply) for reply in sent[sender]]
    # Logfire tells neither the reply's model nor its id once it streams.
    told = [(whole, books[0])] if sender == "logfire" else [(whole, books[0]), (stream, books[1])]
    for span, call in told:
        assert (span.model, span.response_id) == ("hello@1", call.id)
        assert span.cost_usd == pytest.approx((call.prompt_tokens + call.completion_tokens) / 1e6)
        assert span.cost_source == "rule"
    for span, call in zip((whole, stream), books, strict=True):
        assert (span.input_tokens, span.output_tokens) == (call.prompt_tokens, call.completion_tokens)
        assert span.input == ASKED
        assert span.output[0]["role"] == "assistant"
        assert span.output[0]["content"]
        assert span.status != "error"
    assert refused.status == "error"
    assert refused.model == "dev/nothing"


def test_the_gateways_span_of_the_same_call_says_more(server: LiveServer, sent: dict[str, list[str]]) -> None:
    whole, stream = (calls(server, "openinference"))[:2]
    with server.client() as client:
        ours = [client.traces.response(reply) for reply in sent["openinference"]]
        release = client.releases.get("hello@1")
    assert [span.dialect for span in ours] == ["gateway", "gateway"]
    assert (ours[0].environment, ours[0].release_id, ours[0].user, ours[0].session) == (
        "dev",
        release.id,
        "anna",
        "s-1",
    )
    assert ours[0].input == ASKED
    assert [span.output[0]["content"] for span in ours] == [whole.output[0]["content"], stream.output[0]["content"]]
    assert ours[1].ttft_ms is not None
    assert 0 < ours[1].ttft_ms <= ours[1].duration_ms
    assert 0 < ours[1].attributes["tidemill.engine_seconds"] <= ours[1].duration_ms / 1000


def test_a_call_that_both_sides_report_is_counted_once(server: LiveServer, sent: dict[str, list[str]]) -> None:
    for sender in SENDERS:
        calls(server, sender)
    with server.client() as client:
        since = utc_now() - timedelta(hours=1)
        points = client.traces.series(since=since, by="model", key="hello@1")
        kept = [client.gateway.call(reply) for replies in sent.values() for reply in replies]
        hidden = [span for span in calls(server, "logfire") if span.response_id is None and span.status != "error"]
    # A stream that Logfire watched cannot be recognised: it counts beside the gateway's span.
    tokens = sum(call.completion_tokens for call in kept)
    assert sum(p.output_tokens for p in points) == tokens
    assert [span.model for span in hidden] == ["dev/hello"]


def test_a_callers_trace_goes_on_in_the_gateway(server: LiveServer) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0) as sdk:
        headers = {"traceparent": f"00-{trace}-{span}-01"}
        reply = sdk.chat.completions.create(model="dev/hello", messages=ASKED, extra_headers=headers)
    with server.client() as client:
        ours = client.traces.response(reply.id)
        assert client.gateway.call(reply.id).trace_id == trace
        lineage = client.governance.lineage(reply.id)
    assert (ours.trace_id, ours.parent_id) == (trace, span)
    assert lineage.node.kind == "call"
    assert {"release", "model_version"} <= {node.kind for node in lineage.up.nodes}
    assert {edge.relation for edge in lineage.up.edges if edge.child_id == reply.id} == {"answered_by"}
    assert [node.id for node in lineage.down.nodes] == [reply.id]
