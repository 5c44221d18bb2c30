"""A call as a span of a trace, and back: what the books say about it."""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tidemill.core.actors import Actor
from tidemill.core.errors import TidemillError
from tidemill.core.lineage_types import LineageNode
from tidemill.gateway.accumulator import CompletionAccumulator, MessageDict
from tidemill.gateway.chat import ChatRequest
from tidemill.gateway.sender import Sender
from tidemill.gateway.types import Call, Status, Target
from tidemill.traces.types import SpanDetail, SpanPayload, SpanRecord
from tidemill.traces.types import Status as SpanStatus

SERVICE = "tidemill-gateway"
PROVIDER = "tidemill"
SCOPE = "tidemill.gateway"

_STATUS: dict[Status, SpanStatus] = {"ok": "ok", "error": "error", "aborted": "unset"}
_CALLED: dict[str, Status] = {span: call for call, span in _STATUS.items()}
_ASKED = ("temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "seed", "n", "stop", "tools")
_LONGEST = 200


@dataclass
class Outcome:
    """What is known about the call so far."""

    target: Target | None = None
    overrides: list[str] = field(default_factory=list)
    attempts: int = 0
    ttft_ms: float | None = None
    messages: list[MessageDict] | None = None
    """What the engine was given: the release's prompt and the caller's messages."""
    answer: CompletionAccumulator = field(default_factory=CompletionAccumulator)
    engine_s: float = 0.0


def status_of(status: Status) -> SpanStatus:
    """The span's word for how a call ended: a caller who hung up is no error."""
    return _STATUS[status]


def span_of(
    call_id: str,
    request_id: str,
    actor: Actor,
    sender: Sender,
    request: ChatRequest,
    found: Outcome,
    *,
    start_ns: int,
    elapsed_ms: float,
    status: Status,
    http_status: int,
    error: TidemillError | None,
) -> SpanRecord:
    """The span of a call that has ended."""
    target = found.target
    attributes = _attributes(request_id, actor, request, found, http_status, error)
    record = SpanRecord(
        trace_id=sender.trace_id,
        span_id=os.urandom(8),
        parent_id=sender.parent_id,
        name=f"chat {target.label if target is not None else request.model[:_LONGEST]}",
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
        finish_reason=found.answer.finish_reason,
        input_tokens=found.answer.usage.prompt_tokens,
        # A stream that broke off never told its usage: each chunk of an answer is one token.
        output_tokens=found.answer.usage.completion_tokens or found.answer.delta_count,
        cached_tokens=found.answer.usage.cached_tokens,
        ttft_ms=found.ttft_ms,
        dialect="gateway",
        payload=SpanPayload(
            input=found.messages or request.fields["messages"],
            output=found.answer.messages(),
            attributes=attributes,
            scope=SCOPE,
        ),
    )
    if target is not None:
        _answered_by(record, target, found)
    return record


def _attributes(
    request_id: str,
    actor: Actor,
    request: ChatRequest,
    found: Outcome,
    http_status: int,
    error: TidemillError | None,
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "gen_ai.request.model": request.model[:_LONGEST],
        "tidemill.request_id": request_id,
        "tidemill.caller_id": actor.id,
        "tidemill.caller_name": actor.name,
        "tidemill.http_status": http_status,
        "tidemill.attempts": max(found.attempts, 1),
    }
    if request.stream:
        made["gen_ai.request.stream"] = True
    if error is not None:
        made["error.type"] = error.code
    if found.overrides:
        made["tidemill.overrides"] = found.overrides
    for name in _ASKED:
        if name in request.fields:
            made[f"gen_ai.request.{name}"] = request.fields[name]
    return made


def _answered_by(record: SpanRecord, target: Target, found: Outcome) -> None:
    record.model = target.label
    record.release_id = target.release_id
    record.environment = target.environment
    record.deployment_id = target.deployment_id
    record.prompt = target.prompt_ref
    attributes = record.payload.attributes
    attributes["tidemill.model_version_id"] = target.model_version_id
    attributes["tidemill.engine_seconds"] = round(found.engine_s, 6)
    if target.prompt:
        # The first so many messages of the input come from the release, the others from the caller.
        attributes["tidemill.prompt_messages"] = len(target.prompt)


def is_call(span: SpanDetail) -> bool:
    """Whether this span is one that the gateway wrote."""
    return span.dialect == "gateway"


def call_of(span: SpanDetail) -> Call:
    """The call that the gateway wrote as this span."""
    held = span.attributes
    return Call(
        id=span.response_id or "",
        request_id=held.get("tidemill.request_id", ""),
        trace_id=span.trace_id,
        span_id=span.span_id,
        model=held.get("gen_ai.request.model", span.model or ""),
        release_id=span.release_id,
        model_version_id=held.get("tidemill.model_version_id"),
        environment=span.environment,
        deployment_id=span.deployment_id,
        prompt=span.prompt,
        caller_id=held.get("tidemill.caller_id", ""),
        caller_name=held.get("tidemill.caller_name", ""),
        key_id=span.key_id if span.key_id != held.get("tidemill.caller_id") else None,
        user=span.user,
        session=span.session,
        stream=bool(held.get("gen_ai.request.stream", False)),
        status=_CALLED[span.status],
        http_status=held.get("tidemill.http_status", 0),
        error_code=held.get("error.type"),
        finish_reason=span.finish_reason,
        prompt_tokens=span.input_tokens or 0,
        completion_tokens=span.output_tokens or 0,
        cached_tokens=span.cached_tokens or 0,
        cost_usd=span.cost_usd,
        overrides=held.get("tidemill.overrides", []),
        attempts=held.get("tidemill.attempts", 1),
        ttft_ms=span.ttft_ms,
        latency_ms=span.duration_ms,
        started_at=span.start,
        ended_at=span.start + timedelta(milliseconds=span.duration_ms),
    )


def node_of(call: Call) -> LineageNode:
    """The call as a thing of the lineage."""
    return LineageNode(
        id=call.id,
        kind="call",
        label=f"answer to {call.caller_name} by {call.model}",
        facts={"tokens": call.completion_tokens, "overrides": call.overrides, "trace_id": call.trace_id},
        actor_id=call.caller_id,
        at=call.ended_at,
    )


def origins_of(call: Call) -> list[str]:
    """What answered: the deployment and the release, or the model version alone."""
    found = [origin for origin in (call.deployment_id, call.release_id) if origin is not None]
    if found or call.model_version_id is None:
        return found
    return [call.model_version_id]
