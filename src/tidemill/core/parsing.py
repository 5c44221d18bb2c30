"""Reading JSON and YAML that people and programs outside wrote: whatever they hold, it is the text's fault."""

import json
from typing import Any


def parse_json(content: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError, for a text that is nested too deeply as well.

    `json` raises RecursionError for those, which would pass for a fault of the program.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise json.JSONDecodeError("It is nested too deeply", "", 0) from error


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document. Raises yaml.YAMLError, for one that is nested too deeply as well."""
    import yaml  # noqa: PLC0415 - only where a file is read

    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except ValueError as error:  # a date or number that cannot be
        raise yaml.YAMLError(str(error)) from error
