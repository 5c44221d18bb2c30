"""Logfire and pydantic-ai: OpenTelemetry's names, with the message and the cost under names of their own.

Source: spans of `logfire` 5.2 (`instrument_openai`); for older versions `request_data`, `response_data`, `events`.
"""

from typing import Any

from tidemill.traces.dialects.messages import answer, messages, said
from tidemill.traces.dialects.otel import conversation
from tidemill.traces.dialects.rules import Dialect, Rule, Rules, amount, count, decoded, text

_L = Dialect.logfire


def _request(value: Any) -> Any:
    found = decoded(value)
    return messages(found) if isinstance(found, dict) and "messages" in found else None


def _reply(value: Any) -> Any:
    found = decoded(value)
    if not isinstance(found, dict):
        return None
    if "message" in found:
        return messages([found["message"]])
    return answer(found.get("combined_chunk_content"))


def _usage(value: Any) -> dict[str, Any]:
    """The provider's own usage, for what the standard names leave out."""
    found = decoded(value)
    if not isinstance(found, dict):
        return {}
    inputs = found.get("prompt_tokens_details") or found.get("input_tokens_details") or {}
    outputs = found.get("completion_tokens_details") or found.get("output_tokens_details") or {}
    if not isinstance(inputs, dict) or not isinstance(outputs, dict):
        return {}
    return {
        "cached_tokens": count(inputs.get("cached_tokens")),
        "reasoning_tokens": count(outputs.get("reasoning_tokens")),
    }


def _events(value: Any) -> dict[str, Any]:
    """pydantic-ai before 1.0 wrote the conversation as one list of events."""
    found = decoded(value)
    if not isinstance(found, list):
        return {}
    events = [
        {"name": one.get("event.name"), "attributes": one}
        for one in found
        if isinstance(one, dict) and "event.name" in one
    ]
    before, after = conversation(events)
    return {"input": messages(before), "output": messages(after)}


# fmt: off
RULES: Rules = {
    "logfire.msg": Rule("title", 0, text, _L),
    "logfire.span_type": Rule("span_type", 0, text, _L),
    "logfire.msg_template": Rule("template", 0, text, _L),
    "operation.cost": Rule("cost_usd", 3, amount, _L),
    "gen_ai.usage.raw": Rule("", 5, _usage, _L),
    "request_data": Rule("input", 8, _request, None, True),
    "response_data": Rule("output", 8, _reply, None, True),
    "events": Rule("", 8, _events, None, True),
    "all_messages_events": Rule("", 8, _events, None, True),
    "pydantic_ai.all_messages": Rule("input", 8, said, _L, True),
    "final_result": Rule("output", 8, decoded, None, True),
    "tool_arguments": Rule("input", 8, decoded, None, True),
    "tool_response": Rule("output", 8, decoded, None, True),
    "agent_name": Rule("agent", 3, text),
}
# fmt: on


def hands_over_a_stream(found: dict[str, Any]) -> bool:
    """Whether this is the span that only opens a stream: its answer and usage come in a log record of their own."""
    return (
        found.get("span_type") == "span"
        and found.get("operation") == "chat"
        and "output" not in found
        and "input_tokens" not in found
    )
