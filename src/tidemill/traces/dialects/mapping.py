"""From a span as it came to the one model: kind, model, tokens, messages, cost, who and which release."""

from typing import Any

from tidemill.traces.dialects import logfire, openinference, otel
from tidemill.traces.dialects.attributes import Reading
from tidemill.traces.dialects.messages import messages
from tidemill.traces.dialects.rules import Dialect, decoded
from tidemill.traces.raw import RawSpan
from tidemill.traces.types import SpanPayload, SpanRecord

_STATUS = ("unset", "ok", "error")
_LONGEST = 200
"""Characters of a name or an id that is kept in a field."""

_FIELDS = (
    "model",
    "provider",
    "operation",
    "response_id",
    "release_id",
    "environment",
    "deployment_id",
    "prompt",
    "user",
    "session",
    "finish_reason",
)
_TEXTS = frozenset(_FIELDS)
_FIGURES = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "ttft_ms")
_KEPT = frozenset((*_FIELDS, *_FIGURES))
_NAMES = {int(dialect): dialect.name for dialect in Dialect}
_RESOURCE = (
    "tidemill.release_id",
    "tidemill.environment",
    "tidemill.deployment_id",
    "deployment.environment.name",
    "deployment.environment",
)

PROVIDERS = {
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "amazon-bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google.generative-ai": "gcp.gemini",
    "google.vertex": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
"""Other words for OpenTelemetry's names of providers."""

_PARTS = (".chat", ".responses", ".completion", ".embedding", ".messages", ".generative-ai", ".vertex")

_CHUNKS = frozenset(
    {
        "gen_ai.content.completion.chunk",
        "llm.content.completion.chunk",
        "First Token Stream Event",
        "ai.stream.firstChunk",
    }
)
"""Events that say that a piece of the answer came. They tell when it began; the answer itself is the output."""


def map_span(raw: RawSpan) -> SpanRecord:
    """The meaning of a span. Never fails: what no dialect explains stays an attribute."""
    reading = Reading()
    from_mlflow = raw.scope_name is not None and raw.scope_name.startswith("mlflow")
    reading.take({key: decoded(value) for key, value in raw.attributes.items()} if from_mlflow else raw.attributes)
    _take_resource(reading, raw.resource)
    events = _take_events(reading, raw) if raw.events else []
    reading.settle()
    found = reading.found
    kind = _kind(raw, found, reading.dialect)
    if reading.dialect is Dialect.openinference:
        reading.set("response_id", openinference.reply_id(reading.said_whole("output")), 5, "")
    fields = _fields(found)
    record = SpanRecord(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        parent_id=raw.parent_id,
        name=_name(raw.name, found, kind),
        start_ns=raw.start_ns,
        duration_ns=max(raw.end_ns - raw.start_ns, 0),
        kind=kind,
        status=_status(raw, found),
        status_message=_complaint(raw),
        service=_service(raw.resource),
        dialect=_NAMES.get(reading.dialect or 0),
        payload=SpanPayload(
            _input(found), _output(found, kind), reading.rest, events, raw.links, raw.resource, _scope(raw)
        ),
        **fields,
    )
    _price(record, reading)
    reading.drop_told(fields)
    if found.get("written_tokens"):
        reading.rest["gen_ai.usage.cache_creation.input_tokens"] = found["written_tokens"]
    return record


def _take_resource(reading: Reading, resource: dict[str, Any]) -> None:
    for name in _RESOURCE:
        if name in resource:
            field = otel.RULES[name].field
            reading.set(field, otel.RULES[name].read(resource[name]), otel.RULES[name].rank + 10, "")


def _take_events(reading: Reading, raw: RawSpan) -> list[dict[str, Any]]:
    """The events that stay events. Those that bring messages or pieces of an answer are read instead."""
    kept = []
    spoken = []
    for event in raw.events:
        name = event["name"]
        if name in _CHUNKS or name.startswith("mlflow.chunk.item."):
            if raw.start_ns <= event["at"]:
                reading.set("ttft_ms", (event["at"] - raw.start_ns) / 1e6, 8, "")
        elif name == otel.DETAILS:
            reading.take(event["attributes"])
        elif name.startswith("gen_ai.") and name.endswith((".message", ".choice", ".prompt", ".completion")):
            spoken.append(event)
        else:
            kept.append(event)
    if spoken:
        before, after = otel.conversation(spoken)
        reading.set("input", messages(before), 4, "")
        reading.set("output", messages(after), 4, "")
    return kept


def _kind(raw: RawSpan, found: dict[str, Any], dialect: Dialect | None) -> str:
    named: str | None = found.get("kind") or otel.KINDS.get(found.get("operation", ""))
    if dialect is Dialect.logfire and raw.status != 2 and logfire.hands_over_a_stream(found):
        return "chain"
    if named is not None:
        return named
    return "llm" if "asked" in found or "model" in found else "other"


def _fields(found: dict[str, Any]) -> dict[str, Any]:
    """The narrow fields that have a value."""
    if "model" not in found and "asked" in found:
        found["model"] = found["asked"]
    if "prompt" not in found and "prompt_name" in found and "prompt_number" in found:
        found["prompt"] = f"{found['prompt_name']}@{found['prompt_number']}"
    if "provider" in found:
        found["provider"] = _provider(found["provider"])
    return {name: value[:_LONGEST] if name in _TEXTS else value for name, value in found.items() if name in _KEPT}


def _provider(said: str) -> str:
    name = PROVIDERS.get(said.lower())
    if name is None and said.endswith(_PARTS):  # Vercel's `openai.chat`
        stem = said.rsplit(".", 1)[0]
        name = PROVIDERS.get(stem, stem)
    return name or said


def _name(name: str, found: dict[str, Any], kind: str) -> str:
    """Logfire's span names are templates with braces; a model call gets OpenTelemetry's name instead."""
    if "{" in name and kind in ("llm", "embedding") and "operation" in found:
        return f"{found['operation']} {found.get('model', '')}".strip()
    return name


def _status(raw: RawSpan, found: dict[str, Any]) -> str:
    if raw.status == 0 and "error" in found:
        return "error"
    return _STATUS[raw.status] if 0 <= raw.status < len(_STATUS) else "unset"


def _complaint(raw: RawSpan) -> str | None:
    if raw.status_message or raw.status != 2:
        return raw.status_message or None
    for event in raw.events:
        if event["name"] == "exception":
            message = event["attributes"].get("exception.message")
            return message if isinstance(message, str) else None
    return None


def _service(resource: dict[str, Any]) -> str | None:
    name = resource.get("service.name")
    return name[:_LONGEST] if isinstance(name, str) and name and not name.startswith("unknown_service") else None


def _scope(raw: RawSpan) -> str | None:
    if raw.scope_name is None:
        return None
    return f"{raw.scope_name} {raw.scope_version}" if raw.scope_version else raw.scope_name


def _price(record: SpanRecord, reading: Reading) -> None:
    """The cost that the sender states, when it is in dollars."""
    cost = reading.found.get("cost_usd")
    if cost is not None and cost >= 0 and reading.found.get("currency", "USD").upper() == "USD":
        record.cost_usd, record.cost_source = cost, "sender"


def _input(found: dict[str, Any]) -> Any:
    given, before = found.get("input"), found.get("instructions")
    if before is None:
        return given
    return [*before, *given] if isinstance(given, list) else before if given is None else given


def _output(found: dict[str, Any], kind: str) -> Any:
    given, calls = found.get("output"), found.get("tool_calls")
    if kind == "embedding":
        return None  # vectors are not for reading
    if not calls:
        return given
    text = given[0].get("content") if isinstance(given, list) and given and isinstance(given[0], dict) else None
    return [{"role": "assistant", "content": text, "tool_calls": calls}]
