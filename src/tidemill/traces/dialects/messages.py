"""Messages of every dialect as chat messages in OpenAI's shape: the form that data sets and releases use too."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tidemill.traces.dialects.rules import decoded

Message = dict[str, Any]

_TEXT = {"text", "input_text", "output_text"}
_CALL = {"tool_call", "tool-call", "tool_use", "function_call"}
_RESULT = {"tool_call_response", "tool-result", "tool_result", "function_call_output"}
_REASONING = {"reasoning", "thinking"}
_PLAIN = {"role", "content", "name", "tool_call_id"}


def messages(value: Any) -> list[Message] | None:
    """The chat messages in `value`: a list, one message, an object with `messages`, or either in JSON.

    None when it holds no messages.
    """
    found = decoded(value)
    if isinstance(found, dict):
        found = found.get("messages", [found])
    if not isinstance(found, list) or not found:
        return None
    made: list[Message] = []
    for one in found:
        one = decoded(one)
        if not isinstance(one, dict) or not isinstance(one.get("role"), str):
            return None
        made += _normal(one)
    return made


def said(value: Any) -> Any:
    """What went in or came out: messages when it holds some, else the JSON value, else the text."""
    found = decoded(value)
    if found is value and isinstance(value, str):
        return value
    if isinstance(found, dict) and isinstance(found.get("choices"), list):
        found = [choice.get("message") for choice in found["choices"] if isinstance(choice, dict)]
    return messages(found) or found


def answer(value: Any) -> Any:
    """A text as a message of the assistant; messages as they are."""
    found = said(value)
    return [{"role": "assistant", "content": found}] if isinstance(found, str) else found


def instructions(value: Any) -> list[Message] | None:
    """System instructions, as text or as OpenTelemetry's parts, as a system message."""
    found = decoded(value)
    if isinstance(found, list):
        return _normal({"role": "system", "parts": found})
    return [{"role": "system", "content": found}] if isinstance(found, str) and found else None


def _normal(message: Message) -> list[Message]:
    """One message as one or more of OpenAI's: a message of several tool results becomes one for each."""
    if isinstance(message.get("content"), str) and message.keys() <= _PLAIN:
        return [message]
    parts = message.get("parts")
    if parts is None:
        content = message.get("content")
        parts = content if isinstance(content, list) else [content] if content is not None else []
    texts = _only_texts(message, parts)
    if texts is not None:
        return [{"role": message["role"], "content": "\n".join(texts)}]
    gathered = _Parts()
    for part in parts if isinstance(parts, list) else [parts]:
        gathered.add(part)
    return gathered.made(message)


_ROLE_AND_PARTS = {"role", "parts", "finish_reason"}


def _only_texts(message: Message, parts: Any) -> list[str] | None:
    """The texts of a message that is made of nothing else, as most are."""
    if not isinstance(parts, list) or not parts or not message.keys() <= _ROLE_AND_PARTS:
        return None
    texts = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") not in _TEXT:
            return None
        content = part.get("content", part.get("text"))
        if not isinstance(content, str):
            return None
        texts.append(content)
    return texts


class _Parts:
    """The parts of one message, sorted by what they are."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[Message] = []
        self.results: list[Message] = []
        self.others: list[Any] = []

    def add(self, part: Any) -> None:
        """Take in one part."""
        if isinstance(part, str):
            self.texts.append(part)
            return
        if not isinstance(part, dict):
            self.others.append(part)
            return
        kind = part.get("type")
        if kind in _TEXT:
            self.texts.append(_joined(part.get("content", part.get("text"))))
        elif kind in _REASONING:
            self.reasoning.append(_joined(part.get("content", part.get("text", part.get("thinking")))))
        elif kind in _CALL:
            self.calls.append(call(part))
        elif kind in _RESULT:
            self.results.append(_result(part))
        else:
            self.others.append(part)

    def made(self, message: Message) -> list[Message]:
        """The message or messages they make."""
        if self.results and not (self.texts or self.calls or self.others):
            return self.results
        calls = self.calls + [call(one) for one in _listed(message.get("tool_calls"))]
        plain = "\n".join(self.texts) if self.texts else None
        content: Any = plain if plain is not None or calls else ""
        if self.others:
            content = [{"type": "text", "text": one} for one in self.texts] + self.others
        made: Message = {"role": message["role"], "content": content}
        if calls:
            made["tool_calls"] = calls
        if self.reasoning:
            made["reasoning_content"] = "\n".join(self.reasoning)
        for name in ("name", "tool_call_id", "refusal"):
            if message.get(name):
                made[name] = message[name]
        return [made, *self.results]


def call(part: Message) -> Message:
    """A tool call in OpenAI's shape."""
    inner = part.get("function")
    function: Message = inner if isinstance(inner, dict) else {}
    arguments = function.get("arguments")
    if arguments is None:
        arguments = part.get("arguments", part.get("input", part.get("args", {})))
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    name = function.get("name") or part.get("name") or part.get("toolName")
    ident = part.get("id") or part.get("toolCallId") or part.get("call_id")
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(part: Message) -> Message:
    output = next((part[name] for name in ("response", "result", "output", "content") if name in part), None)
    if isinstance(output, dict) and "value" in output and "type" in output:  # Vercel's {type: json, value: …}
        output = output["value"]
    ident = part.get("id") or part.get("toolCallId") or part.get("tool_use_id") or part.get("call_id")
    return {"role": "tool", "tool_call_id": ident, "content": _joined(output)}


def _joined(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _listed(value: Any) -> Iterable[Message]:
    found = decoded(value)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def unflattened(pairs: Iterable[tuple[str, Any]]) -> list[Any]:
    """The list that OpenInference and traceloop write as `0.message.role`, `0.message.content`, `1.…`.

    A number that is too large or a path that goes through a value is left out.
    """
    root: dict[str, Any] = {}
    for path, value in pairs:
        here = root
        *way, last = path.split(".", 12)  # deeper than any convention goes
        for step in way:
            below = here.setdefault(step, {})
            if not isinstance(below, dict):
                break
            here = below
        else:
            here[last] = value
    return _lists(root) if root else []


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isascii() and key.isdecimal() and len(key) < 7 for key in node):
        return [_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _lists(value) for key, value in node.items()}
