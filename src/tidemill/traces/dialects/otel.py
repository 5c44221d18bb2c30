"""OpenTelemetry's GenAI conventions: the present names, the older ones, and the fields that all dialects share.

Source: https://github.com/open-telemetry/semantic-conventions-genai (in development), and for the older names
https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/.
"""

from typing import Any

from tidemill.traces.dialects.messages import answer, content, instructions
from tidemill.traces.dialects.rules import (
    Dialect,
    Rule,
    Rules,
    amount,
    count,
    finish_reason,
    one_of,
    parse_json,
    seconds,
    text,
)
from tidemill.traces.types import EventRecord

KINDS = {
    "chat": "llm",
    "text_completion": "llm",
    "completion": "llm",
    "generate_content": "llm",
    "responses": "llm",
    "embeddings": "embedding",
    "embedding": "embedding",
    "rerank": "reranker",
    "retrieval": "retriever",
    "search_memory": "retriever",
    "execute_tool": "tool",
    "create_agent": "agent",
    "invoke_agent": "agent",
    "invoke_workflow": "chain",
    "plan": "chain",
    "evaluate": "evaluator",
}

_O = Dialect.otel

# fmt: off
RULES: Rules = {
    "gen_ai.operation.name": Rule("operation", 0, text, _O),
    "gen_ai.provider.name": Rule("provider", 0, text, _O),
    "gen_ai.system": Rule("provider", 1, text, _O),
    "gen_ai.response.model": Rule("model", 0, text, _O),
    "gen_ai.request.model": Rule("request_model", 0, text, _O),
    "gen_ai.response.id": Rule("response_id", 0, text, _O),
    "gen_ai.response.finish_reasons": Rule("finish_reason", 0, finish_reason, _O),
    "gen_ai.response.finish_reason": Rule("finish_reason", 2, finish_reason, _O),
    "gen_ai.response.time_to_first_chunk": Rule("ttft_ms", 0, seconds, _O),
    "gen_ai.server.time_to_first_token": Rule("ttft_ms", 1, seconds, _O),
    "gen_ai.usage.input_tokens": Rule("input_tokens", 0, count, _O),
    "gen_ai.usage.prompt_tokens": Rule("input_tokens", 3, count, _O),
    "gen_ai.usage.output_tokens": Rule("output_tokens", 0, count, _O),
    "gen_ai.usage.completion_tokens": Rule("output_tokens", 3, count, _O),
    "gen_ai.usage.cache_read.input_tokens": Rule("cached_tokens", 0, count, _O),
    "gen_ai.usage.cache_read_input_tokens": Rule("cached_tokens", 2, count, _O),
    "gen_ai.usage.input_tokens.cached": Rule("cached_tokens", 3, count, _O),
    "gen_ai.usage.details.cache_read_tokens": Rule("cached_tokens", 3, count, _O),
    "gen_ai.usage.cache_creation.input_tokens": Rule("written_tokens", 0, count, _O),
    "gen_ai.usage.cache_creation_input_tokens": Rule("written_tokens", 1, count, _O),
    # Of pydantic-ai: its own names, and those of the provider behind `details`.
    "gen_ai.usage.details.cache_write_tokens": Rule("written_tokens", 3, count, _O),
    "gen_ai.usage.details.cache_creation_input_tokens": Rule("written_tokens", 4, count, _O),
    "gen_ai.usage.details.cache_read_input_tokens": Rule("cached_tokens", 5, count, _O),
    "gen_ai.usage.details.cached_tokens": Rule("cached_tokens", 6, count, _O),
    "gen_ai.usage.details.cached_content_tokens": Rule("cached_tokens", 7, count, _O),
    "gen_ai.usage.details.thoughts_tokens": Rule("reasoning_tokens", 3, count, _O),
    "gen_ai.usage.reasoning.output_tokens": Rule("reasoning_tokens", 0, count, _O),
    "gen_ai.usage.reasoning_tokens": Rule("reasoning_tokens", 1, count, _O),
    "gen_ai.usage.details.reasoning_tokens": Rule("reasoning_tokens", 2, count, _O),
    "gen_ai.usage.cost.amount": Rule("cost_usd", 0, amount, _O),
    "gen_ai.usage.cost.currency": Rule("currency", 0, text, _O),
    "gen_ai.usage.cost": Rule("cost_usd", 1, amount, _O),
    "gen_ai.conversation.id": Rule("session", 0, text, _O),
    "gen_ai.prompt.name": Rule("prompt_name", 0, text, _O),
    "gen_ai.prompt.version": Rule("prompt_number", 0, text, _O),
    "gen_ai.input.messages": Rule("input", 0, content, _O, True),
    "gen_ai.output.messages": Rule("output", 0, answer, _O, True),
    "gen_ai.system_instructions": Rule("instructions", 0, instructions, _O, True),
    "gen_ai.tool.call.arguments": Rule("input", 5, parse_json, _O, True),
    "gen_ai.tool.call.result": Rule("output", 5, parse_json, _O, True),
    "gen_ai.retrieval.query.text": Rule("input", 5, text, _O, True),
    "gen_ai.retrieval.documents": Rule("output", 5, parse_json, _O, True),
    "gen_ai.prompt": Rule("input", 6, content, _O, True),
    "gen_ai.completion": Rule("output", 6, answer, _O, True),
    # Fields of no dialect in particular.
    "user.id": Rule("user", 1, text),
    "enduser.id": Rule("user", 3, text),
    "session.id": Rule("session", 1, text),
    "error.type": Rule("error", 0, text),
    "deployment.environment.name": Rule("environment", 2, text),
    "deployment.environment": Rule("environment", 3, text),
    # The names of our own SDK and gateway; a caller may set them on any span.
    "tidemill.release_id": Rule("release_id", 0, text),
    "tidemill.environment": Rule("environment", 0, text),
    "tidemill.deployment_id": Rule("deployment_id", 0, text),
    "tidemill.prompt": Rule("prompt", 0, text),
    "tidemill.user": Rule("user", 0, text),
    "tidemill.session": Rule("session", 0, text),
    "tidemill.kind": Rule("kind", 0, one_of({kind: kind for kind in (*KINDS.values(), "guardrail", "other")})),
    # Langfuse's SDK sends OpenTelemetry with these.
    "langfuse.user.id": Rule("user", 2, text),
    "langfuse.session.id": Rule("session", 2, text),
    "langfuse.observation.type": Rule("kind", 4, one_of({
        "generation": "llm", "embedding": "embedding", "retriever": "retriever", "tool": "tool", "agent": "agent",
        "chain": "chain", "guardrail": "guardrail", "evaluator": "evaluator", "span": "chain",
    })),
    "langfuse.observation.model.name": Rule("model", 4, text),
    "langfuse.observation.input": Rule("input", 4, content, None, True),
    "langfuse.observation.output": Rule("output", 4, answer, None, True),
    "langfuse.observation.prompt.name": Rule("prompt_name", 3, text),
    "langfuse.observation.prompt.version": Rule("prompt_number", 3, text),
}
# fmt: on

_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_MESSAGE_KEYS = ("content", "role", "tool_calls", "message", "name")
DETAILS = "gen_ai.client.inference.operation.details"
"""The event that carries the messages when they are not attributes of the span."""


def read_conversation(events: list[EventRecord]) -> tuple[list[Any], list[Any]]:
    """Return input and output messages from the events of the older conventions.

    An event's fields are its attributes: `content`, `role`, `id`, `tool_calls`; in a choice also `message`.
    """
    inputs: list[Any] = []
    outputs: list[Any] = []
    for event in events:
        name, attributes = event.name, event.attributes
        if name in _ROLES:
            inputs.append({"role": _ROLES[name], **_body(attributes)})
        elif name == "gen_ai.choice":
            body = _body(attributes)
            message = parse_json(body.pop("message", None))
            outputs.append({"role": "assistant", **(message if isinstance(message, dict) else body)})
        elif name == "gen_ai.content.prompt":
            inputs += _message_list(attributes.get("gen_ai.prompt"))
        elif name == "gen_ai.content.completion":
            outputs += _message_list(attributes.get("gen_ai.completion"))
    return inputs, outputs


def _body(attributes: dict[str, Any]) -> dict[str, Any]:
    body = parse_json(attributes.get("gen_ai.event.content", attributes.get("event.body")))
    if not isinstance(body, dict):
        body = attributes
    message = {key: body[key] for key in _MESSAGE_KEYS if body.get(key) is not None}
    if body.get("id") is not None:
        message["tool_call_id"] = body["id"]
    return message


def _message_list(value: Any) -> list[Any]:
    parsed = parse_json(value)
    if isinstance(parsed, str):
        return [{"role": "user", "content": parsed}]
    return parsed if isinstance(parsed, list) else [parsed] if isinstance(parsed, dict) else []
