"""OTLP's export request, declared so that decoding it makes fewer objects, and google.rpc.Status.

`opentelemetry-proto` makes three objects for each attribute: the pair, its value and what is in it. Attributes are most
of a request, so here a value is declared as the bytes it is sent as. `otlp` reads texts and small numbers from these
bytes itself, and parses anything else as an `AnyValue`. On the wire a message and bytes are one and the same.

Source: `trace.proto`, `common.proto` and `trace_service.proto` of opentelemetry-proto 1.x, `google/rpc/status.proto`;
fields that are not stored are not declared.
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
    "ExportRequest": ((1, "resource_spans", "*ResourceSpans"),),
    "RpcStatus": ((1, "code", "int32"), (2, "message", "string")),
}
"""Messages and their fields: number, name and type, `*` before those that repeat."""
# fmt: on


def _build_pool(*, texts_as_bytes: bool) -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for number, name, kind in fields:
            label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
            field = message.field.add(name=name, number=number, label=label)
            type_name = kind.lstrip("*")
            if type_name == "string" and texts_as_bytes:
                field.type = _TYPES["bytes"]
            elif type_name in _TYPES:
                field.type = _TYPES[type_name]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _message_class(pool: descriptor_pool.DescriptorPool, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


_POOL = _build_pool(texts_as_bytes=False)
ExportRequest = _message_class(_POOL, "ExportRequest")
"""An export request. Its attributes are pairs of a key and the bytes of an `AnyValue`."""
_LenientRequest = _message_class(_build_pool(texts_as_bytes=True), "ExportRequest")
RpcStatus = _message_class(_POOL, "RpcStatus")
"""google.rpc.Status, the body of an error in protobuf."""


def replace_invalid_text(body: bytes) -> bytes:
    """Return an export request with U+FFFD for what is no UTF-8 in names, keys and messages, though not in values.

    Raises DecodeError for what is no export request.
    """
    request = _LenientRequest.FromString(body)
    _replace_in(request)
    repaired: bytes = request.SerializeToString()
    return repaired


def _replace_in(message: Any) -> None:
    texts = {name for _, name, kind in _MESSAGES[message.DESCRIPTOR.name] if kind == "string"}
    for field, value in message.ListFields():
        if field.name in texts:
            setattr(message, field.name, value.decode(errors="replace").encode())
        elif field.type == field.TYPE_MESSAGE:
            for child in value if field.is_repeated else (value,):
                _replace_in(child)
