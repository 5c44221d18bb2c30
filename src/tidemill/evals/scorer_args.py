"""Parse a scorer as it is written on a command line."""

import json
from typing import Any

from tidemill.core.errors import BadRequest
from tidemill.core.parsing import parse_json


def scorer_spec(text: str) -> dict[str, Any]:
    """Return `[metric=]scorer[:{JSON settings}]` as the fields of a ScorerSpec. Raises BadRequest for bad JSON."""
    head, colon, settings = text.partition(":")
    name, sign, scorer = head.partition("=")
    spec: dict[str, Any] = {"scorer": scorer, "name": name} if sign else {"scorer": head}
    if colon:
        try:
            spec["config"] = parse_json(settings)
        except json.JSONDecodeError as error:
            example = """--scorer 'label_accuracy:{"json_field": "type"}'"""
            raise BadRequest(f"The settings of {head} are not JSON: {error}.", hint=f"Write {example}.") from error
    return spec
