"""Reads messages and answers from the input and output of a span, whatever shape its sender gave them."""

import json
from typing import Any

from pydantic import JsonValue


def extract_messages(value: Any) -> list[dict[str, str]]:
    """Return an input as chat messages with text. A plain text is a user's message; what cannot be read is left out."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value else []
    if isinstance(value, dict):
        inner = value.get("messages", value.get("input"))
        return extract_messages(inner) if inner is not None else [{"role": "user", "content": to_text(value)}]
    if not isinstance(value, list):
        return []
    return [m for m in map(_message, value) if m is not None]


def _message(value: Any) -> dict[str, str] | None:
    if isinstance(value, str):
        return {"role": "user", "content": value}
    if not isinstance(value, dict):
        return None
    role = value.get("role")
    content = content_text(value.get("content", value.get("parts")))
    return {"role": role if isinstance(role, str) else "user", "content": content}


def content_text(content: Any) -> str:
    """Return the text of a message's content: itself, or its text parts one after the other."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else _part(part) for part in content]
        return "\n".join(part for part in parts if part)
    return "" if content is None else to_text(content)


def _part(part: Any) -> str:
    if not isinstance(part, dict):
        return ""
    text = part.get("text", part.get("content"))
    return text if isinstance(text, str) else ""


def extract_answer(value: Any) -> JsonValue:
    """Return an output as an answer: the text of its last message, or the JSON value as it is; None for none."""
    if isinstance(value, list):
        texts = [m["content"] for m in map(_message, value) if m is not None]
        return texts[-1] if texts else None
    if isinstance(value, dict) and ("content" in value or "parts" in value):
        return content_text(value.get("content", value.get("parts")))
    json_value: JsonValue = value
    return json_value


def to_text(value: JsonValue) -> str:
    """Return a value as text: itself, or its JSON; empty for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
