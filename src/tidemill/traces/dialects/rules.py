"""A rule says what one attribute means; converters turn what a sender wrote into a plain value, or into None."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tidemill.core.parsing import parse_json_halves

Converter = Callable[[Any], Any]


class Dialect(enum.IntEnum):
    """Who wrote a span. The more specific ones are higher: several write OpenTelemetry's names beside their own."""

    otel = 1
    traceloop = 2
    logfire = 3
    vercel = 4
    mlflow = 5
    openinference = 6


class Rule(NamedTuple):
    """What an attribute means."""

    field: str
    """The field it fills; several at once when it is empty: then `convert` returns a dict."""
    rank: int
    """Of several attributes for one field the lowest rank wins."""
    convert: Converter
    dialect: Dialect | None = None
    content: bool = False
    """Whether it holds inputs or outputs: converted only if it wins, and not kept beside the field."""


Rules = dict[str, Rule]


_WORDS = ("true", "false", "null")


def parse_json(value: Any) -> Any:
    """Return the value of JSON in a text; anything else as it is."""
    if not isinstance(value, str) or not value or value[0] not in '[{"-0123456789tfn':
        return value
    if value[0] in "tfn" and not value.startswith(_WORDS):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _parse_halves(value)


def _parse_halves(value: str) -> Any:
    try:
        return parse_json_halves(value)
    except ValueError:
        return value


def text(value: Any) -> str | None:
    """Return a text that is not empty, or the digits of a number."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def first(value: Any) -> str | None:
    """Return the first text of a list, which may be JSON in a text."""
    items = parse_json(value) if isinstance(value, str) and value.startswith("[") else value
    if isinstance(items, list):
        return text(items[0]) if items else None
    return text(items)


def count(value: Any) -> int | None:
    """Return a whole number that is not negative."""
    number = amount(value)
    return int(number) if number is not None and number >= 0 else None


def amount(value: Any) -> float | None:
    """Return a number, also from its digits; None for one of 1e15 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None


def seconds(value: Any) -> float | None:
    """Return seconds as milliseconds."""
    number = amount(value)
    return number * 1000 if number is not None else None


def one_of(names: dict[str, str]) -> Converter:
    """Return a converter by a table of lower-case words; any other word becomes None."""

    def convert(value: Any) -> str | None:
        return names.get(value.lower()) if isinstance(value, str) else None

    return convert


FINISH_REASONS = {
    "tool_call": "tool_calls",
    "tool-calls": "tool_calls",
    "content-filter": "content_filter",
    "function-call": "function_call",
}


def finish_reason(value: Any) -> str | None:
    """Return why an answer ended, in OpenAI's words where there is one."""
    reason = first(value)
    return FINISH_REASONS.get(reason, reason) if reason is not None else None
