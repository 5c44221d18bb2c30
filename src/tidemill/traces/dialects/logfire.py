"""Logfire and pydantic-ai: OpenTelemetry's names, with the message and the cost under names of their own.

Source: spans of `logfire` 5.2 (`instrument_openai`); for older versions `request_data`, `response_data`, `events`.
"""

from typing import Any

from tidemill.traces.dialects.messages import answer, content, messages
from tidemill.traces.dialects.otel import read_conversation
from tidemill.traces.dialects.rules import Dialect, Rule, Rules, amount, count, parse_json, text
from tidemill.traces.types import EventRecord

_L = Dialect.logfire


def _request(value: Any) -> Any:
    request = parse_json(value)
    return messages(request) if isinstance(request, dict) and "messages" in request else None


def _response(value: Any) -> Any:
    response = parse_json(value)
    if not isinstance(response, dict):
        return None
    if "message" in response:
        return messages([response["message"]])
    return answer(response.get("combined_chunk_content"))


def _usage(value: Any) -> dict[str, Any]:
    """Return what the standard names leave out of the provider's own usage."""
    usage = parse_json(value)
    if not isinstance(usage, dict):
        return {}
    inputs = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    outputs = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    if not isinstance(inputs, dict) or not isinstance(outputs, dict):
        return {}
    return {
        "cached_tokens": count(inputs.get("cached_tokens", usage.get("cache_read_input_tokens"))),
        "written_tokens": count(usage.get("cache_creation_input_tokens")),
        "reasoning_tokens": count(outputs.get("reasoning_tokens")),
    }


def _events(value: Any) -> dict[str, Any]:
    """Return input and output of the one list of events in which pydantic-ai before 1.0 wrote a conversation."""
    items = parse_json(value)
    if not isinstance(items, list):
        return {}
    events = [
        EventRecord(name=item["event.name"], attributes=item)
        for item in items
        if isinstance(item, dict) and isinstance(item.get("event.name"), str)
    ]
    inputs, outputs = read_conversation(events)
    return {"input": messages(inputs), "output": messages(outputs)}


# fmt: off
RULES: Rules = {
    "logfire.msg": Rule("title", 0, text, _L),
    "logfire.span_type": Rule("span_type", 0, text, _L),
    "logfire.msg_template": Rule("template", 0, text, _L),
    "operation.cost": Rule("cost_usd", 3, amount, _L),
    "gen_ai.usage.raw": Rule("", 5, _usage, _L),
    "request_data": Rule("input", 8, _request, None, True),
    "response_data": Rule("output", 8, _response, None, True),
    "events": Rule("", 8, _events, None, True),
    "all_messages_events": Rule("", 8, _events, None, True),
    "pydantic_ai.all_messages": Rule("input", 8, content, _L, True),
    "final_result": Rule("output", 8, parse_json, None, True),
    "tool_arguments": Rule("input", 8, parse_json, None, True),
    "tool_response": Rule("output", 8, parse_json, None, True),
    "agent_name": Rule("agent", 3, text),
}
# fmt: on


def opens_stream(fields: dict[str, Any]) -> bool:
    """Return whether this span only opens a stream: its answer and usage come in a log record of their own."""
    return (
        fields.get("span_type") == "span"
        and fields.get("operation") == "chat"
        and "output" not in fields
        and "input_tokens" not in fields
    )
