"""Templates with `{{variables}}`: finding the names, filling them in, and the text form a diff compares."""

import difflib
import re
from collections.abc import Iterable, Mapping

from tidemill.prompts.types import Message, PromptInvalid, PromptVersion, VariablesMissing

_NAME = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*")
_BRACES = re.compile(r"\{\{\{\{(?P<literal>.*?)\}\}\}\}|\{\{(?P<inside>.*?)\}\}", re.DOTALL)
"""Four braces on each side stand for two in the text; two hold the name of a variable."""


def variables(texts: Iterable[str]) -> list[str]:
    """Return names of the variables in order of first appearance.

    Raises PromptInvalid for double braces around something that is not a name, which is nearly always a typing error.
    """
    names: dict[str, None] = {}
    for text in texts:
        for match in _BRACES.finditer(text):
            if match["literal"] is not None:
                continue
            inside = match["inside"]
            if not _NAME.fullmatch(inside):
                raise PromptInvalid(
                    f"{{{{{inside}}}}} is not a variable: a name has letters, digits and underscores.",
                    hint=_hint(inside),
                )
            names[inside.strip()] = None
    return list(names)


def _hint(inside: str) -> str:
    if inside.lstrip().startswith(('"', "'")):
        return f"For a JSON object write single braces: {{{inside}}}. Here only variables stand in double ones."
    return f"A variable is {{{{question}}}}, for example. For double braces in the text write {{{{{{{{{inside}}}}}}}}}."


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with every variable replaced. A value is put in as it is and never read as a template again.

    Raises VariablesMissing with the names that have no value.
    """
    missing = [name for name in variables([text]) if name not in values]
    if missing:
        raise VariablesMissing(
            f"The prompt needs a value for {', '.join(missing)}.",
            hint="Give every variable a value.",
            param="variables",
        )

    def replacement(match: re.Match[str]) -> str:
        literal = match["literal"]
        return values[match["inside"].strip()] if literal is None else "{{" + literal + "}}"

    return _BRACES.sub(replacement, text)


def fill_messages(messages: Iterable[Message], values: Mapping[str, str]) -> list[Message]:
    """Return chat messages with every variable replaced."""
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
