"""The words that a search finds, in every script, by one rule for texts and for queries.

Words are folded: case, accents and vowel points, wide and narrow forms, joiners and the script of digits do not count.
Where there are no spaces between words, and in Korean, where endings stick to them, pairs of characters are words.
"""

import functools
import operator
import re
import unicodedata
from collections.abc import Iterator, Sequence

_SPACELESS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\u2600-\u27bf\U0001f000-\U0001faff\U00020000-\U0003ffff"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, kana, ideographs, Hangul, and emoji."""
_UNCOUNTED = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe0e\ufe0f\ufeff]+"
)
"""Accents of Latin, Greek and Cyrillic, vowel points of Hebrew and Arabic, joiners and marks of direction."""
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_MARK_RANGES = (  # without those beyond U+FFFF, which would make the patterns ten times as slow
    (0x0300, 0x20F1),
    (0x2CEF, 0x309B),
    (0xA66F, 0xABEE),
    (0xFB1E, 0xFE30),
)
_ASCII_WORD = re.compile(r"[a-z0-9]+")


def fold(text: str) -> str:
    """Return the text as searches compare it. The length may change."""
    if text.isascii():
        return text.lower()
    bare = _UNCOUNTED.sub("", unicodedata.normalize("NFKD", text).casefold()).replace("ı", "i")
    composed = unicodedata.normalize("NFKC", bare)
    return _OTHER_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), composed)


def split_words(text: str) -> list[str]:
    """Return the words that a query asks for: of a run without spaces its pairs, or the one character that it is."""
    words: list[str] = []
    for word, units in _split(fold(text)):
        words += [word] if units is None or len(units) == 1 else _pairs(units)
    return words


def index_words(text: str) -> set[str]:
    """Return all words that a query for a part of the text may ask for."""
    return _words(text, pairs=True)


def coarse_words(text: str) -> set[str]:
    """Return the words, and of runs without spaces the characters: fewer than `index_words`, to be checked again."""
    return _words(text, pairs=False)


def _words(text: str, *, pairs: bool) -> set[str]:
    # Most chunks between blanks repeat: they are taken apart once.
    folded = " ".join(set(fold(text).split()))
    if folded.isascii():
        return set(_ASCII_WORD.findall(folded))
    words: set[str] = set()
    for word, units in _split(folded):
        if units is None:
            words.add(word)
        else:
            words.update(units)
            if pairs:
                words.update(_pairs(units))
    return words


def find_words(text: str, query: str, max_chars: int = 20_000) -> list[tuple[int, int]]:
    """Return where words of a query begin and end in the first `max_chars` of a text, in order, without overlap."""
    text = text[:max_chars]
    pieces: list[str] = []
    origins: list[int] = []
    for at, char in enumerate(text):
        piece = fold(char)
        pieces.append(piece)
        origins += [at] * len(piece)
    folded_text = "".join(pieces)
    matches = []
    for chunk in query.split():
        parts = [fold(chunk)] if fold(chunk) in folded_text else split_words(chunk)
        pattern = "|".join(map(re.escape, filter(None, parts)))
        if pattern:
            matches += [(origins[m.start()], origins[m.end() - 1] + 1) for m in re.finditer(pattern, folded_text)]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(matches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _split(folded: str) -> Iterator[tuple[str, Sequence[str] | None]]:
    """Yield each word of a folded text; with its characters if it is a run without spaces."""
    words, units, marks = _patterns()
    for match in words.finditer(folded):
        word = match.group()
        if match.lastgroup != "run":
            yield word, None
        else:
            yield word, units.findall(word) if marks.search(word) else word


def _pairs(units: Sequence[str]) -> list[str]:
    return list(map(operator.add, units, units[1:]))


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a word or a run, of a character of a run with its marks, and of a mark."""
    marks = "".join(chr(code) for first, end in _MARK_RANGES for code in range(first, end) if _is_mark(code))
    letters = rf"[^\W_{_SPACELESS}]"
    words = rf"(?P<run>(?:[{_SPACELESS}][{marks}]*)+)|{letters}(?:{letters}|[{marks}])*"
    return re.compile(words), re.compile(rf"[{_SPACELESS}][{marks}]*"), re.compile(f"[{marks}]")


def _is_mark(code: int) -> bool:
    return unicodedata.category(chr(code))[0] == "M"
