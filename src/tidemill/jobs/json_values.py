"""Plain JSON values: what a step returns is the same now and when it is read back."""

import json
from typing import Any

from pydantic_core import to_json

from tidemill.core.text import storable_value
from tidemill.jobs.types import RESULT_BYTES, JobResultTooLarge


def json_value(value: Any) -> Any:
    """`value` as JSON sees it: models as dicts, tuples as lists, times as text, NaN and infinity as null.

    What no database takes of a text is replaced.
    """
    return json.loads(to_json(storable_value(value), inf_nan_mode="null"))


def bounded_json(value: Any, name: str) -> Any:
    """Return the plain value of the result of `name`. Raises JobResultTooLarge."""
    raw = to_json(storable_value(value), inf_nan_mode="null")
    if len(raw) > RESULT_BYTES:
        raise JobResultTooLarge(
            f"{name!r} returned {len(raw)} bytes of JSON; {RESULT_BYTES} fit.",
            hint="Store the content as a blob and return its hash.",
        )
    return json.loads(raw)
