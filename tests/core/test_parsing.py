"""A text from outside is never the program's fault, however it is nested."""

import pytest
import yaml

from tidemill.core.parsing import parse_json, parse_yaml

DEEP = "[" * 100_000 + "]" * 100_000


def test_json_and_yaml_are_read() -> None:
    assert parse_json('{"a": [1, "ß"]}') == parse_json('{"a": [1, "ß"]}'.encode()) == {"a": [1, "ß"]}
    assert parse_yaml("a: [1, ß]") == {"a": [1, "ß"]}


@pytest.mark.parametrize("content", [DEEP, DEEP.encode(), '{"a":' * 100_000, b"\xff", "nope", ""])
def test_what_is_not_json_is_a_value_error(content: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever kind of it
        parse_json(content)


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "a: [", "\t- x"])
def test_what_is_not_yaml_is_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["a: 2026-13-45", "a: 2026-01-01T99:99:99Z", "a: " + "9" * 5000])
def test_a_date_or_number_that_cannot_be_is_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)
