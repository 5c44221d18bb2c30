"""Messages of every dialect as chat messages in OpenAI's shape: the form that data sets and releases use too."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tidemill.traces.dialects.rules import parse_json

Message = dict[str, Any]

_TEXT = {"text", "input_text", "output_text"}
_CALL = {"tool_call", "tool-call", "tool_use", "function_call"}
_RESULT = {"tool_call_response", "tool-result", "tool_result", "function_call_output"}
_REASONING = {"reasoning", "thinking"}
_SIMPLE_KEYS = {"role", "content", "name", "tool_call_id"}


def messages(value: Any) -> list[Message] | None:
    """Return the chat messages in `value`: a list, one message, an object with `messages`, or either in JSON.

    None when it holds no messages.
    """
    items = parse_json(value)
    if isinstance(items, dict):
        items = items.get("messages", [items])
    if not isinstance(items, list) or not items:
        return None
    chat: list[Message] = []
    for item in items:
        message = parse_json(item)
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return None
        chat += _normalize(message)
    return chat


def content(value: Any) -> Any:
    """Return an input or output: messages when it holds some, else the JSON value, else the text."""
    parsed = parse_json(value)
    if parsed is value and isinstance(value, str):
        return value
    if isinstance(parsed, dict) and isinstance(parsed.get("choices"), list):
        parsed = [choice.get("message") for choice in parsed["choices"] if isinstance(choice, dict)]
    return messages(parsed) or parsed


def answer(value: Any) -> Any:
    """Return a text as a message of the assistant; messages as they are."""
    output = content(value)
    return [{"role": "assistant", "content": output}] if isinstance(output, str) else output


def instructions(value: Any) -> list[Message] | None:
    """Return system instructions, as text or as OpenTelemetry's parts, as a system message."""
    parsed = parse_json(value)
    if isinstance(parsed, list):
        return _normalize({"role": "system", "parts": parsed})
    return [{"role": "system", "content": parsed}] if isinstance(parsed, str) and parsed else None


def _normalize(message: Message) -> list[Message]:
    """Return one message as one or more of OpenAI's: a message of several tool results becomes one for each."""
    if isinstance(message.get("content"), str) and message.keys() <= _SIMPLE_KEYS:
        return [message]
    parts = message.get("parts")
    if parts is None:
        body = message.get("content")
        parts = body if isinstance(body, list) else [body] if body is not None else []
    texts = _only_texts(message, parts)
    if texts is not None:
        return [{"role": message["role"], "content": "\n".join(texts)}]
    sorted_parts = _Parts()
    for part in parts if isinstance(parts, list) else [parts]:
        sorted_parts.add(part)
    return sorted_parts.to_messages(message)


_TEXT_ONLY_KEYS = {"role", "parts", "finish_reason"}


def _only_texts(message: Message, parts: Any) -> list[str] | None:
    """Return the texts of a message that has no other parts, as most; None for others."""
    if not isinstance(parts, list) or not parts or not message.keys() <= _TEXT_ONLY_KEYS:
        return None
    texts = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") not in _TEXT:
            return None
        text = part.get("content", part.get("text"))
        if not isinstance(text, str):
            return None
        texts.append(text)
    return texts


class _Parts:
    """The parts of one message, sorted by kind."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[Message] = []
        self.results: list[Message] = []
        self.others: list[Any] = []

    def add(self, part: Any) -> None:
        """Add one part."""
        if isinstance(part, str):
            self.texts.append(part)
            return
        if not isinstance(part, dict):
            self.others.append(part)
            return
        kind = part.get("type")
        if kind in _TEXT:
            self.texts.append(_to_text(part.get("content", part.get("text"))))
        elif kind in _REASONING:
            self.reasoning.append(_to_text(part.get("content", part.get("text", part.get("thinking")))))
        elif kind in _CALL:
            self.calls.append(tool_call(part))
        elif kind in _RESULT:
            self.results.append(_result(part))
        else:
            self.others.append(part)

    def to_messages(self, message: Message) -> list[Message]:
        """Return the message, and one for each tool result."""
        if self.results and not (self.texts or self.calls or self.others):
            return self.results
        calls = self.calls + [tool_call(part) for part in _to_list(message.get("tool_calls"))]
        text = "\n".join(self.texts) if self.texts else None
        body: Any = text if text is not None or calls else ""
        if self.others:
            body = [{"type": "text", "text": text} for text in self.texts] + self.others
        chat_message: Message = {"role": message["role"], "content": body}
        if calls:
            chat_message["tool_calls"] = calls
        if self.reasoning:
            chat_message["reasoning_content"] = "\n".join(self.reasoning)
        for name in ("name", "tool_call_id", "refusal"):
            if message.get(name):
                chat_message[name] = message[name]
        return [chat_message, *self.results]


def tool_call(part: Message) -> Message:
    """Return a tool call in OpenAI's shape."""
    inner = part.get("function")
    function: Message = inner if isinstance(inner, dict) else {}
    arguments = function.get("arguments")
    if arguments is None:
        arguments = part.get("arguments", part.get("input", part.get("args", {})))
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    name = function.get("name") or part.get("name") or part.get("toolName")
    call_id = part.get("id") or part.get("toolCallId") or part.get("call_id")
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(part: Message) -> Message:
    output = next((part[name] for name in ("response", "result", "output", "content") if name in part), None)
    if isinstance(output, dict) and "value" in output and "type" in output:  # Vercel's {type: json, value: …}
        output = output["value"]
    call_id = part.get("id") or part.get("toolCallId") or part.get("tool_use_id") or part.get("call_id")
    return {"role": "tool", "tool_call_id": call_id, "content": _to_text(output)}


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _to_list(value: Any) -> Iterable[Message]:
    items = parse_json(value)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def unflatten(pairs: Iterable[tuple[str, Any]]) -> list[Any]:
    """Return the list that OpenInference and traceloop write as `0.message.role`, `0.message.content`, `1.…`.

    A number that is too large or a path that goes through a value is left out.
    """
    root: dict[str, Any] = {}
    for path, value in pairs:
        node = root
        *steps, last = path.split(".", 12)  # deeper than any convention goes
        for step in steps:
            child = node.setdefault(step, {})
            if not isinstance(child, dict):
                break
            node = child
        else:
            node[last] = value
    return _numbered_to_lists(root) if root else []


def _numbered_to_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isascii() and key.isdecimal() and len(key) < 7 for key in node):
        return [_numbered_to_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _numbered_to_lists(value) for key, value in node.items()}
