"""Why a value does not fit, as a sentence: no words of the library, no regular expression, no secret."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge
from pydantic import AwareDatetime, Field, ValidationError

from tidemill.core import value_faults
from tidemill.core.wire import Body, Name
from tidemill.server import app


class Order(Body):
    """One field of each kind that bodies have."""

    severity: Literal["page", "ticket"] = "page"
    share: float = Field(default=0.5, gt=0, le=1, allow_inf_nan=False)
    count: Annotated[int, Ge(1)] = 1
    on: bool = True
    note: str = Field(default="", min_length=0, max_length=5)
    title: str = Field(default="x", min_length=1)
    name: Name = "a"
    items: list[str | int] = Field(default=["a"], min_length=1)
    at: AwareDatetime = datetime.fromisoformat("2026-01-01T00:00:00Z")
    email: str = Field(default="a@b", pattern=value_faults.EMAIL_FORM)
    fields: dict[str, str] = {}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"severity": "pag"}, "severity: 'pag' is not one of page, ticket (the nearest is 'page')"),
        ({"share": 2}, "share: must be at most 1.0 (it is 2)"),
        ({"share": 0}, "share: must be more than 0.0 (it is 0)"),
        ({"share": float("nan")}, "share: must be a finite number (it is nan)"),
        ({"share": "much"}, "share: 'much' is no number"),
        ({"count": 0}, "count: must be at least 1 (it is 0)"),
        ({"count": 1.5}, "count: must be a whole number (it is 1.5)"),
        ({"count": "two"}, "count: 'two' is no whole number"),
        ({"on": "maybe"}, "on: 'maybe' is neither true nor false"),
        ({"note": "too long"}, "note: must have at most 5 characters"),
        ({"title": ""}, "title: must not be empty"),
        ({"title": None}, "title: must be text"),
        ({"items": []}, "items: must not be empty"),
        ({"items": [None]}, "items.0: must be text"),
        ({"items": 1}, "items: must be a list (it is 1)"),
        ({"at": "noon"}, "at: must be a time with its zone, such as 2026-11-21T14:03:00Z"),
        ({"at": "2026-01-01T00:00"}, "at: must be a time with its zone, such as 2026-11-21T14:03:00Z"),
        ({"email": "ana"}, "email: it must be an e-mail address, such as ana@example.com"),
        ({"fields": []}, "fields: must be an object"),
        ({"colour": 1}, "colour: there is no such field"),
    ],
)
def test_each_kind_of_fault_is_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Order.model_validate(values)
    assert value_faults.sentence_of(caught.value) == sentence


def test_every_form_of_a_text_that_a_body_asks_for_has_words() -> None:
    assert app
    wordless = {
        pattern
        for kind in _bodies(Body)
        for pattern in re.findall(r'"pattern": "(.*?)"', _schema(kind))
        if pattern.encode().decode("unicode_escape") not in value_faults._MEANINGS
    }
    assert not wordless, f"Say what these mean with text_form: {wordless}"


def _bodies(kind: type[Body]) -> list[type[Body]]:
    return [kind, *(inner for child in kind.__subclasses__() for inner in _bodies(child))]


def _schema(kind: type[Body]) -> str:
    import json

    return json.dumps(kind.model_json_schema(), ensure_ascii=False) if kind.__module__.startswith("tidemill.") else ""
