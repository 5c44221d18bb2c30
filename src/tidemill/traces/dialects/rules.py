"""A rule says what one attribute means; the readers turn what a sender wrote into a plain value, or into None."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

Reader = Callable[[Any], Any]


class Dialect(enum.IntEnum):
    """Who wrote a span. The more particular stand higher: several write OpenTelemetry's names beside their own."""

    otel = 1
    traceloop = 2
    logfire = 3
    vercel = 4
    mlflow = 5
    openinference = 6


class Rule(NamedTuple):
    """What an attribute means."""

    field: str
    """The field it fills; several at once when it is empty: then `read` gives a dict."""
    rank: int
    """Of several attributes for one field the lowest rank wins."""
    read: Reader
    dialect: Dialect | None = None
    content: bool = False
    """Whether it holds what was said: read only if it wins, and not kept beside the field."""


Rules = dict[str, Rule]


_WORDS = ("true", "false", "null")


def decoded(value: Any) -> Any:
    """JSON in a text as the value it stands for; anything else as it is."""
    if not isinstance(value, str) or not value or value[0] not in '[{"-0123456789tfn':
        return value
    if value[0] in "tfn" and not value.startswith(_WORDS):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return value


def text(value: Any) -> str | None:
    """A text that says something; a number as its digits."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def first(value: Any) -> str | None:
    """The first text of a list, which may stand in JSON."""
    found = decoded(value) if isinstance(value, str) and value.startswith("[") else value
    if isinstance(found, list):
        return text(found[0]) if found else None
    return text(found)


def count(value: Any) -> int | None:
    """A number of things, none negative."""
    number = amount(value)
    return int(number) if number is not None and number >= 0 else None


def amount(value: Any) -> float | None:
    """A finite number, also from its digits."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None


def seconds(value: Any) -> float | None:
    """Seconds as milliseconds."""
    number = amount(value)
    return number * 1000 if number is not None else None


def word(known: dict[str, str]) -> Reader:
    """A reader for a closed set of words, whatever their case."""

    def read(value: Any) -> str | None:
        return known.get(value.lower()) if isinstance(value, str) else None

    return read


FINISH = {
    "tool_call": "tool_calls",
    "tool-calls": "tool_calls",
    "content-filter": "content_filter",
    "function-call": "function_call",
}


def finish(value: Any) -> str | None:
    """Why an answer ended, in OpenAI's words where there is one."""
    found = first(value)
    return FINISH.get(found, found) if found is not None else None
