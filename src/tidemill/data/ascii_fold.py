"""Text as the patterns of personal data read it: one kind of space, dash and digit, and no invisible characters."""

import re
import unicodedata
from dataclasses import dataclass

_INVISIBLE = re.compile(r"[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Soft hyphens, joiners and marks of direction: they stand between the letters and digits of copied numbers."""


class _Folds(dict[int, str]):
    """For each character the ASCII one that it stands for. Filled as characters come."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = _fold_char(char)
        self[code] = folded
        return folded


def _fold_char(char: str) -> str:
    if 0xFF01 <= ord(char) <= 0xFF5E:
        return chr(ord(char) - 0xFEE0)  # full-width forms
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.digit(char))
    if category == "Zs":
        return " "
    if category == "Pd" or char == "\u2212":
        return "-"
    return char


_folds = _Folds({code: chr(code) for code in range(128)})


@dataclass(frozen=True)
class FoldedText:
    """A text with every space, dash and digit as ASCII has it, and where its characters stood."""

    text: str
    positions: list[int] | None
    """The place in the original of each character; None when none was left out."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span in the original text."""
        if self.positions is None:
            return start, end
        return self.positions[start], self.positions[end - 1] + 1


def fold(text: str) -> FoldedText:
    """Return the text as the patterns read it."""
    if text.isascii():
        return FoldedText(text, None)
    if _INVISIBLE.search(text) is None:
        return FoldedText(text.translate(_folds), None)
    positions = [place for place, char in enumerate(text) if _INVISIBLE.match(char) is None]
    return FoldedText(_INVISIBLE.sub("", text).translate(_folds), positions)
