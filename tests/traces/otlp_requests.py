"""OTLP requests for tests, as an exporter makes them."""

import os
import time
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


def add(request: ExportTraceServiceRequest, **fields: Any) -> Any:
    """Add a span to a request; `attributes` are a dict of texts and numbers."""
    if not request.resource_spans:
        resource = request.resource_spans.add()
        attribute = resource.resource.attributes.add()
        attribute.key, attribute.value.string_value = "service.name", "shop"
        resource.scope_spans.add().scope.name = "tests"
    span = request.resource_spans[0].scope_spans[0].spans.add()
    attributes = fields.pop("attributes", {})
    given = {
        "trace_id": os.urandom(16),
        "span_id": os.urandom(8),
        "name": "chat small",
        "start_time_unix_nano": time.time_ns(),
        "end_time_unix_nano": time.time_ns() + 1_000_000,
    }
    for name, value in (given | fields).items():
        setattr(span, name, value)
    for name, value in attributes.items():
        attribute = span.attributes.add()
        attribute.key = name
        setattr(attribute.value, "string_value" if isinstance(value, str) else "int_value", value)
    return span


def request(count: int = 1, **fields: Any) -> ExportTraceServiceRequest:
    """A request with so many spans."""
    made = ExportTraceServiceRequest()
    for _ in range(count):
        add(made, **fields)
    return made


def partial(body: bytes) -> tuple[int, str]:
    """How many spans a reply says were rejected, and why."""
    said = ExportTraceServiceResponse.FromString(body).partial_success
    return said.rejected_spans, said.error_message
