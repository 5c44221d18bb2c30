"""A call as a span of a trace, and back."""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tidemill.core.actors import Actor
from tidemill.core.errors import TidemillError
from tidemill.core.lineage_types import LineageNode
from tidemill.gateway.accumulator import CompletionAccumulator, MessageDict
from tidemill.gateway.chat_body import SHAPING
from tidemill.gateway.chat_request import ChatRequest
from tidemill.gateway.request_metadata import RequestMetadata
from tidemill.gateway.types import Call, ReplicaTarget, Status
from tidemill.traces.types import SpanDetail, SpanPayload, SpanRecord
from tidemill.traces.types import Status as SpanStatus

SERVICE = "tidemill-gateway"
PROVIDER = "tidemill"
SCOPE = "tidemill.gateway"

_STATUS: dict[Status, SpanStatus] = {"ok": "ok", "error": "error", "aborted": "unset"}
_CALL_STATUS: dict[str, Status] = {span: call for call, span in _STATUS.items()}
_PARAMETERS = ("n", "logprobs", "top_logprobs", *SHAPING)
_MAX_NAME = 200


UNFINISHED = "The server ended before this call did. How much of an answer the caller had is not known."


@dataclass
class CallProgress:
    """What a call has brought so far; `engine_s` is its share of the engine's time in seconds."""

    target: ReplicaTarget | None = None
    overrides: list[str] = field(default_factory=list)
    attempts: int = 0
    ttft_ms: float | None = None
    messages: list[MessageDict] | None = None
    """The messages for the engine: the release's prompt and the caller's."""
    answer: CompletionAccumulator = field(default_factory=CompletionAccumulator)
    engine_s: float = 0.0
    span_id: bytes = field(default_factory=lambda: os.urandom(8))


def span_status(status: Status) -> SpanStatus:
    """Return the span status for a call's status: a client that disconnected is no error."""
    return _STATUS[status]


def build_begun_span(
    call_id: str,
    request_id: str,
    actor: Actor,
    metadata: RequestMetadata,
    request: ChatRequest,
    progress: CallProgress,
    *,
    start_ns: int,
) -> SpanRecord:
    """Return the span of a call that has begun, as it is stored if its end is never recorded. It has no content."""
    record = SpanRecord(
        trace_id=metadata.trace_id,
        span_id=progress.span_id,
        parent_id=metadata.parent_id,
        name=_span_name(request, progress),
        start_ns=start_ns,
        duration_ns=0,
        kind="llm",
        status="error",
        status_message=UNFINISHED,
        service=SERVICE,
        provider=PROVIDER,
        operation="chat",
        response_id=call_id,
        key_id=actor.key_id or actor.id,
        user=request.user,
        session=request.session,
        dialect="gateway",
        payload=SpanPayload(
            attributes={
                "gen_ai.request.model": request.model[:_MAX_NAME],
                "gen_ai.request.stream": request.stream,
                "tidemill.request_id": request_id,
                "tidemill.caller_id": actor.id,
                "tidemill.caller_name": actor.name[:_MAX_NAME],
                "tidemill.http_status": 500,
                "tidemill.attempts": max(progress.attempts, 1),
                "error.type": "call_unfinished",
            },
            scope=SCOPE,
        ),
    )
    if progress.target is not None:
        _set_target(record, progress.target, progress)
    return record


def _span_name(request: ChatRequest, progress: CallProgress) -> str:
    return f"chat {progress.target.label if progress.target is not None else request.model[:_MAX_NAME]}"


def build_span(
    call_id: str,
    request_id: str,
    actor: Actor,
    metadata: RequestMetadata,
    request: ChatRequest,
    progress: CallProgress,
    *,
    start_ns: int,
    elapsed_ms: float,
    status: Status,
    http_status: int,
    error: TidemillError | None,
) -> SpanRecord:
    """Return the span of a call that has ended after `elapsed_ms`."""
    target = progress.target
    attributes = _attributes(request_id, actor, request, progress, http_status, error)
    record = SpanRecord(
        trace_id=metadata.trace_id,
        span_id=progress.span_id,
        parent_id=metadata.parent_id,
        name=_span_name(request, progress),
        start_ns=start_ns,
        duration_ns=int(elapsed_ms * 1e6),
        kind="llm",
        status=_STATUS[status],
        status_message=error.message if error is not None else None,
        service=SERVICE,
        provider=PROVIDER,
        operation="chat",
        response_id=call_id,
        key_id=actor.key_id or actor.id,
        user=request.user,
        session=request.session,
        finish_reason=progress.answer.finish_reason,
        # An engine that ended before it had read the prompt says nothing of its length.
        input_tokens=progress.answer.usage.prompt_tokens if progress.answer.knows_input else None,
        # A stream that broke off brought no usage: each chunk of an answer is one token.
        output_tokens=progress.answer.usage.completion_tokens or progress.answer.delta_count,
        cached_tokens=progress.answer.usage.cached_tokens,
        ttft_ms=progress.ttft_ms,
        dialect="gateway",
        payload=SpanPayload(
            input=progress.messages or request.fields["messages"],
            output=progress.answer.messages(),
            attributes=attributes,
            scope=SCOPE,
        ),
    )
    if target is not None:
        _set_target(record, target, progress)
    return record


def _attributes(
    request_id: str,
    actor: Actor,
    request: ChatRequest,
    progress: CallProgress,
    http_status: int,
    error: TidemillError | None,
) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.request.model": request.model[:_MAX_NAME],
        "tidemill.request_id": request_id,
        "tidemill.caller_id": actor.id,
        "tidemill.caller_name": actor.name,
        "tidemill.http_status": http_status,
        "tidemill.attempts": max(progress.attempts, 1),
    }
    if request.stream:
        attributes["gen_ai.request.stream"] = True
    if error is not None:
        attributes["error.type"] = error.code
    if progress.overrides:
        attributes["tidemill.overrides"] = progress.overrides
    if request.ignored:
        attributes["tidemill.ignored"] = list(request.ignored)
    for name in _PARAMETERS:
        if name in request.fields:
            attributes[f"gen_ai.request.{name}"] = request.fields[name]
    return attributes


def _set_target(record: SpanRecord, target: ReplicaTarget, progress: CallProgress) -> None:
    record.model = target.label
    record.release_id = target.release_id
    record.environment = target.environment
    record.deployment_id = target.deployment_id
    record.prompt = target.prompt_ref
    attributes = record.payload.attributes
    attributes["tidemill.model_version_id"] = target.model_version_id
    attributes["tidemill.engine_seconds"] = round(progress.engine_s, 6)
    if target.prompt:
        # The first so many messages of the input come from the release, the others from the caller.
        attributes["tidemill.prompt_messages"] = len(target.prompt)


def is_call(span: SpanDetail) -> bool:
    """Return whether the gateway wrote this span."""
    return span.dialect == "gateway"


def call_from_span(span: SpanDetail) -> Call:
    """Return the call that the gateway wrote as this span."""
    attributes = span.attributes
    return Call(
        id=span.response_id or "",
        request_id=attributes.get("tidemill.request_id", ""),
        trace_id=span.trace_id,
        span_id=span.span_id,
        model=attributes.get("gen_ai.request.model", span.model or ""),
        release_id=span.release_id,
        model_version_id=attributes.get("tidemill.model_version_id"),
        environment=span.environment,
        deployment_id=span.deployment_id,
        prompt=span.prompt,
        caller_id=attributes.get("tidemill.caller_id", ""),
        caller_name=attributes.get("tidemill.caller_name", ""),
        key_id=span.key_id if span.key_id != attributes.get("tidemill.caller_id") else None,
        user=span.user,
        session=span.session,
        stream=bool(attributes.get("gen_ai.request.stream", False)),
        status=_CALL_STATUS[span.status],
        http_status=attributes.get("tidemill.http_status", 0),
        error_code=attributes.get("error.type"),
        finish_reason=span.finish_reason,
        prompt_tokens=span.input_tokens,
        completion_tokens=span.output_tokens or 0,
        cached_tokens=span.cached_tokens or 0,
        cost_usd=span.cost_usd,
        overrides=attributes.get("tidemill.overrides", []),
        ignored=attributes.get("tidemill.ignored", []),
        attempts=attributes.get("tidemill.attempts", 1),
        ttft_ms=span.ttft_ms,
        latency_ms=span.duration_ms,
        started_at=span.start,
        ended_at=span.start + timedelta(milliseconds=span.duration_ms),
    )


def lineage_node(call: Call) -> LineageNode:
    """Return the call as a node of the lineage graph."""
    return LineageNode(
        id=call.id,
        kind="call",
        label=f"answer to {call.caller_name} by {call.model}",
        facts={"tokens": call.completion_tokens, "overrides": call.overrides, "trace_id": call.trace_id},
        actor_id=call.caller_id,
        at=call.ended_at,
    )


def list_origins(call: Call) -> list[str]:
    """Return the ids of what answered: the deployment and the release, or the model version alone."""
    origins = [origin for origin in (call.deployment_id, call.release_id) if origin is not None]
    if origins or call.model_version_id is None:
        return origins
    return [call.model_version_id]
