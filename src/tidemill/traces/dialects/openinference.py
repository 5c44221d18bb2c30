"""OpenInference (Phoenix's instrumentations).

Source: the names in `openinference-semantic-conventions` 0.1.42, and spans of `openinference-instrumentation-openai`.
"""

from typing import Any

import msgspec

from tidemill.traces.dialects.messages import Message, answer, call, messages, said
from tidemill.traces.dialects.rules import Dialect, Rule, Rules, amount, count, decoded, finish, text, word

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
    """A call that failed names its model only here; the user stands nowhere else."""
    found = decoded(value)
    return {"asked": text(found.get("model")), "user": text(found.get("user"))} if isinstance(found, dict) else {}


# fmt: off
RULES: Rules = {
    "openinference.span.kind": Rule("kind", 1, word(KINDS), _O),
    "llm.model_name": Rule("model", 2, text, _O),
    "llm.response.model_name": Rule("model", 1, text, _O),
    "llm.request.model_name": Rule("asked", 2, text, _O),
    "llm.invocation_parameters": Rule("", 5, _parameters, _O),
    "embedding.model_name": Rule("model", 3, text, _O),
    "reranker.model_name": Rule("model", 3, text, _O),
    "llm.provider": Rule("provider", 2, text, _O),
    "llm.system": Rule("provider", 3, text, _O),
    "llm.finish_reason": Rule("finish_reason", 1, finish, _O),
    "llm.token_count.prompt": Rule("input_tokens", 1, count, _O),
    "llm.token_count.completion": Rule("output_tokens", 1, count, _O),
    "llm.token_count.prompt_details.cache_read": Rule("cached_tokens", 1, count, _O),
    "llm.token_count.prompt_details.cache_write": Rule("written_tokens", 2, count, _O),
    "llm.token_count.completion_details.reasoning": Rule("reasoning_tokens", 1, count, _O),
    "llm.cost.total": Rule("cost_usd", 2, amount, _O),
    "input.value": Rule("input", 7, said, _O, True),
    "output.value": Rule("output", 7, said, _O, True),
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


class _Reply(msgspec.Struct):
    id: str | None = None


def reply_id(value: Any) -> str | None:
    """The id of a reply whose whole body is an attribute, read past everything else in it."""
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        return msgspec.json.decode(value, type=_Reply).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def group(name: str, rows: list[Any]) -> Any:
    """What a list that was written flat holds."""
    found = [row for row in rows if isinstance(row, dict)]
    if name in ("llm.input_messages", "llm.output_messages"):
        return [_message(row.get("message", {})) for row in found]
    if name in ("llm.prompts", "llm.choices"):
        texts = [(row.get("prompt") or row.get("completion") or {}).get("text") for row in found]
        return answer(texts[0]) if name == "llm.choices" and texts else texts
    if name == "embedding.embeddings":
        return [row.get("embedding", {}).get("text") for row in found]
    return [_document(row.get("document", {})) for row in found]


def _message(flat: Any) -> Message:
    held = flat if isinstance(flat, dict) else {}
    made: Message = {"role": str(held.get("role") or "user"), "content": held.get("content")}
    contents = held.get("contents")
    if isinstance(contents, list):
        parts = [_part(one.get("message_content", {})) for one in contents if isinstance(one, dict)]
        made = (messages([{"role": made["role"], "content": parts}]) or [made])[0]
    calls = held.get("tool_calls")
    if isinstance(calls, list):
        made["tool_calls"] = [call(one.get("tool_call", {})) for one in calls if isinstance(one, dict)]
    if held.get("function_call_name"):
        arguments = held.get("function_call_arguments_json")
        made["tool_calls"] = [call({"name": held["function_call_name"], "arguments": arguments or "{}"})]
    for name in ("name", "tool_call_id"):
        if held.get(name):
            made[name] = held[name]
    return made


def _part(held: dict[str, Any]) -> dict[str, Any]:
    if held.get("type") == "image":
        return {"type": "image_url", "image_url": (held.get("image") or {}).get("image", {})}
    return held


def _document(held: Any) -> dict[str, Any]:
    document = held if isinstance(held, dict) else {}
    kept = {name: document[name] for name in ("id", "content", "score", "name", "url") if name in document}
    if "metadata" in document:
        kept["metadata"] = decoded(document["metadata"])
    return kept
