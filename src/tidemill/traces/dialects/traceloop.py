"""traceloop's OpenLLMetry: OpenTelemetry's names, some older ones, and `traceloop.*` for workflows.

Source: `opentelemetry-semantic-conventions-ai` 0.5.1, and spans of `opentelemetry-instrumentation-openai` 0.62.
"""

from typing import Any

from tidemill.traces.dialects.messages import Message, call
from tidemill.traces.dialects.rules import Dialect, Rule, Rules, count, decoded, finish, text, word

_T = Dialect.traceloop


def _inputs(value: Any) -> Any:
    found = decoded(value)
    if isinstance(found, dict) and "inputs" in found:
        return found["inputs"]
    return found.get("args") or found.get("kwargs") if isinstance(found, dict) and "args" in found else found


def _outputs(value: Any) -> Any:
    found = decoded(value)
    return found["outputs"] if isinstance(found, dict) and "outputs" in found else found


# fmt: off
RULES: Rules = {
    "traceloop.span.kind": Rule("kind", 2, word({
        "workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool", "unknown": "other",
    }), _T),
    "llm.request.type": Rule("kind", 3, word({
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
    "llm.response.finish_reason": Rule("finish_reason", 3, finish, _T),
    "llm.response.stop_reason": Rule("finish_reason", 4, finish, _T),
    "llm.usage.reasoning_tokens": Rule("reasoning_tokens", 3, count, _T),
    "llm.usage.cache_read_input_tokens": Rule("cached_tokens", 4, count, _T),
}
# fmt: on

GROUPS = {"gen_ai.prompt": "input", "gen_ai.completion": "output"}
"""Lists that versions before 0.50 write flat."""


def group(rows: list[Any]) -> list[Message]:
    """The messages of a list that was written flat."""
    return [_message(row) for row in rows if isinstance(row, dict)]


def _message(row: dict[str, Any]) -> Message:
    made: Message = {"role": str(row.get("role") or "assistant"), "content": row.get("content")}
    content = decoded(row.get("content"))
    if isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content):
        made["content"] = content
    if isinstance(row.get("tool_calls"), list):
        made["tool_calls"] = [call(one) for one in row["tool_calls"] if isinstance(one, dict)]
    if row.get("tool_call_id"):
        made["tool_call_id"] = row["tool_call_id"]
    return made
