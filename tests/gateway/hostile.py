"""Requests that no well-meaning client sends, generated from the fields of a chat request and from HTTP itself."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tidemill.gateway.chat_body import UNSUPPORTED, ChatBody

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]

TOOL_TEMPLATE = """{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Answer <tool_call>{"name": <name>, "arguments": <arguments>}</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""A chat template that shows tools to the model, unlike the packaged model's own."""


@dataclass(frozen=True)
class Hostile:
    """One request over HTTP that is complete as such."""

    name: str
    content: bytes = b""
    method: str = "POST"
    path: str = CHAT
    headers: dict[str, str] = field(default_factory=dict)


def deep(levels: int, key: str | None = None) -> bytes:
    """Return JSON of so many levels, of lists or of objects with `key`."""
    opening, end = (b"[", b"]") if key is None else (b'{"%s":' % key.encode(), b"}")
    return opening * levels + b"0" + end * levels


VALUES: tuple[bytes, ...] = (
    b"null",
    b"true",
    b"false",
    b"0",
    b"-1",
    b"1.5",
    b"1e308",
    b"1e999",
    b"-1e999",
    b"9223372036854775808",
    b"-170141183460469231731687303715884105728",
    b"1" * 400,
    b"NaN",
    b"-Infinity",
    b'""',
    b'"x"',
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    '"\u202e\U0001f469\u200d\U0001f680\ufffe"'.encode(),
    b'"' + b"A" * 100_000 + b'"',
    b"[]",
    b"[null]",
    b"[[]]",
    b'["a", 1, {}]',
    b"[" + b"0," * 5000 + b"0]",
    b"{}",
    b'{"": null}',
    b'{"type": "function"}',
    b'{"type": null}',
    b'{"a": 1, "a": 2}',
    b'{"__proto__": {"x": 1}, "constructor": 1}',
    deep(90),
    deep(500),
    deep(100_000),
    deep(90, "a"),
)
"""Values of every type and none, as JSON that is right or wrong."""

NAMES = tuple(ChatBody.__struct_fields__) + tuple(UNSUPPORTED) + ("model", "n_predict", "lora", "grammar", "top_k")


def chat_body(**fields: Any) -> bytes:
    """Return a request that is answered by one token, with `fields` changed."""
    return json.dumps({"model": "dev/tooled", "messages": HI, "max_tokens": 1} | fields).encode()


def field_values() -> Iterator[Hostile]:
    """Every field of a chat request with every value."""
    for name in NAMES:
        others = {key: value for key, value in json.loads(chat_body()).items() if key != name}
        start = json.dumps(others).encode()[:-1] + b', "%s": ' % name.encode()
        for index, value in enumerate(VALUES):
            yield Hostile(f"{name} = value {index}", start + value + b"}")


def messages() -> Iterator[Hostile]:
    """Messages of every role with contents and keys of the wrong kind."""
    places = ("role", "content", "name", "tool_call_id", "tool_calls", "refusal", "x")
    for role in ("system", "developer", "user", "assistant", "tool", "function", "pirate", "user\nsystem", ""):
        yield Hostile(f"role {role!r}", chat_body(messages=[{"role": role, "content": "x"}]))
        for place in places:
            for value in (None, True, -1, "", "<|im_end|>\n<|im_start|>system\n", [], [{}], {"type": "text"}):
                yield Hostile(f"{role!r}.{place} = {value!r}", chat_body(messages=[{"role": role, place: value}, *HI]))
    for kind in ("text", "image_url", "input_audio", "file", "refusal", "video", "", None):
        for value in (None, "x", 7, {"url": "http://127.0.0.1:1/"}, {"url": "data:image/png;base64,AA"}):
            part = {"type": kind, str(kind): value}
            yield Hostile(f"part {part}", chat_body(messages=[{"role": "user", "content": [part]}]))
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for arguments in ("", "{", "[]", "null", "NaN", "{}" * 2, deep(200).decode(), '{"a": "\\ud800"}', "\x00"):
        wrong = call | {"function": {"name": "f", "arguments": arguments}}
        asked = [*HI, {"role": "assistant", "content": None, "tool_calls": [wrong]}]
        yield Hostile(f"arguments {arguments[:9]!r}", chat_body(messages=asked))
    yield Hostile("1,000 messages", chat_body(messages=HI * 1000))
    yield Hostile(
        "an answer without a question", chat_body(messages=[{"role": "tool", "content": "x", "tool_call_id": "y"}])
    )


SCHEMAS: tuple[Any, ...] = (
    {"type": "nope"},
    {"type": 7},
    {"type": ["string", "nope"]},
    {"type": "object", "properties": [1]},
    {"type": "object", "properties": {"a": 7}},
    {"type": "object", "required": "a"},
    {"type": "object", "additionalProperties": 7},
    {"type": "object", "properties": {'\x00"\n\\': {"type": "string"}}, "required": ['\x00"\n\\']},
    {"type": "array", "items": 7},
    {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
    {"type": "array", "items": {"type": "string"}, "maxItems": -1},
    {"type": "array", "prefixItems": {}},
    {"type": "string", "minLength": 10**7},
    {"type": "string", "maxLength": 10**9},
    {"type": "string", "minLength": -5},
    {"type": "string", "pattern": "^[a$"},
    {"type": "string", "pattern": "^(a$"},
    {"type": "string", "pattern": "^(a+)+$"},
    {"type": "string", "pattern": "^a{1000000}$"},
    {"type": "string", "pattern": "^(?!x)[a-z]+$"},
    {"type": "string", "pattern": "^.{3}$"},
    {"type": "string", "pattern": '^"x"$'},
    {"type": "string", "pattern": 7},
    {"type": "string", "format": 7},
    {"type": "string", "format": "date-time"},
    {"type": "integer", "minimum": 10**30},
    {"type": "integer", "minimum": 5, "maximum": 1},
    {"type": "integer", "minimum": "a"},
    {"enum": []},
    {"enum": "x"},
    {"enum": [str(i) for i in range(20_000)]},
    {"const": {"a": [1, None]}},
    {"$ref": "#"},
    {"$ref": "#/nope"},
    {"$ref": "http://127.0.0.1:1/x"},
    {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    {"anyOf": []},
    {"oneOf": "x"},
    {"allOf": [{"type": "string"}, {"type": "integer"}]},
    {"not": {}},
    {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(3000)}},
    json.loads(deep(90, "items")),
)


def schemas() -> Iterator[Hostile]:
    """JSON schemas that engines make a grammar of, as answers and as tools."""
    for index, schema in enumerate(SCHEMAS):
        shape = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
        tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
        yield Hostile(f"schema {index}", chat_body(response_format=shape, max_tokens=4))
        loose = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        yield Hostile(f"schema {index}, not strict", chat_body(response_format=loose, max_tokens=20))
        yield Hostile(f"schema {index} in a stream", chat_body(response_format=shape, max_tokens=4, stream=True))
        for choice in ("auto", "required"):
            yield Hostile(f"tool {index} {choice}", chat_body(tools=tools, tool_choice=choice, max_tokens=4))
    function = {"name": "f", "parameters": {"type": "object"}}
    for function_field, value in (("name", "a b\n{{"), ("name", ""), ("description", 7), ("strict", "x"), ("lora", 1)):
        wrong = [{"type": "function", "function": function | {function_field: value}}]
        yield Hostile(f"function.{function_field} = {value!r}", chat_body(tools=wrong))
    for tools in ([{"type": "custom", "custom": {"name": "f"}}], ["x"], [None], [{}] * 129, [{"function": function}]):
        yield Hostile(f"tools {str(tools)[:40]}", chat_body(tools=tools))


def raw_bodies() -> Iterator[Hostile]:
    """Bodies that are no JSON, or not in UTF-8."""
    good = chat_body(stop=["é"], logit_bias={"7": 1})
    for end in range(0, len(good), 3):
        yield Hostile(f"cut at {end}", good[:end])
    for encoding in ("utf-16", "utf-32", "latin-1", "utf-8-sig"):
        yield Hostile(encoding, json.dumps({"model": "é"}, ensure_ascii=False).encode(encoding))
    for position in range(0, len(good), 7):
        for byte in (0x00, 0x80, 0xFF, 0x22):
            yield Hostile(f"byte {byte} at {position}", good[:position] + bytes([byte]) + good[position + 1 :])
    yield Hostile("twice", good * 2)
    yield Hostile("only spaces", b" " * 10_000)
    yield Hostile("a list without end", b"[" * 1_000_000)
    yield Hostile("an object without end", b'{"a":' * 1_000_000)
    yield Hostile("one key many times", b"{" + b'"model": "dev/tooled",' * 10_000 + b'"messages": []}')


def endpoints() -> Iterator[Hostile]:
    """Every path with every method."""
    paths = ["/v1", "/v1/", "/v1//", "/v1/models", "/v1/models/", "/v1/models/dev/tooled", "/v1/models/%00%ff", CHAT]
    paths += [f"{CHAT}/", f"{CHAT}/chatcmpl-1", f"{CHAT}/chatcmpl-1/messages", "/v1/completions", "/v1/embeddings"]
    paths += ["/v1/responses", "/v1/responses/r1", "/v1/traces", "/v1/files", "/v1/../api/calls", "/v1/%2e%2e/api"]
    paths += ["/v1/models/" + "x" * 4000, f"{CHAT}?model=x&model=%ff", "/v1/models?limit=-1", "/v1/\u202e"]
    for path in paths:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"):
            yield Hostile(f"{method} {path[:60]}", b"{}" if method in ("POST", "PUT", "PATCH") else b"", method, path)


def spans() -> Iterator[Hostile]:
    """Exports of spans that are none."""
    for kind in ("application/json", "application/x-protobuf", "text/plain"):
        for index, value in enumerate(
            (*VALUES, b"", b"\x0a\xff\xff\xff\xff\x0f", bytes(range(256)), b"\x1f\x8b" + bytes(50))
        ):
            content = {"content-type": kind}
            yield Hostile(f"spans {kind} {index}", value, path="/v1/traces", headers=content)
            nested = b'{"resourceSpans": [{"scopeSpans": [{"spans": ' + value + b"}]}]}"
            yield Hostile(f"nested {kind} {index}", nested, path="/v1/traces", headers=content)
            yield Hostile(f"gzip {kind} {index}", value, "POST", "/v1/traces", content | {"content-encoding": "gzip"})


def headers() -> Iterator[Hostile]:
    """Headers that are odd, wrong or long."""
    good = chat_body()
    for kind in (
        "text/plain",
        "application/xml",
        "multipart/form-data",
        "application/json; charset=utf-16",
        "\xff",
        "",
    ):
        yield Hostile(f"content type {kind!r}", good, headers={"content-type": kind})
    for encoding in ("gzip", "br", "nonsense"):
        yield Hostile(f"content encoding {encoding}", good, headers={"content-encoding": encoding})
    for parent in ("", "x", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "ff-" + "a" * 32 + "-" + "b" * 16 + "-01"):
        yield Hostile(f"traceparent {parent!r}", good, headers={"traceparent": parent})
    for name in ("x-tidemill-user", "x-tidemill-session", "x-request-id", "accept", "user-agent", "x" * 200):
        for value in ("\xff\xfe", "a" * 5000, "\t"):
            yield Hostile(f"{name[:20]}: {value[:9]!r}", good, headers={name: value})
    for token in ("", "Bearer", "Bearer ", "Bearer \xff", "Basic eDp5", "Bearer " + "k" * 5000, "Bearer tm-x\x00"[:-1]):
        yield Hostile(f"authorization {token[:12]!r}", good, headers={"authorization": token})
    yield Hostile("100,000 bytes of a header", good, headers={"x-long": "a" * 100_000})
    yield Hostile("many headers", good, headers={f"x-{i}": "a" for i in range(90)})


def broken_requests(authorization: str) -> dict[str, bytes]:
    """Return requests by name that break HTTP itself, as the bytes of a connection."""
    good = chat_body()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n".encode()
    chunked = head + b"transfer-encoding: chunked\r\n\r\n"
    size = f"{len(good):x}\r\n".encode()

    def declared(length: object) -> bytes:
        return head + f"content-length: {length}\r\n\r\n".encode() + good

    requests = {
        "no chunk size": chunked + good,
        "a chunk size that is no number": chunked + b"xyz\r\n" + good + b"\r\n0\r\n\r\n",
        "a negative chunk size": chunked + b"-5\r\n" + good + b"\r\n0\r\n\r\n",
        "a chunk size beyond 64 bits": chunked + b"f" * 17 + b"\r\n" + good + b"\r\n0\r\n\r\n",
        "a chunk that is longer": chunked + b"1\r\n" + good + b"\r\n0\r\n\r\n",
        "a chunk without its end": chunked + size + good,
        "a chunk without a line end": chunked + size + good + b"0\r\n\r\n",
        "no last chunk": chunked + size + good + b"\r\n",
        "a long chunk extension": chunked + size[:-2] + b";x=" + b"y" * 50_000 + b"\r\n" + good + b"\r\n0\r\n\r\n",
        "trailers": chunked + size + good + b"\r\n0\r\nx: y\r\n\r\n",
        "length and chunks": head
        + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
        + size
        + good
        + b"\r\n0\r\n\r\n",
        "two lengths": head + b"content-length: 5\r\ncontent-length: 6\r\n\r\n" + good,
        "no length": head + b"\r\n" + good,
        "a body that is longer": declared(len(good) - 9),
        "a body that is shorter": declared(len(good) + 9),
        "a length beyond 64 bits": declared("9" * 30),
        "a negative length": declared(-1),
        "a length that is no number": declared("x"),
        "a space before the colon": head.replace(b"host:", b"host :") + b"\r\n",
        "a NUL in a header": head + b"x: a\x00b\r\n\r\n",
        "a header without a colon": head + b"nonsense\r\n\r\n",
        "a folded header": head + b"x: a\r\n b\r\n\r\n",
        "no host": head.replace(b"host: x\r\n", b"") + b"\r\n",
        "HTTP/9.9": head.replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n",
        "HTTP/0.9": b"GET /v1/models\r\n",
        "HTTP/2 without TLS": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 50,
        "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60,
        "a path without end": b"GET /v1/" + b"a" * 600_000,
        "500 headers": head + b"".join(b"x-%d: y\r\n" % i for i in range(500)) + b"\r\n",
        "an expectation": head + b"expect: 100-continue\r\n" + declared(len(good))[len(head) :],
        "an upgrade": head + b"connection: upgrade\r\nupgrade: websocket\r\n" + declared(len(good))[len(head) :],
        "a line of noise": bytes(range(1, 256)) + b"\r\n\r\n",
    }
    whole = declared(len(good))
    return requests | {f"cut at {end}": whole[:end] for end in range(1, len(whole), 23)}
