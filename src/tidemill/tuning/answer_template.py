"""The answer to learn for a label: a template with `{{label}}`, and JSON that stays JSON whatever the label is."""

import functools
import json
import re
from typing import Any

from tidemill.core.errors import nearest
from tidemill.core.labels import label_text
from tidemill.core.parsing import parse_json
from tidemill.core.text import shorten
from tidemill.tuning.types import AnswerTemplateInvalid

_NAMES = ["label"]
_VARIABLE = re.compile(r"\{\{([^{}\"]*)\}\}")
_QUOTES_AND_PLACES = re.compile(r"\\[\"\\]|\"|" + _VARIABLE.pattern)
_FENCED = re.compile(r"(?m)^(```\w*[ \t]*\n)(.*?)(?=^```[ \t]*$)", re.DOTALL)


def check(template: str) -> None:
    """Raise AnswerTemplateInvalid for an unknown name in double braces, and for a template without the label."""
    names = [name.strip() for name in _VARIABLE.findall(template)]
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
    """Return the answer for a label. Where the template is JSON the label is escaped between quotes.

    That is the whole template, or a line or fenced block of it. Raises AnswerTemplateInvalid, naming row and label,
    for JSON that could not be read, or would be read with another label.
    """
    check(template)
    return "".join(
        _fill_json(part, label, row_id) if is_json else _VARIABLE.sub(lambda _: label, part)
        for part, is_json in _split_json(template)
    )


@functools.lru_cache(maxsize=16)
def _split_json(template: str) -> list[tuple[str, bool]]:
    """Return the template in parts, and whether each is JSON."""
    if _is_json(template, dict | list | str):
        return [(template, True)]
    parts = []
    end = 0
    for block in _FENCED.finditer(template):
        parts += _split_lines(template[end : block.start(2)])
        parts += [(block[2], True)] if _is_json(block[2], dict | list) else _split_lines(block[2])
        end = block.end()
    return parts + _split_lines(template[end:])


def _split_lines(part: str) -> list[tuple[str, bool]]:
    return [(line, _is_json(line, dict | list)) for line in part.splitlines(keepends=True)]


def _fill_json(template: str, label: str, row_id: str) -> str:
    quoted = _are_quoted(template)
    if not all(quoted) and not _is_json_value(label):
        raise AnswerTemplateInvalid(
            f"The label {label!r} of row {row_id} outside quotes would not be read back as this label from the JSON "
            f"{shorten(template.strip(), 200)}.",
            hint='Write the label between quotes: "{{label}}".',
            param="answer_template",
        )
    escaped = json.dumps(label, ensure_ascii=False)[1:-1]
    places = iter(quoted)
    return _VARIABLE.sub(lambda _: escaped if next(places) else label, template)


def _is_json(template: str, kinds: Any) -> bool:
    places = iter(_are_quoted(template))
    text = _VARIABLE.sub(lambda _: "x" if next(places) else "0", template)
    try:
        return isinstance(parse_json(text), kinds)
    except ValueError:
        return False


def _are_quoted(template: str) -> list[bool]:
    """Return for each place of the label whether it stands between the quotes of a JSON string."""
    places = []
    inside = False
    for match in _QUOTES_AND_PLACES.finditer(template):
        if match.group() == '"':
            inside = not inside
        elif match.group().startswith("{{"):
            places.append(inside)
    return places


def _is_json_value(label: str) -> bool:
    try:
        return label_text(parse_json(label)) == label and not label.startswith('"')
    except ValueError:
        return False
