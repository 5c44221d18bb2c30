"""A value from outside as a label: one rule for imports, scorers, feedback, drift and tuning."""

import unicodedata
from typing import Any


def is_missing(value: Any) -> bool:
    """Return whether a value is none: null, NaN, or a NaT of whatever library. Empty text is text."""
    if value is None:
        return True
    if isinstance(value, str | int | list | dict | tuple):
        return False
    return bool(value != value)  # NaN and NaT alone are not themselves


def scalar_text(value: bool | float) -> str:
    """Return a number or boolean as text: `true`, `5`, `0.5`. A whole float is its integer: 5.0 is `5`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def label_text(value: Any) -> str | None:
    """Return a value as a label: text in NFC without blanks around it, a number or boolean as `scalar_text`; else None.

    None for what is missing, for empty text, and for lists and objects.
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value.strip()) or None
    return scalar_text(value) if isinstance(value, bool | int | float) else None
