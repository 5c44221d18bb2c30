"""Why a value does not fit, in a sentence: pydantic's errors as people read them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from tidemill.core.errors import nearest
from tidemill.core.wire import NAME_PATTERN, NAME_RULE

_MEANINGS = {NAME_PATTERN: ""}
_SHOWN = 80


def text_form(pattern: str, meaning: str) -> str:
    """Return `pattern`, and remember what a text of this form is: "an e-mail address, such as ana@example.com".

    Errors say the meaning in place of the regular expression.
    """
    _MEANINGS[pattern] = meaning
    return pattern


EMAIL_FORM = text_form(r"^[^@\s]+@[^@\s]+$", "an e-mail address, such as ana@example.com")


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Return the first field that does not fit, and why."""
    first = error.errors()[0]
    return field_path(first["loc"]), fault(first)


def sentence_of(error: ValidationError) -> str:
    """Return the first field that does not fit and why, without a full stop: `share: must be at most 1 (it is 2)`."""
    return ": ".join(part for part in first_fault(error) if part)


def field_path(loc: tuple[int | str, ...]) -> str:
    """Return the path of a field as people write it: `guardrails.0.margin`. Names of Python types are no part of it."""
    return ".".join(str(part) for part in loc if not re.search(r"[\[\]()]|^(str|int|float|bool)$", str(part)))


def fault(detail: Mapping[str, Any]) -> str:
    """Return why a value does not fit, with the value unless it may be a secret.

    `detail` is one of pydantic's errors.
    """
    describe = _SENTENCES.get(detail["type"])
    if describe is not None:
        return describe(detail["input"], detail.get("ctx") or {})
    message: str = detail["msg"].removeprefix("Value error, ").removesuffix(".")
    return message + _number(detail["input"])


def _number(value: Any) -> str:
    # Texts may be secrets; a number that was typed is none.
    return f" (it is {value!r})" if isinstance(value, int | float) else ""


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _choice(value: Any, expected: str) -> str:
    choices = re.findall(r"'([^']*)'", expected) or expected.replace(" or ", ", ").split(", ")
    guess = nearest(value, choices, 1) if isinstance(value, str) else []
    tip = f" (the nearest is {guess[0]!r})" if guess else ""
    return f"{_quoted(value)} is not one of {', '.join(choices)}{tip}"


def _pattern(value: Any, context: Mapping[str, Any]) -> str:
    if context["pattern"] == NAME_PATTERN:
        return f"{_quoted(value)} is no name. {NAME_RULE} The first is a letter or a digit"
    meaning = _MEANINGS.get(context["pattern"])
    return f"it must be {meaning}" if meaning else f"it must have the form {context['pattern']}"


def _bound(words: str, key: str) -> Callable[[Any, Mapping[str, Any]], str]:
    return lambda value, context: f"must be {words} {context[key]}{_number(value)}"


def _is_no(what: str) -> Callable[[Any, Mapping[str, Any]], str]:
    return lambda value, _: f"{_quoted(value)} is no {what}" if isinstance(value, str) else f"must be a {what}"


def _must_be(what: str) -> Callable[[Any, Mapping[str, Any]], str]:
    return lambda value, _: f"must be {what}{_number(value)}"


def _count(at_least: bool, unit: str) -> Callable[[Any, Mapping[str, Any]], str]:
    def describe(_value: Any, context: Mapping[str, Any]) -> str:
        bound = context.get("min_length") if at_least else context.get("max_length")
        if at_least and bound == 1:
            return "must not be empty"
        return f"must have at {'least' if at_least else 'most'} {bound} {unit}"

    return describe


_MOMENT = "a time with its zone, such as 2026-11-21T14:03:00Z"
_SENTENCES: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "missing": lambda _value, _context: "is missing",
    "extra_forbidden": lambda _value, _context: "there is no such field",
    "literal_error": lambda value, context: _choice(value, context["expected"]),
    "enum": lambda value, context: _choice(value, context["expected"]),
    "union_tag_invalid": lambda _value, context: _choice(context["tag"], context["expected_tags"]),
    "union_tag_not_found": lambda _value, context: f"{context['discriminator']} is missing",
    "string_pattern_mismatch": _pattern,
    "greater_than": _bound("more than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "finite_number": _must_be("a finite number"),
    "int_parsing": _is_no("whole number"),
    "int_type": _must_be("a whole number"),
    "int_from_float": _must_be("a whole number"),
    "int_parsing_size": _must_be("a smaller number"),
    "float_parsing": _is_no("number"),
    "float_type": _must_be("a number"),
    "bool_parsing": lambda value, _context: f"{_quoted(value)} is neither true nor false",
    "bool_type": _must_be("true or false"),
    "string_type": _must_be("text"),
    "string_too_short": _count(True, "characters"),
    "string_too_long": _count(False, "characters"),
    "too_short": _count(True, "items"),
    "too_long": _count(False, "items"),
    "list_type": _must_be("a list"),
    "dict_type": _must_be("an object"),
    "model_type": _must_be("an object"),
    "model_attributes_type": _must_be("an object"),
    "timezone_aware": _must_be(_MOMENT),
    "datetime_type": _must_be(_MOMENT),
    "datetime_parsing": _must_be(_MOMENT),
    "datetime_from_date_parsing": _must_be(_MOMENT),
    "date_parsing": _must_be("a day, such as 2026-11-21"),
    "date_from_datetime_parsing": _must_be("a day, such as 2026-11-21"),
}
