"""OTLP's export request as the protobuf decoder of this house sees it: the same bytes, fewer objects.

`opentelemetry-proto` makes three objects for each attribute: the pair, its value and what is in it. Attributes are most
of a request, so here a value is declared as the bytes it is sent as. A text among them is cut out, and anything else
is read by `AnyValue` itself. On the wire a message and bytes are one and the same.

Source: `trace.proto`, `common.proto` and `trace_service.proto` of opentelemetry-proto 1.x; fields that are not stored
are not declared.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tidemill.otlp"
_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "fixed64": _Field.TYPE_FIXED64,
    "int32": _Field.TYPE_INT32,
}

# fmt: off
_MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "Pair": ((1, "key", "string"), (2, "value", "bytes")),
    "Event": ((1, "time_unix_nano", "fixed64"), (2, "name", "string"), (3, "attributes", "*Pair")),
    "Link": ((1, "trace_id", "bytes"), (2, "span_id", "bytes"), (4, "attributes", "*Pair")),
    "Status": ((2, "message", "string"), (3, "code", "int32")),
    "Span": (
        (1, "trace_id", "bytes"), (2, "span_id", "bytes"), (4, "parent_span_id", "bytes"), (5, "name", "string"),
        (6, "kind", "int32"), (7, "start_time_unix_nano", "fixed64"), (8, "end_time_unix_nano", "fixed64"),
        (9, "attributes", "*Pair"), (11, "events", "*Event"), (13, "links", "*Link"), (15, "status", "Status"),
    ),
    "Scope": ((1, "name", "string"), (2, "version", "string")),
    "ScopeSpans": ((1, "scope", "Scope"), (2, "spans", "*Span")),
    "Resource": ((1, "attributes", "*Pair"),),
    "ResourceSpans": ((1, "resource", "Resource"), (2, "scope_spans", "*ScopeSpans")),
    "Request": ((1, "resource_spans", "*ResourceSpans"),),
}
"""Messages and their fields: number, name and type, `*` before those that repeat."""
# fmt: on


def _made() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            plain = kind.lstrip("*")
            if plain in _TYPES:
                made.type = _TYPES[plain]
            else:
                made.type, made.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Request"))


Request = _made()
"""An export request. Its attributes are pairs of a key and the bytes of an `AnyValue`."""
