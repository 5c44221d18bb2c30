"""Patterns of strict JSON schemas: those that the engine's grammar keeps, and no others.

llama.cpp makes a grammar of a schema. A pattern outside of what its converter knows becomes "any text" without a word,
and one that admits quotation marks breaks the JSON around it, so a strict schema with such a pattern is refused.
"""

import re
from collections.abc import Iterator
from typing import Any

from tidemill.gateway.types import RequestInvalid

_CLASS_CHAR = r'(?:[^\]\[\\"\x00-\x1f]|\\-)'
_TOKEN = re.compile(
    rf"""
    (?: (?P<atom> [^\\^$.|?*+()\[\]{{}}"\x00-\x1f]      # a plain character
          | \\[.^$*+?()\[\]{{}}|-]                      # an escaped sign
          | \[(?!\^){_CLASS_CHAR}+\]                    # one of some characters
          | \) )                                        # the end of a group
        (?: (?:[*+?]|\{{\d+(?:,\d*)?\}}) (?!\?) )?      # how often, but not as few as can be
      | (?P<group> \((?:\?:)?(?!\?) )
      | (?P<choice> \| ) )
    """,
    re.VERBOSE,
)


def check_patterns(fields: dict[str, Any]) -> None:
    """Raise RequestInvalid, which names the place, when a strict schema of a request has a pattern that is not kept."""
    shape = fields.get("response_format") or {}
    schema = shape.get("json_schema") or {}
    if schema.get("strict"):
        _check(schema.get("schema"), "response_format.json_schema.schema")
    for index, tool in enumerate(fields.get("tools") or []):
        if tool["function"].get("strict"):
            _check(tool["function"].get("parameters"), f"tools[{index}].function.parameters")


def _check(schema: object, place: str) -> None:
    for path, pattern in _patterns(schema, place):
        if not is_kept(pattern):
            raise RequestInvalid(
                f"The engine cannot keep the pattern {pattern[:200]!r} of a strict schema.",
                hint="It keeps ^...$ around plain characters, escaped signs, [a-z], groups, | in groups and counts. "
                "Leave the pattern out, or send the schema without `strict` and check the answer.",
                param=path[:500],
            )


def _patterns(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        pattern = value.get("pattern")
        if isinstance(pattern, str):
            yield f"{path}.pattern", pattern
        for name, one in value.items():
            yield from _patterns(one, f"{path}.{name}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _patterns(one, f"{path}[{index}]")


def is_kept(pattern: str) -> bool:
    """Return whether the engine writes exactly what `pattern` matches."""
    if len(pattern) < 2 or pattern[0] != "^" or pattern[-1] != "$":
        return False
    position, depth = 1, 0
    while position < len(pattern) - 1:
        token = _TOKEN.match(pattern, position, len(pattern) - 1)
        if token is None:
            return False
        if token["group"]:
            depth += 1
        elif token[0].startswith(")"):
            depth -= 1
        elif token["choice"] and not depth:
            return False
        if depth < 0:
            return False
        position = token.end()
    return depth == 0
