"""traceloop's OpenLLMetry: OpenTelemetry's names, some older ones, and `traceloop.*` for workflows.

Source: `opentelemetry-semantic-conventions-ai` 0.5.1, and spans of `opentelemetry-instrumentation-openai` 0.62.
"""

from typing import Any

from tidemill.traces.dialects.messages import Message, tool_call
from tidemill.traces.dialects.rules import Dialect, Rule, Rules, count, finish_reason, one_of, parse_json, text

_T = Dialect.traceloop


def _inputs(value: Any) -> Any:
    entity = parse_json(value)
    if isinstance(entity, dict) and "inputs" in entity:
        return entity["inputs"]
    return entity.get("args") or entity.get("kwargs") if isinstance(entity, dict) and "args" in entity else entity


def _outputs(value: Any) -> Any:
    entity = parse_json(value)
    return entity["outputs"] if isinstance(entity, dict) and "outputs" in entity else entity


# fmt: off
RULES: Rules = {
    "traceloop.span.kind": Rule("kind", 2, one_of({
        "workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool", "unknown": "other",
    }), _T),
    "llm.request.type": Rule("kind", 3, one_of({
        "chat": "llm", "completion": "llm", "embedding": "embedding", "rerank": "reranker",
    }), _T),
    "traceloop.entity.input": Rule("input", 6, _inputs, _T, True),
    "traceloop.entity.output": Rule("output", 6, _outputs, _T, True),
    "traceloop.association.properties.user_id": Rule("user", 4, text, _T),
    "traceloop.association.properties.session_id": Rule("session", 4, text, _T),
    "traceloop.association.properties.thread_id": Rule("session", 5, text, _T),
    "traceloop.prompt.key": Rule("prompt_name", 4, text, _T),
    "traceloop.prompt.version": Rule("prompt_number", 4, text, _T),
    "traceloop.workflow.name": Rule("workflow", 1, text, _T),
    "gen_ai.user": Rule("user", 4, text, _T),
    "llm.user": Rule("user", 5, text, _T),
    "gen_ai.is_streaming": Rule("streams", 0, bool, _T),
    "llm.is_streaming": Rule("streams", 1, bool, _T),
    "gen_ai.openai.api_base": Rule("base", 0, text, _T),
    "llm.response.finish_reason": Rule("finish_reason", 3, finish_reason, _T),
    "llm.response.stop_reason": Rule("finish_reason", 4, finish_reason, _T),
    "llm.usage.reasoning_tokens": Rule("reasoning_tokens", 3, count, _T),
    "llm.usage.cache_read_input_tokens": Rule("cached_tokens", 4, count, _T),
    "llm.usage.cache_creation_input_tokens": Rule("written_tokens", 5, count, _T),
}
# fmt: on

GROUPS = {"gen_ai.prompt": "input", "gen_ai.completion": "output"}
"""Lists that versions before 0.50 write flat."""


def read_group(rows: list[Any]) -> list[Message]:
    """Return the messages of a list that was written flat."""
    return [_message(row) for row in rows if isinstance(row, dict)]


def _message(row: dict[str, Any]) -> Message:
    message: Message = {"role": str(row.get("role") or "assistant"), "content": row.get("content")}
    content = parse_json(row.get("content"))
    if isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content):
        message["content"] = content
    if isinstance(row.get("tool_calls"), list):
        message["tool_calls"] = [tool_call(item) for item in row["tool_calls"] if isinstance(item, dict)]
    if row.get("tool_call_id"):
        message["tool_call_id"] = row["tool_call_id"]
    return message
