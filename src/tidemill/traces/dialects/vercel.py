"""Vercel's AI SDK: `ai.*` beside OpenTelemetry's older names.

Source: `packages/ai/src/telemetry` and the spans in `generateText`, `streamText`, `embed` of `ai` 6.0.
"""

from typing import Any

from tidemill.traces.dialects.messages import answer, content, tool_call
from tidemill.traces.dialects.rules import Dialect, Rule, Rules, amount, count, finish_reason, one_of, parse_json, text

_V = Dialect.vercel


def _prompt(value: Any) -> Any:
    """Return the messages of `ai.prompt` of the outer span: `{system, prompt, messages}`."""
    prompt = parse_json(value)
    if not isinstance(prompt, dict):
        return content(prompt)
    system = [{"role": "system", "content": prompt["system"]}] if isinstance(prompt.get("system"), str) else []
    if isinstance(prompt.get("prompt"), str):
        return [*system, {"role": "user", "content": prompt["prompt"]}]
    inner = content(prompt.get("messages") or prompt.get("prompt"))
    return [*system, *inner] if isinstance(inner, list) else prompt


def _calls(value: Any) -> Any:
    calls = parse_json(value)
    if not isinstance(calls, list):
        return None
    return [tool_call(item) for item in calls if isinstance(item, dict)]


# fmt: off
RULES: Rules = {
    "ai.operationId": Rule("kind", 1, one_of({
        "ai.generatetext": "chain", "ai.streamtext": "chain", "ai.generateobject": "chain", "ai.streamobject": "chain",
        "ai.generatetext.dogenerate": "llm", "ai.streamtext.dostream": "llm",
        "ai.generateobject.dogenerate": "llm", "ai.streamobject.dostream": "llm",
        "ai.embed": "chain", "ai.embedmany": "chain", "ai.embed.doembed": "embedding",
        "ai.embedmany.doembed": "embedding", "ai.rerank": "chain", "ai.rerank.dorerank": "reranker",
        "ai.toolcall": "tool",
    }), _V),
    "ai.model.id": Rule("request_model", 3, text, _V),
    "ai.model.provider": Rule("provider", 4, text, _V),
    "ai.response.id": Rule("response_id", 2, text, _V),
    "ai.response.model": Rule("model", 3, text, _V),
    "ai.response.finishReason": Rule("finish_reason", 2, finish_reason, _V),
    "ai.response.msToFirstChunk": Rule("ttft_ms", 2, amount, _V),
    "ai.usage.inputTokens": Rule("input_tokens", 2, count, _V),
    "ai.usage.promptTokens": Rule("input_tokens", 4, count, _V),
    "ai.usage.tokens": Rule("input_tokens", 4, count, _V),
    "ai.usage.outputTokens": Rule("output_tokens", 2, count, _V),
    "ai.usage.completionTokens": Rule("output_tokens", 4, count, _V),
    "ai.usage.cachedInputTokens": Rule("cached_tokens", 2, count, _V),
    "ai.usage.inputTokenDetails.cacheReadTokens": Rule("cached_tokens", 1, count, _V),
    "ai.usage.inputTokenDetails.cacheWriteTokens": Rule("written_tokens", 2, count, _V),
    "ai.usage.reasoningTokens": Rule("reasoning_tokens", 2, count, _V),
    "ai.prompt.messages": Rule("input", 2, content, _V, True),
    "ai.prompt": Rule("input", 3, _prompt, _V, True),
    "ai.response.text": Rule("output", 2, answer, _V, True),
    "ai.response.object": Rule("output", 3, answer, _V, True),
    "ai.response.toolCalls": Rule("tool_calls", 0, _calls, _V, True),
    "ai.toolCall.args": Rule("input", 2, parse_json, _V, True),
    "ai.toolCall.result": Rule("output", 2, parse_json, _V, True),
    "ai.value": Rule("input", 4, parse_json, _V, True),
    "ai.values": Rule("input", 4, parse_json, _V, True),
    "ai.embedding": Rule("vectors", 0, parse_json, _V, True),
    "ai.embeddings": Rule("vectors", 0, parse_json, _V, True),
    "ai.documents": Rule("input", 4, parse_json, _V, True),
    "ai.ranking": Rule("output", 4, parse_json, _V, True),
    "ai.telemetry.metadata.userId": Rule("user", 4, text, _V),
    "ai.telemetry.metadata.sessionId": Rule("session", 4, text, _V),
    "ai.telemetry.functionId": Rule("workflow", 2, text, _V),
}
# fmt: on
