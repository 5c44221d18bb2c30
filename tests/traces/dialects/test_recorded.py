"""Every real instrumentation's spans of the same calls say the same in the one model."""

import pytest

from tests.traces.dialects.recorded import recorded
from tidemill.traces.dialects import map_span
from tidemill.traces.types import SpanRecord

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
SAID = [{"role": "assistant", "content": "Hello there"}]
CALL = {"type": "function", "function": {"name": "get_weather"}}

SENDERS = ["otel", "traceloop", "openinference", "mlflow", "logfire"]


def mapped(sender: str, kind: str | None = None) -> list[SpanRecord]:
    found = [map_span(raw) for raw in recorded(sender)]
    return [record for record in found if kind is None or record.kind == kind]


@pytest.mark.parametrize("sender", SENDERS)
def test_a_chat_shows_model_tokens_and_messages(sender: str) -> None:
    chat = mapped(sender, "llm")[0]
    assert (chat.model, chat.provider, chat.response_id) == ("gpt-4o-x", "openai", "chatcmpl-123")
    assert (chat.input_tokens, chat.output_tokens, chat.finish_reason) == (12, 5, "stop")
    assert chat.payload.input == ASKED
    assert chat.payload.output == SAID
    assert chat.dialect == sender
    assert chat.status != "error"


@pytest.mark.parametrize("sender", [s for s in SENDERS if s != "otel"])
def test_cached_and_reasoning_tokens_are_found_where_they_are_sent(sender: str) -> None:
    chat = mapped(sender, "llm")[0]
    assert (chat.cached_tokens, chat.reasoning_tokens) == (4, 2)


@pytest.mark.parametrize("sender", SENDERS)
def test_a_stream_is_one_call_with_its_whole_answer(sender: str) -> None:
    stream = mapped(sender, "llm")[1]
    assert stream.payload.output == SAID
    assert (stream.input_tokens, stream.output_tokens) == (12, 5)
    assert len(mapped(sender, "llm")) == 4
    if sender in ("traceloop", "openinference", "mlflow"):  # the others do not say when the first piece came
        assert stream.ttft_ms is not None
        assert 0 < stream.ttft_ms < 1000
        assert stream.payload.events == []


@pytest.mark.parametrize("sender", SENDERS)
def test_tool_calls_and_results_are_messages_in_openais_shape(sender: str) -> None:
    record = mapped(sender, "llm")[2]
    before, result = record.payload.input[2:]
    assert before["tool_calls"] == [
        {"id": "c0", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    ]
    assert {k: v for k, v in result.items() if v} == {"role": "tool", "tool_call_id": "c0", "content": "sunny"}
    (said,) = record.payload.output
    (call,) = said["tool_calls"]
    assert (call["id"], call["function"]["name"]) == ("call_1", "get_weather")
    assert call["function"]["arguments"].replace(" ", "") == '{"city":"Paris"}'
    assert record.finish_reason == "tool_calls"


@pytest.mark.parametrize("sender", SENDERS)
def test_a_call_that_failed_says_why_and_of_which_model(sender: str) -> None:
    failed = mapped(sender, "llm")[3]
    assert (failed.status, failed.model) == ("error", "bad")
    assert "no such model" in failed.status_message
    assert failed.payload.output is None


@pytest.mark.parametrize("sender", SENDERS)
def test_an_embedding_counts_its_tokens_and_keeps_no_vectors(sender: str) -> None:
    (record,) = mapped(sender, "embedding")
    assert (record.model, record.input_tokens) == ("text-embedding-3-small", 3)
    assert record.payload.output is None
    assert "0.1" not in str(record.payload.attributes)


def test_without_content_the_figures_are_there_all_the_same() -> None:
    chat = mapped("otel_without_content", "llm")[0]
    assert (chat.model, chat.input_tokens, chat.payload.input, chat.payload.output) == ("gpt-4o-x", 12, None, None)


def test_who_asked_is_found_where_it_is_sent() -> None:
    assert [mapped(sender, "llm")[0].user for sender in ("traceloop", "openinference", "mlflow")] == ["anna"] * 3


def test_mlflow_texts_are_taken_out_of_their_json() -> None:
    spans = mapped("mlflow")
    assert [s.kind for s in spans if s.name in ("find", "outer")] == ["retriever", "other"]
    assert spans[0].payload.input == {"q": "hi"}
    assert spans[0].payload.attributes["mlflow.spanFunctionName"] == "find"


def test_logfires_templates_do_not_become_names_of_calls() -> None:
    assert {r.name for r in mapped("logfire", "llm")} == {"chat gpt-4o-x", "chat gpt-4o", "chat bad"}
    assert mapped("logfire", "embedding")[0].cost_usd == pytest.approx(6e-8)
    assert mapped("logfire", "embedding")[0].cost_source == "sender"


@pytest.mark.parametrize("sender", SENDERS)
def test_what_was_said_is_kept_once(sender: str) -> None:
    for record in mapped(sender):
        assert "Be brief." not in str(record.payload.attributes)
        assert "Hello there" not in str(record.payload.attributes)
