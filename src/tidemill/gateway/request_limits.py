"""Bounds of a request's nesting and of its JSON schemas, so that no request stops an engine for the others."""

from typing import Any

from tidemill.gateway.types import RequestInvalid

MAX_DEPTH = 100
"""Levels of lists and objects in a body. Engines and their grammars go down level by level."""

MAX_CHOICES = 1000
"""Properties, enum values and alternatives of all schemas of a request.

An engine works on a grammar before the first token, while its other requests wait: 1.3 s at 1000 values of an enum,
minutes at 20,000 (llama.cpp on one core).
"""

_CHOICES = frozenset({"properties", "enum", "anyOf", "oneOf", "allOf", "prefixItems"})


def check_depth(body: bytes, fields: dict[str, Any]) -> None:
    """Raise RequestInvalid when the body is nested deeper than MAX_DEPTH. `fields` is `body`, decoded."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    for name, value in fields.items():
        if _is_deeper(value, MAX_DEPTH - 1):
            raise RequestInvalid(
                f"`{name[:200]}` is nested deeper than {MAX_DEPTH} levels.",
                hint="Send fewer levels of lists and objects.",
                param=name[:200],
            )


def _is_deeper(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels <= 0 or any(_is_deeper(one, levels - 1) for one in value.values())
    if isinstance(value, list):
        return levels <= 0 or any(_is_deeper(one, levels - 1) for one in value)
    return False


def check_schemas(fields: dict[str, Any]) -> None:
    """Raise RequestInvalid when a JSON schema of the request offers more than MAX_CHOICES in all."""
    for name in ("response_format", "tools"):
        count = _count_choices(fields.get(name))
        if count > MAX_CHOICES:
            raise RequestInvalid(
                f"`{name}` has {count} properties, enum values and alternatives; {MAX_CHOICES} are allowed.",
                hint="Use a smaller schema, and check the value against the long list afterwards.",
                param=name,
            )


def _count_choices(value: object) -> int:
    if isinstance(value, list):
        return sum(_count_choices(one) for one in value)
    if not isinstance(value, dict):
        return 0
    count = sum(len(value[name]) for name in _CHOICES & value.keys() if isinstance(value[name], dict | list))
    return count + sum(_count_choices(one) for one in value.values())
