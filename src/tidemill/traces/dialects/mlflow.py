"""MLflow's spans as its OTLP exporter sends them: every attribute is JSON in a text.

Source: `mlflow/tracing/constant.py` of 3.17, and spans of `mlflow.openai.autolog()`.
"""

from typing import Any

from tidemill.traces.dialects.messages import answer, content, messages
from tidemill.traces.dialects.rules import Dialect, Rule, Rules, amount, count, one_of, text

_M = Dialect.mlflow


def _request(value: Any) -> dict[str, Any]:
    """Return the input; of a model call also the model and the user, which are nowhere else when it fails."""
    if not isinstance(value, dict):
        return {"input": content(value)}
    if "model" not in value:
        return {"input": value}
    inputs = messages(value) if "messages" in value else value.get("input", value.get("prompt"))
    return {
        "input": value if inputs is None else inputs,
        "request_model": text(value["model"]),
        "user": text(value.get("user")),
    }


def _outputs(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        return answer(value)
    return value


def _response(value: Any) -> dict[str, Any]:
    """Return the output; of a complete response also its id, usage and why it ended."""
    if not isinstance(value, dict) or "object" not in value:
        return {"output": _outputs(value)}
    choices = value.get("choices")
    finish_reason = choices[0].get("finish_reason") if isinstance(choices, list) and choices and choices[0] else None
    usage = value.get("usage")
    details = (usage.get("completion_tokens_details") if isinstance(usage, dict) else None) or {}
    return {
        "output": None if value["object"] == "list" else _outputs(value),  # vectors are not for reading
        "response_id": text(value.get("id")),
        "finish_reason": text(finish_reason),
        "input_tokens": count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None,
        "reasoning_tokens": count(details.get("reasoning_tokens")),
    }


def _usage(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {
        "input_tokens": count(value.get("input_tokens")),
        "output_tokens": count(value.get("output_tokens")),
        "cached_tokens": count(value.get("cache_read_input_tokens")),
        "written_tokens": count(value.get("cache_creation_input_tokens")),
    }


def _cost(value: Any) -> float | None:
    return amount(value.get("total_cost")) if isinstance(value, dict) else None


# fmt: off
RULES: Rules = {
    "mlflow.spanType": Rule("kind", 1, one_of({
        "llm": "llm", "chat_model": "llm", "embedding": "embedding", "retriever": "retriever", "reranker": "reranker",
        "tool": "tool", "agent": "agent", "chain": "chain", "workflow": "chain", "task": "chain",
        "guardrail": "guardrail", "evaluator": "evaluator", "parser": "other", "memory": "other", "unknown": "other",
    }), _M),
    "mlflow.traceRequestId": Rule("request", 0, text, _M),
    "mlflow.llm.model": Rule("model", 2, text, _M),
    "mlflow.llm.provider": Rule("provider", 2, text, _M),
    "mlflow.message.format": Rule("provider", 5, text, _M),
    "mlflow.chat.tokenUsage": Rule("", 2, _usage, _M),
    "mlflow.llm.cost": Rule("cost_usd", 2, _cost, _M),
    "mlflow.trace.session": Rule("session", 3, text, _M),
    "mlflow.trace.user": Rule("user", 3, text, _M),
    "mlflow.spanInputs": Rule("", 5, _request, _M, True),
    "mlflow.spanOutputs": Rule("", 5, _response, _M, True),
}
# fmt: on
