"""Answers as an instrumented application would send them: OTLP in JSON with OpenTelemetry's GenAI attributes."""

import json
import time
from typing import Any

from tests.traces.answers import trace_id


def export(numbers: range, said: str = '{"type": "LOC"}', **more: str) -> bytes:
    """A request with one model call for each number, as `tests.traces.answers.answer` numbers them."""
    now = time.time_ns()
    spans = [_span(number, now, said, more) for number in numbers]
    resource = {"attributes": [_text("service.name", "shop")]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()


def _span(number: int, now: int, said: str, more: dict[str, str]) -> dict[str, Any]:
    values = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "hello",
        "gen_ai.response.id": f"chatcmpl-{number}",
        "gen_ai.input.messages": json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": f"Where is place number {number}?"}]}]
        ),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": said}]}]),
    } | more
    return {
        "traceId": trace_id(number),
        "spanId": trace_id(number)[:16],
        "name": "chat hello",
        "kind": 3,
        "startTimeUnixNano": str(now - 2_000_000_000 + number),
        "endTimeUnixNano": str(now - 1_000_000_000),
        "attributes": [_text(name, value) for name, value in values.items()],
    }


def _text(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}
