"""Reading what people and programs outside wrote: JSON, YAML and numbers. Whatever it is, it is the text's fault."""

import json
import re
from typing import Any

from tidemill.core.text import storable_value

_MAX_DIGITS = 9
"""A number of so many digits fits every column of whole numbers."""


def parse_number(text: str) -> int | None:
    """Return the whole number that a text of up to 9 digits says, such as that of `name@3`; None for any other text.

    `int` raises ValueError for thousands of digits, and a database for more than its column holds.
    """
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else None


def parse_json(content: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError, for a text that is nested too deeply as well.

    `json` raises RecursionError for those, which would pass for a fault of the program.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise json.JSONDecodeError("It is nested too deeply", "", 0) from error


_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json_halves(text: str) -> Any:
    """Return the value of JSON that escapes half of a surrogate pair, with U+FFFD for each half.

    So JavaScript writes a text that it cut inside of an emoji. Raises ValueError for any other text.
    """
    if not _HALF.search(text):
        raise ValueError("it escapes no surrogate pair")
    try:
        return storable_value(parse_json(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document. Raises yaml.YAMLError, for one that is nested too deeply as well."""
    import yaml  # noqa: PLC0415 - only where a file is read

    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except ValueError as error:  # a date or number that cannot be
        raise yaml.YAMLError(str(error)) from error
