"""The answer to learn for a label: a template with `{{label}}`, and JSON that stays JSON whatever the label is."""

import json
import re

from tidemill.core.errors import nearest
from tidemill.core.labels import label_text
from tidemill.core.parsing import parse_json
from tidemill.tuning.types import AnswerTemplateInvalid

_NAMES = ["label"]
_VARIABLE = re.compile(r"\{\{\s*([^{}\"]*?)\s*\}\}")


def check(template: str) -> None:
    """Raise AnswerTemplateInvalid for an unknown name in double braces, and for a template without the label."""
    names = _VARIABLE.findall(template)
    for name in names:
        if name not in _NAMES:
            near = nearest(name, _NAMES, 1)
            raise AnswerTemplateInvalid(
                f"The answer template has no value for {{{{{name}}}}}.",
                hint=f"Did you mean {{{{{near[0] if near else _NAMES[0]}}}}}? It is the only name.",
                param="answer_template",
            )
    if not names:
        raise AnswerTemplateInvalid(
            "The answer template does not hold {{label}}, so every answer would be the same.",
            hint='Write it where the label belongs, such as {"type": "{{label}}"}.',
            param="answer_template",
        )


def fill(template: str, label: str, *, row_id: str) -> str:
    """Return the answer for a label. In a JSON template the label is escaped between quotes.

    Raises AnswerTemplateInvalid, naming row and label, when a JSON template would give an answer that cannot be read.
    """
    check(template)
    quoted = [_is_quoted(template, match.start()) for match in _VARIABLE.finditer(template)]
    if not _is_json(template, quoted):
        return _VARIABLE.sub(lambda _: label, template)
    if not all(quoted) and not _is_json_value(label):
        raise AnswerTemplateInvalid(
            f"The label {label!r} of row {row_id} is no JSON value, so that {template} would not be JSON.",
            hint='Write the label between quotes: "{{label}}".',
            param="answer_template",
        )
    escaped = json.dumps(label, ensure_ascii=False)[1:-1]
    places = iter(quoted)
    return _VARIABLE.sub(lambda _: escaped if next(places) else label, template)


def _is_json(template: str, quoted: list[bool]) -> bool:
    places = iter(quoted)
    text = _VARIABLE.sub(lambda _: "x" if next(places) else "0", template)
    try:
        return isinstance(parse_json(text), dict | list | str)
    except ValueError:
        return False


def _is_quoted(template: str, end: int) -> bool:
    """Return whether a place of the template stands between the quotes of a JSON string."""
    inside = False
    for match in re.finditer(r'\\.|"', template[:end]):
        inside ^= match.group() == '"'
    return inside


def _is_json_value(label: str) -> bool:
    try:
        return label_text(parse_json(label)) == label and not label.startswith('"')
    except ValueError:
        return False
