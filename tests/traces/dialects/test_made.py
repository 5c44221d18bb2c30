"""Dialects whose senders do not run here, older names, what a caller adds, and garbage."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.traces.dialects.recorded import span
from tidemill.traces.dialects import logfire, map_span, mlflow, openinference, otel, traceloop, vercel
from tidemill.traces.dialects.attributes import RULES
from tidemill.traces.types import KINDS, EventRecord, SpanRecord

HI = [{"role": "user", "content": "Hi"}]
HELLO = [{"role": "assistant", "content": "Hello"}]


def made(attributes: dict[str, Any], **more: Any) -> SpanRecord:
    return map_span(span(attributes, **more))


def test_no_name_means_two_things() -> None:
    dialects = (otel, openinference, traceloop, logfire, mlflow, vercel)
    names = Counter(name for dialect in dialects for name in dialect.RULES)
    assert [name for name, times in names.items() if times > 1] == []


# As `generateText` and `streamText` of the AI SDK 6.0 write them.
VERCEL = {
    "operation.name": "ai.streamText.doStream",
    "ai.operationId": "ai.streamText.doStream",
    "ai.model.provider": "openai.chat",
    "ai.model.id": "gpt-4o",
    "ai.telemetry.metadata.userId": "anna",
    "ai.telemetry.metadata.sessionId": "s-1",
    "ai.prompt.messages": '[{"role":"user","content":[{"type":"text","text":"Hi"}]}]',
    "ai.response.msToFirstChunk": 120.5,
    "ai.response.finishReason": "stop",
    "ai.response.text": "Hello",
    "ai.response.id": "chatcmpl-1",
    "ai.response.model": "gpt-4o-2024",
    "ai.usage.inputTokens": 9,
    "ai.usage.outputTokens": 3,
    "ai.usage.inputTokenDetails.cacheReadTokens": 4,
    "ai.usage.inputTokenDetails.cacheWriteTokens": 2,
    "gen_ai.system": "openai.chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 9,
    "gen_ai.usage.output_tokens": 3,
}


def test_vercels_inner_span_is_the_call() -> None:
    record = made(VERCEL, name="ai.streamText.doStream", scope_name="ai")
    assert (record.kind, record.dialect, record.provider, record.model) == ("llm", "vercel", "openai", "gpt-4o-2024")
    assert (record.input_tokens, record.output_tokens, record.cached_tokens, record.ttft_ms) == (9, 3, 4, 120.5)
    assert (record.user, record.session, record.response_id, record.finish_reason) == (
        "anna",
        "s-1",
        "chatcmpl-1",
        "stop",
    )
    assert (record.payload.input, record.payload.output) == (HI, HELLO)
    assert record.payload.attributes["gen_ai.usage.cache_creation.input_tokens"] == 2


def test_vercels_outer_span_and_tools_are_not_calls() -> None:
    outer = made(
        {
            "ai.operationId": "ai.generateText",
            "ai.prompt": '{"system":"Short.","prompt":"Hi"}',
            "ai.response.text": "Hello",
        }
    )
    assert (outer.kind, outer.payload.output) == ("chain", HELLO)
    assert outer.payload.input == [{"role": "system", "content": "Short."}, *HI]
    tool = made(
        {"ai.operationId": "ai.toolCall", "ai.toolCall.args": '{"city":"Paris"}', "ai.toolCall.result": '"sunny"'}
    )
    assert (tool.kind, tool.payload.input, tool.payload.output) == ("tool", {"city": "Paris"}, "sunny")
    calls = '[{"toolCallId":"c1","toolName":"look","input":{"q":1}}]'
    calling = made({"ai.operationId": "ai.generateText.doGenerate", "ai.response.toolCalls": calls})
    assert calling.payload.output[0]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"q":1}'}


def test_traceloops_older_lists_are_messages() -> None:
    record = made(
        {
            "llm.request.type": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.prompt_tokens": 7,
            "gen_ai.usage.completion_tokens": 2,
            "gen_ai.prompt.10.role": "user",
            "gen_ai.prompt.10.content": "Hi",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": "Short.",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "Hello",
            "gen_ai.completion.0.finish_reason": "stop",
            "traceloop.association.properties.user_id": "anna",
            "traceloop.association.properties.session_id": "s-1",
            "traceloop.prompt.key": "greet",
            "traceloop.prompt.version": 3,
        }
    )
    assert (record.kind, record.dialect, record.input_tokens, record.output_tokens) == ("llm", "traceloop", 7, 2)
    assert record.payload.input == [{"role": "system", "content": "Short."}, *HI]
    assert record.payload.output == HELLO
    assert (record.user, record.session, record.prompt) == ("anna", "s-1", "greet@3")


def test_traceloops_tasks_show_what_went_in_and_out() -> None:
    record = made(
        {
            "traceloop.span.kind": "task",
            "traceloop.entity.input": '{"inputs":{"q":"Hi"},"tags":[]}',
            "traceloop.entity.output": '{"outputs":{"a":"Hello"},"kwargs":{}}',
        }
    )
    assert (record.kind, record.payload.input, record.payload.output) == ("chain", {"q": "Hi"}, {"a": "Hello"})


@pytest.mark.parametrize(
    "events",
    [
        [
            {"name": "gen_ai.user.message", "attributes": {"content": "Hi", "gen_ai.system": "openai"}},
            {
                "name": "gen_ai.choice",
                "attributes": {"index": 0, "message": '{"content":"Hello"}', "finish_reason": "stop"},
            },
        ],
        [
            {"name": "gen_ai.content.prompt", "attributes": {"gen_ai.prompt": json.dumps(HI)}},
            {"name": "gen_ai.content.completion", "attributes": {"gen_ai.completion": json.dumps(HELLO)}},
        ],
        [
            {
                "name": "gen_ai.client.inference.operation.details",
                "attributes": {
                    "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]',
                    "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"Hello"}]}]',
                },
            }
        ],
    ],
)
def test_messages_in_events_are_messages(events: list[dict[str, Any]]) -> None:
    records = [EventRecord(10**18, **event) for event in events]
    record = made({"gen_ai.operation.name": "chat"}, events=records)
    assert (record.payload.input, record.payload.output, record.payload.events) == (HI, HELLO, [])


def test_pydantic_ais_older_list_of_events() -> None:
    events = [
        {"event.name": "gen_ai.user.message", "content": "Hi", "role": "user"},
        {"event.name": "gen_ai.choice", "message": {"role": "assistant", "content": "Hello"}},
    ]
    record = made({"gen_ai.operation.name": "chat", "logfire.span_type": "span", "events": json.dumps(events)})
    assert (record.payload.input, record.payload.output, record.kind) == (HI, HELLO, "llm")


def test_openinference_documents_and_images() -> None:
    found = made(
        {
            "openinference.span.kind": "RETRIEVER",
            "input.value": "parcel",
            "retrieval.documents.0.document.id": "7",
            "retrieval.documents.0.document.content": "Parcels are tracked.",
            "retrieval.documents.0.document.score": 0.5,
            "retrieval.documents.0.document.metadata": '{"page":2}',
        }
    )
    assert (found.kind, found.payload.input) == ("retriever", "parcel")
    assert found.payload.output == [
        {"id": "7", "content": "Parcels are tracked.", "score": 0.5, "metadata": {"page": 2}}
    ]
    start = "llm.input_messages.0.message"
    seen = made(
        {
            "openinference.span.kind": "LLM",
            f"{start}.role": "user",
            f"{start}.contents.0.message_content.type": "text",
            f"{start}.contents.0.message_content.text": "What is it?",
            f"{start}.contents.1.message_content.type": "image",
            f"{start}.contents.1.message_content.image.image.url": "https://example.com/a.png",
        }
    )
    text, image = seen.payload.input[0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert image == {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def test_a_sender_may_name_release_environment_and_cost() -> None:
    record = made(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system_instructions": '[{"type":"text","content":"Short."}]',
            "gen_ai.input.messages": json.dumps(HI),
            "tidemill.release_id": "rel_1",
            "gen_ai.prompt.name": "greet",
            "gen_ai.prompt.version": "2",
            "gen_ai.usage.cost.amount": 0.25,
            "gen_ai.usage.cost.currency": "USD",
            "gen_ai.conversation.id": "s-9",
        },
        resource={"service.name": "shop", "deployment.environment.name": "prod"},
    )
    assert (record.release_id, record.environment, record.service, record.prompt) == (
        "rel_1",
        "prod",
        "shop",
        "greet@2",
    )
    assert (record.cost_usd, record.cost_source, record.session) == (0.25, "sender", "s-9")
    assert record.payload.input[0] == {"role": "system", "content": "Short."}
    foreign = made({"gen_ai.usage.cost.amount": 0.25, "gen_ai.usage.cost.currency": "EUR"})
    assert foreign.cost_usd is None
    assert foreign.payload.attributes["gen_ai.usage.cost.amount"] == 0.25


def test_a_span_of_no_dialect_keeps_all_it_says() -> None:
    record = made(
        {"http.method": "GET", "events": "three", "final_result": ""}, name="GET /", status=2, status_message="no"
    )
    assert (record.kind, record.dialect, record.status, record.status_message) == ("other", None, "error", "no")
    assert record.payload.attributes["http.method"] == "GET"
    assert record.payload.attributes["events"] == "three"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(RULES)) | st.sampled_from(
    [
        "llm.input_messages.0.message.role",
        "llm.input_messages.0",
        "gen_ai.prompt.x.role",
        "gen_ai.completion.0.tool_calls.0",
    ]
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(KEYS, JSON | JSON.map(lambda v: json.dumps(v)), max_size=12), st.sampled_from([None, "mlflow.x"])
)
def test_no_attributes_whatever_stop_a_span(attributes: dict[str, Any], scope: str | None) -> None:
    record = made(attributes, scope_name=scope)
    assert record.kind in KINDS
    for name in ("model", "provider", "user", "session", "response_id", "finish_reason", "prompt", "environment"):
        assert isinstance(getattr(record, name), str | None)
    for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        assert isinstance(getattr(record, name), int | None)


WRITTEN = "gen_ai.usage.cache_creation.input_tokens"


@pytest.mark.parametrize(
    "name",
    [
        WRITTEN,
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
        "gen_ai.usage.details.cache_creation_input_tokens",
        "llm.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
        "ai.usage.inputTokenDetails.cacheWriteTokens",
    ],
)
def test_tokens_written_to_a_cache_have_many_names(name: str) -> None:
    record = made({"gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 101_000, name: 100_000})
    assert (record.input_tokens, record.payload.attributes[WRITTEN]) == (101_000, 100_000)


@pytest.mark.parametrize(
    ("model", "sent", "counts"),
    [
        # input, output, cached, written, reasoning -> input, output, cached, written
        ("gpt-5", (100, 20, 60, None, 5), (100, 20, 60, None)),
        ("gpt-5", (100, 20, 600, None, None), (100, 20, 100, None)),
        ("gpt-5", (100, 20, 60, 90, None), (100, 20, 60, 40)),
        ("claude-sonnet-4-5", (100, 20, 60, 30, None), (100, 20, 60, 30)),
        ("claude-sonnet-4-5", (100, 20, 6000, 900, None), (7000, 20, 6000, 900)),
        ("gemini-3-pro", (100, 20, None, None, 300), (100, 320, None, None)),
        ("gpt-5", (0, 0, 0, 0, 0), (0, 0, 0, None)),
        ("gpt-5", (None, None, None, None, None), (None, None, None, None)),
        ("gpt-5", (None, None, 60, None, None), (None, None, 60, None)),
        ("gpt-5", (-5, -1, -60, -7, -1), (None, None, None, None)),
        ("gpt-5", ("100", 20.0, "60", "x", True), (100, 20, 60, None)),
        ("gpt-5", (float("nan"), float("inf"), 1e300, [3], {}), (None, None, None, None)),
    ],
)
def test_counts_of_tokens_follow_one_convention(
    model: str, sent: tuple[Any, ...], counts: tuple[int | None, ...]
) -> None:
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read.input_tokens",
        "cache_creation.input_tokens",
        "reasoning_tokens",
    )
    attributes = {f"gen_ai.usage.{name}": value for name, value in zip(names, sent, strict=True) if value is not None}
    record = made({"gen_ai.request.model": model, **attributes})
    written = record.payload.attributes.get(WRITTEN)
    stated = written if type(written) is int and written > 0 else None
    assert (record.input_tokens, record.output_tokens, record.cached_tokens, stated) == counts


def test_a_negative_time_to_the_first_token_is_none() -> None:
    assert made({"gen_ai.response.time_to_first_chunk": -1.0}).ttft_ms is None
