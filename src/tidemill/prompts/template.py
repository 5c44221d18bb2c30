"""Templates with `{{variables}}`: finding the names, filling them in, and the text form a diff compares."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from tidemill.core.text import shorten
from tidemill.prompts.types import Message, PromptInvalid, PromptVersion, VariablesMissing

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN_CHARS = 60


class _Piece(NamedTuple):
    """A stretch of a template: text as it is, or what stands in double braces."""

    text: str
    is_variable: bool


def _pieces(text: str) -> Iterator[_Piece]:
    """Yield the pieces of a template in linear time, which a regular expression with two ends does not keep.

    Four braces on each side stand for two in the text; two hold the name of a variable.
    """
    position = 0
    literal_end = 0
    while (start := text.find("{{", position)) >= 0:
        yield _Piece(text[position:start], is_variable=False)
        if literal_end >= 0 and text.startswith("{{{{", start):
            literal_end = text.find("}}}}", start + 4)
            if literal_end >= 0:
                yield _Piece("{{" + text[start + 4 : literal_end] + "}}", is_variable=False)
                position = literal_end + 4
                continue
        end = text.find("}}", start + 2)
        if end < 0:
            position = start
            break
        yield _Piece(text[start + 2 : end], is_variable=True)
        position = end + 2
    yield _Piece(text[position:], is_variable=False)


def variables(texts: Iterable[str]) -> list[str]:
    """Return names of the variables in order of first appearance.

    Raises PromptInvalid for double braces around something that is not a name, which is nearly always a typing error.
    """
    names: dict[str, None] = {}
    for text in texts:
        for piece in _pieces(text):
            if not piece.is_variable:
                continue
            name = piece.text.strip()
            if not _NAME.fullmatch(name):
                inside = shorten(piece.text, _SHOWN_CHARS)
                raise PromptInvalid(
                    f"{{{{{inside}}}}} is not a variable: a name has letters, digits and underscores.",
                    hint=_hint(inside),
                )
            names[name] = None
    return list(names)


def _hint(inside: str) -> str:
    if inside.lstrip().startswith(('"', "'")):
        return f"For a JSON object write single braces: {{{inside}}}. Here only variables stand in double ones."
    return f"A variable is {{{{question}}}}, for example. For double braces in the text write {{{{{{{{{inside}}}}}}}}}."


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with every variable replaced. A value is put in as it is and never read as a template again.

    Raises VariablesMissing with the names that have no value.
    """
    _check_values([text], values)
    return "".join(values[piece.text.strip()] if piece.is_variable else piece.text for piece in _pieces(text))


def _check_values(texts: Iterable[str], values: Mapping[str, str]) -> None:
    missing = [name for name in variables(texts) if name not in values]
    if missing:
        raise VariablesMissing(
            f"The prompt needs a value for {', '.join(missing)}.",
            hint="Give every variable a value.",
            param="variables",
            details={"missing": missing},
        )


def fill_messages(messages: Iterable[Message], values: Mapping[str, str]) -> list[Message]:
    """Return chat messages with every variable replaced. Raises VariablesMissing, which names those of all messages."""
    messages = list(messages)
    _check_values([m.content for m in messages], values)
    return [Message(role=m.role, content=fill(m.content, values)) for m in messages]


def lines(version: PromptVersion) -> list[str]:
    """Return the template as lines of text: chat messages under a heading with their role."""
    if version.text is not None:
        return version.text.splitlines()
    out: list[str] = []
    for message in version.messages or []:
        out += [f"[{message.role}]", *message.content.splitlines(), ""]
    return out


def diff(before: PromptVersion, after: PromptVersion) -> list[str]:
    """Unified diff of two templates."""
    names = (f"{before.name}@{before.number}", f"{after.name}@{after.number}")
    return list(difflib.unified_diff(lines(before), lines(after), *names, lineterm=""))
