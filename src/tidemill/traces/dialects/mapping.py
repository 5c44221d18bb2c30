"""Maps a span as it was sent to a SpanRecord: kind, model, tokens, messages, cost, user and release."""

from typing import Any

from tidemill.traces.dialects import logfire, openinference, otel
from tidemill.traces.dialects.attributes import AttributeReader
from tidemill.traces.dialects.counts import correct_counts
from tidemill.traces.dialects.messages import messages
from tidemill.traces.dialects.rules import Dialect, parse_json
from tidemill.traces.raw import RawSpan
from tidemill.traces.types import EventRecord, SpanPayload, SpanRecord

_STATUS = ("unset", "ok", "error")
_MAX_CHARS = 200
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
_NUMBERS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "ttft_ms")
_RECORD_FIELDS = frozenset((*_FIELDS, *_NUMBERS))
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
"""Other names of providers -> OpenTelemetry's."""

_API_SUFFIXES = (".chat", ".responses", ".completion", ".embedding", ".messages", ".generative-ai", ".vertex")

_CHUNK_EVENTS = frozenset(
    {
        "gen_ai.content.completion.chunk",
        "llm.content.completion.chunk",
        "First Token Stream Event",
        "ai.stream.firstChunk",
    }
)
"""Events for one piece of a streamed answer. The first gives the time to the first token."""


def map_span(raw: RawSpan) -> SpanRecord:
    """Return a span in the one model. Never fails: what no dialect explains stays an attribute."""
    reader = AttributeReader()
    from_mlflow = raw.scope_name is not None and raw.scope_name.startswith("mlflow")
    reader.read({key: parse_json(value) for key, value in raw.attributes.items()} if from_mlflow else raw.attributes)
    _read_resource(reader, raw.resource)
    events = _read_events(reader, raw) if raw.events else []
    reader.resolve()
    fields = reader.fields
    kind = _kind(raw, fields, reader.dialect)
    if reader.dialect is Dialect.openinference:
        reader.set("response_id", openinference.response_id(reader.first_candidate("output")), 5, "")
    correct_counts(fields)
    record_fields = _record_fields(fields)
    record = SpanRecord(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        parent_id=raw.parent_id,
        name=_name(raw.name, fields, kind),
        start_ns=raw.start_ns,
        duration_ns=max(raw.end_ns - raw.start_ns, 0),
        kind=kind,
        status=_status(raw, fields),
        status_message=_status_message(raw),
        service=_service(raw.resource),
        dialect=_NAMES.get(reader.dialect or 0),
        payload=SpanPayload(
            _input(fields), _output(fields, kind), reader.rest, events, raw.links, raw.resource, _scope(raw)
        ),
        **record_fields,
    )
    _set_stated_cost(record, reader)
    reader.drop_duplicates(record_fields)
    if fields.get("written_tokens"):
        reader.rest["gen_ai.usage.cache_creation.input_tokens"] = fields["written_tokens"]
    return record


def _read_resource(reader: AttributeReader, resource: dict[str, Any]) -> None:
    for name in _RESOURCE:
        if name in resource:
            field = otel.RULES[name].field
            reader.set(field, otel.RULES[name].convert(resource[name]), otel.RULES[name].rank + 10, "")


def _read_events(reader: AttributeReader, raw: RawSpan) -> list[EventRecord]:
    """Return the events that stay events. Those with messages or pieces of an answer are read into fields."""
    events = []
    message_events = []
    for event in raw.events:
        name = event.name
        if name in _CHUNK_EVENTS or name.startswith("mlflow.chunk.item."):
            if raw.start_ns <= event.at:
                reader.set("ttft_ms", (event.at - raw.start_ns) / 1e6, 8, "")
        elif name == otel.DETAILS:
            reader.read(event.attributes)
        elif name.startswith("gen_ai.") and name.endswith((".message", ".choice", ".prompt", ".completion")):
            message_events.append(event)
        else:
            events.append(event)
    if message_events:
        inputs, outputs = otel.read_conversation(message_events)
        reader.set("input", messages(inputs), 4, "")
        reader.set("output", messages(outputs), 4, "")
    return events


def _kind(raw: RawSpan, fields: dict[str, Any], dialect: Dialect | None) -> str:
    stated: str | None = fields.get("kind") or otel.KINDS.get(fields.get("operation", ""))
    if dialect is Dialect.logfire and raw.status != 2 and logfire.opens_stream(fields):
        return "chain"
    if stated is not None:
        return stated
    return "llm" if "request_model" in fields or "model" in fields else "other"


def _record_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return those fields of SpanRecord that hold a short text or a number."""
    if "model" not in fields and "request_model" in fields:
        fields["model"] = fields["request_model"]
    if "prompt" not in fields and "prompt_name" in fields and "prompt_number" in fields:
        fields["prompt"] = f"{fields['prompt_name']}@{fields['prompt_number']}"
    if "provider" in fields:
        fields["provider"] = _provider(fields["provider"])
    return {
        name: value[:_MAX_CHARS] if name in _TEXTS else value
        for name, value in fields.items()
        if name in _RECORD_FIELDS
    }


def _provider(stated: str) -> str:
    name = PROVIDERS.get(stated.lower())
    if name is None and stated.endswith(_API_SUFFIXES):  # Vercel's `openai.chat`
        stem = stated.rsplit(".", 1)[0]
        name = PROVIDERS.get(stem, stem)
    return name or stated


def _name(name: str, fields: dict[str, Any], kind: str) -> str:
    """Return the span's name. Logfire's are templates with braces; a model call gets OpenTelemetry's name instead."""
    if "{" in name and kind in ("llm", "embedding") and "operation" in fields:
        return f"{fields['operation']} {fields.get('model', '')}".strip()
    return name


def _status(raw: RawSpan, fields: dict[str, Any]) -> str:
    if raw.status == 0 and "error" in fields:
        return "error"
    return _STATUS[raw.status] if 0 <= raw.status < len(_STATUS) else "unset"


def _status_message(raw: RawSpan) -> str | None:
    if raw.status_message or raw.status != 2:
        return raw.status_message or None
    for event in raw.events:
        if event.name == "exception":
            message = event.attributes.get("exception.message")
            return message if isinstance(message, str) else None
    return None


def _service(resource: dict[str, Any]) -> str | None:
    name = resource.get("service.name")
    return name[:_MAX_CHARS] if isinstance(name, str) and name and not name.startswith("unknown_service") else None


def _scope(raw: RawSpan) -> str | None:
    if raw.scope_name is None:
        return None
    return f"{raw.scope_name} {raw.scope_version}" if raw.scope_version else raw.scope_name


def _set_stated_cost(record: SpanRecord, reader: AttributeReader) -> None:
    """Set the cost that the sender states, when it is in dollars."""
    cost = reader.fields.get("cost_usd")
    if cost is not None and cost >= 0 and reader.fields.get("currency", "USD").upper() == "USD":
        record.cost_usd, record.cost_source = cost, "sender"


def _input(fields: dict[str, Any]) -> Any:
    inputs, system = fields.get("input"), fields.get("instructions")
    if system is None:
        return inputs
    return [*system, *inputs] if isinstance(inputs, list) else system if inputs is None else inputs


def _output(fields: dict[str, Any], kind: str) -> Any:
    output, calls = fields.get("output"), fields.get("tool_calls")
    if kind == "embedding":
        return None  # vectors are not for readers
    if not calls:
        return output
    text = output[0].get("content") if isinstance(output, list) and output and isinstance(output[0], dict) else None
    return [{"role": "assistant", "content": text, "tool_calls": calls}]
