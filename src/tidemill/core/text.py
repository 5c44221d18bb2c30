"""Text as databases take it, as people read it, and as it is compared without case."""

import unicodedata
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ZWJ = "\u200d"
_JOINERS = frozenset((_ZWJ, "\u200c", "\ufe0e", "\ufe0f"))


def storable(text: str) -> str:
    """Return the text with U+FFFD in place of what no database takes: NUL, and halves of surrogate pairs."""
    if text.isascii():
        return text.replace("\x00", REPLACEMENT) if "\x00" in text else text
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return paired.replace("\x00", REPLACEMENT)


def shorten(text: str, max_chars: int) -> str:
    """Return the text, cut to `max_chars` code points with the ellipsis; never inside one visible character."""
    if len(text) <= max_chars:
        return text
    end = max_chars - 1
    while end > 0 and _is_joined(text, end):
        end -= 1
    return text[: end or max_chars - 1] + "…"


def _is_joined(text: str, at: int) -> bool:
    """Return whether the character at `at` belongs to the one before: an accent, a part of an emoji or of a flag."""
    char, before = text[at], text[at - 1]
    if (
        char in _JOINERS
        or before == _ZWJ
        or unicodedata.category(char)[0] == "M"
        or "\U0001f3fb" <= char <= "\U0001f3ff"
    ):
        return True
    if "\u1160" <= char <= "\u11ff":  # vowels and finals of Hangul that is not composed
        return True
    halves = 0  # of flags, up to and with this one
    while halves <= at and "\U0001f1e6" <= text[at - halves] <= "\U0001f1ff":
        halves += 1
    return halves > 0 and halves % 2 == 0


def caseless(text: str) -> str:
    """Return the text as it is compared without case: folded by Unicode's rule, then composed (NFC)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def storable_value(value: Any) -> Any:
    """Return a value with every text in it as `storable` gives it; lists and dicts are copied."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_value(key): storable_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_value(item) for item in value]
    return value
