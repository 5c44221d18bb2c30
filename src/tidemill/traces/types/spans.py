"""Spans as they are read from the store."""

from typing import Any, Literal, get_args

from pydantic import Field

from tidemill.core.wire import Instant, Value

Kind = Literal["llm", "embedding", "retriever", "reranker", "tool", "agent", "chain", "guardrail", "evaluator", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MODEL_CALLS: frozenset[Kind] = frozenset({"llm", "embedding", "reranker"})
"""The kinds that are calls of a model: the requests, tokens and cost of a series are theirs."""

Status = Literal["ok", "error", "unset"]


class SpanEvent(Value):
    """Something that happened at a moment of a span, such as an exception."""

    at: Instant | None = None
    name: str
    attributes: dict[str, Any] = Field(default_factory=dict)


class SpanLink(Value):
    """Another span this one points to."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any] = Field(default_factory=dict)


class Span(Value):
    """One operation of a trace, without input and output."""

    trace_id: str = Field(description="32 hexadecimal digits.")
    span_id: str = Field(description="16 hexadecimal digits.")
    parent_id: str | None = Field(default=None, description="The span it is a part of; null for a root.")
    name: str
    kind: Kind = "other"
    start: Instant
    duration_ms: float
    status: Status = "unset"
    status_message: str | None = None
    service: str | None = Field(default=None, description="`service.name` of the sender.")
    model: str | None = None
    provider: str | None = None
    operation: str | None = Field(default=None, description="OpenTelemetry's name, such as `chat` or `execute_tool`.")
    response_id: str | None = Field(default=None, description="The response's id, such as `chatcmpl-…`.")
    release_id: str | None = None
    environment: str | None = None
    deployment_id: str | None = None
    prompt: str | None = Field(default=None, description="Prompt version, such as `triage@3`.")
    key_id: str | None = None
    user: str | None = None
    session: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = Field(default=None, description="All input tokens, cached ones included.")
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    ttft_ms: float | None = Field(default=None, description="Time to the first token.")
    cost_usd: float | None = None
    cost_source: str | None = Field(default=None, description="Where the cost comes from: sender, list, rule or hours.")
    price_version: str | None = None
    dialect: str | None = Field(default=None, description="The convention that the sender's attributes follow.")
    truncated: list[str] = Field(default_factory=list, description="What was cut before it was stored, and how much.")


class SpanDetail(Span):
    """A span with input, output and attributes."""

    input: Any = Field(default=None, description="A list of messages, or any JSON value.")
    output: Any = Field(default=None, description="A list of messages, or any JSON value.")
    attributes: dict[str, Any] = Field(default_factory=dict)
    events: list[SpanEvent] = Field(default_factory=list)
    links: list[SpanLink] = Field(default_factory=list)
    resource: dict[str, Any] = Field(default_factory=dict)
    scope: str | None = Field(default=None, description="Name and version of the instrumentation.")
