"""OpenInference (Phoenix's instrumentations).

Source: the names in `openinference-semantic-conventions` 0.1.42, and spans of `openinference-instrumentation-openai`.
"""

from typing import Any

import msgspec

from tidemill.traces.dialects.messages import Message, answer, content, messages, tool_call
from tidemill.traces.dialects.rules import Dialect, Rule, Rules, amount, count, finish_reason, one_of, parse_json, text

KINDS = {
    "llm": "llm",
    "embedding": "embedding",
    "chain": "chain",
    "retriever": "retriever",
    "reranker": "reranker",
    "tool": "tool",
    "agent": "agent",
    "guardrail": "guardrail",
    "evaluator": "evaluator",
    "prompt": "other",
    "unknown": "other",
}

_O = Dialect.openinference


def _parameters(value: Any) -> dict[str, Any]:
    """Return model and user: a call that failed names its model only here, and the user is nowhere else."""
    parameters = parse_json(value)
    if not isinstance(parameters, dict):
        return {}
    return {"request_model": text(parameters.get("model")), "user": text(parameters.get("user"))}


# fmt: off
RULES: Rules = {
    "openinference.span.kind": Rule("kind", 1, one_of(KINDS), _O),
    "llm.model_name": Rule("model", 2, text, _O),
    "llm.response.model_name": Rule("model", 1, text, _O),
    "llm.request.model_name": Rule("request_model", 2, text, _O),
    "llm.invocation_parameters": Rule("", 5, _parameters, _O),
    "embedding.model_name": Rule("model", 3, text, _O),
    "reranker.model_name": Rule("model", 3, text, _O),
    "llm.provider": Rule("provider", 2, text, _O),
    "llm.system": Rule("provider", 3, text, _O),
    "llm.finish_reason": Rule("finish_reason", 1, finish_reason, _O),
    "llm.token_count.prompt": Rule("input_tokens", 1, count, _O),
    "llm.token_count.completion": Rule("output_tokens", 1, count, _O),
    "llm.token_count.prompt_details.cache_read": Rule("cached_tokens", 1, count, _O),
    "llm.token_count.prompt_details.cache_write": Rule("written_tokens", 2, count, _O),
    "llm.token_count.prompt_details.cache_input": Rule("cached_tokens", 2, count, _O),
    "llm.token_count.completion_details.reasoning": Rule("reasoning_tokens", 1, count, _O),
    "llm.cost.total": Rule("cost_usd", 2, amount, _O),
    "input.value": Rule("input", 7, content, _O, True),
    "output.value": Rule("output", 7, content, _O, True),
    "reranker.query": Rule("input", 4, text, _O, True),
    "prompt.id": Rule("prompt_name", 2, text, _O),
    "llm.prompt_template.version": Rule("prompt_number", 2, text, _O),
    "agent.name": Rule("agent", 2, text, _O),
}
# fmt: on

GROUPS = {
    "llm.input_messages": "input",
    "llm.output_messages": "output",
    "llm.prompts": "input",
    "llm.choices": "output",
    "retrieval.documents": "output",
    "reranker.output_documents": "output",
    "embedding.embeddings": "input",
}
"""Lists that are written flat, one attribute for each leaf, and what they hold."""


class _Response(msgspec.Struct):
    id: str | None = None


def response_id(value: Any) -> str | None:
    """Return the id of a response whose body is an attribute; nothing else of it is decoded."""
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        return msgspec.json.decode(value, type=_Response).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def read_group(name: str, rows: list[Any]) -> Any:
    """Return the field that a list written flat stands for."""
    rows = [row for row in rows if isinstance(row, dict)]
    if name in ("llm.input_messages", "llm.output_messages"):
        return [_message(row.get("message", {})) for row in rows]
    if name in ("llm.prompts", "llm.choices"):
        texts = [(row.get("prompt") or row.get("completion") or {}).get("text") for row in rows]
        return answer(texts[0]) if name == "llm.choices" and texts else texts
    if name == "embedding.embeddings":
        return [row.get("embedding", {}).get("text") for row in rows]
    return [_document(row.get("document", {})) for row in rows]


def _message(flat: Any) -> Message:
    fields = flat if isinstance(flat, dict) else {}
    message: Message = {"role": str(fields.get("role") or "user"), "content": fields.get("content")}
    contents = fields.get("contents")
    if isinstance(contents, list):
        parts = [_part(item.get("message_content", {})) for item in contents if isinstance(item, dict)]
        message = (messages([{"role": message["role"], "content": parts}]) or [message])[0]
    calls = fields.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [tool_call(item.get("tool_call", {})) for item in calls if isinstance(item, dict)]
    if fields.get("function_call_name"):
        arguments = fields.get("function_call_arguments_json")
        message["tool_calls"] = [tool_call({"name": fields["function_call_name"], "arguments": arguments or "{}"})]
    for name in ("name", "tool_call_id"):
        if fields.get(name):
            message[name] = fields[name]
    return message


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "image":
        return {"type": "image_url", "image_url": (part.get("image") or {}).get("image", {})}
    return part


def _document(flat: Any) -> dict[str, Any]:
    fields = flat if isinstance(flat, dict) else {}
    document = {name: fields[name] for name in ("id", "content", "score", "name", "url") if name in fields}
    if "metadata" in fields:
        document["metadata"] = parse_json(fields["metadata"])
    return document
