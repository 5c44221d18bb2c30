"""Texts as words, numbers and symbols, in every script; nothing that carries meaning is folded away."""

import re
import unicodedata

SPACELESS = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, kana and ideographs: written without spaces, so each character is a token."""
_FOLDED = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d", "-"),
        **dict.fromkeys("\u2018\u2019\u02bc\uff07\u201b", "'"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\ufe0e\ufe0f", None),
        "\u2044": "/",
        "\u066a": "%",
        "\u066b": ".",
        "\u066c": ",",
    }
)
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_PLAIN = re.compile(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)")
_EDGE_MARKS = re.compile(
    r"(?m)(?:^|(?<=[\s(\"]))(?:\#{1,6}(?=\s)|[*_~`]+(?=\w))"
    r"|(?<=[\w.,!?])(?<!_)[*_~`]++(?=$|[\s).,;:!?\"])"
)
"""Markdown around a word or before a heading, which is no part of what is said."""
_FRACTION = re.compile("(?<![-+\u2010-\u2015\u2212\\s])(?=[\u00bc-\u00be\u2150-\u215f\u2189])")
"""Where a fraction follows what NFKC would glue it to: 1½ is not 11/2. A sign stays with it."""
_SIGN = r"(?:(?<![adm)\]%])[+-])?(?:(?<![admck.])\.)?"
_TOKEN = re.compile(
    rf"(?P<number>{_SIGN}d++(?:[.,:/'-]d++)*+(?![adm]))"
    rf"|(?P<word>(?:{_SIGN}(?=d))?[ad]+(?:[admk]+|(?<=d)[.,:/-](?=d)|'(?=[ad]))*)"
    r"|(?P<character>c[mk]*)"
    r"|(?P<money>(?<![adm)\]%])[+-]\$(?=s?\.?d))"
    r"|(?P<minus>(?<![^s=<>+*/^(])-(?=a(?![adm']))|(?:(?<=[=<>+*/^])|(?<=[=<>+*/^]s))-(?=a))"
    r"|(?P<symbols>[^admcks](?:(?![+-]?\$?s?\.?d|-a)[^admcks])*)"
)
"""Over the kinds of the characters, see `_Kinds`. A minus before letters counts in a formula: `a = -b`, `-x`."""


class _Kinds(dict[int, str]):
    """The kind of each character: a letter, digit, mark, space, character that is a token, or itself in ASCII.

    `k` is a mark of a script without spaces, `$` every currency.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)[0]
        if SPACELESS.match(char) and category in "LN":
            kind = "c"
        elif char.isdecimal():
            kind = "d"
        elif char.isalnum():
            kind = "a"
        elif category in "ZC" or char == "_":
            kind = "s"
        elif category == "M":
            kind = "k" if SPACELESS.match(char) else "m"
        elif unicodedata.category(char) == "Sc":
            kind = "$"
        else:
            kind = char if char.isascii() else "?"
        self[code] = kind
        return kind


class _Replacements(dict[int, str | int | None]):
    """A raised digit is set apart, which NFKC would glue to its neighbour (x² is not x2); digits become ASCII."""

    def __missing__(self, code: int) -> str | int:
        char = chr(code)
        replacement: str | int = code
        if char.isdecimal():
            replacement = str(unicodedata.decimal(char))
        elif unicodedata.decomposition(char).startswith("<super>"):
            replacement = "^" + char
        self[code] = replacement
        return replacement


_KINDS = _Kinds()
_REPLACEMENTS = _Replacements()


def fold(text: str) -> str:
    """Return the text in one spelling: NFKC and folded case, with raised digits and fractions kept apart."""
    if text.isascii():
        return text.lower()
    apart = _FRACTION.sub(" ", text).translate(_REPLACEMENTS)
    folded = unicodedata.normalize("NFKC", apart).translate(_FOLDED).casefold()
    return unicodedata.normalize("NFKC", folded)


def tokens(text: str, *, keep_zeros: bool = False) -> list[str]:
    """Return the words, numbers and meaningful symbols of a text, folded; punctuation is left out.

    A number is in its plain form (`1,000.50` is `1000.5`), with its sign; `keep_zeros` leaves decimals as they are
    spelled, so that version 3.10 is not 3.1. The sign of an amount goes to its number: `-$5` is `$` and `-5`. Symbols
    such as `+`, `#`, `%` and `!=` stay. In scripts without spaces each character is a token.
    """
    folded = fold(text)
    if any(mark in folded for mark in "*_~`#"):
        folded = _EDGE_MARKS.sub("", folded)
    result = []
    sign = ""
    for match in _TOKEN.finditer(folded.translate(_KINDS)):
        token = folded[match.start() : match.end()]
        if match.lastgroup == "symbols":
            token = _meaningful(token)
        elif match.lastgroup == "money":
            sign, token = token[0], token[1:]
        elif match.lastgroup == "number":
            token = _number(sign + token, keep_zeros=keep_zeros)
            sign = ""
        elif match.lastgroup == "word":
            token = (sign + token).lstrip("+")
            sign = ""
        if token:
            result.append(token)
    return result


def _number(token: str, *, keep_zeros: bool) -> str:
    if _GROUPED.fullmatch(token):
        token = token.replace(",", "")
    if not _PLAIN.fullmatch(token):
        return token
    sign = "-" * token.startswith("-")
    bare = token.lstrip("+-")
    if "." in bare and not keep_zeros:
        integer, _, decimals = bare.partition(".")
        bare = ".".join(part for part in (integer.lstrip("0") or "0", decimals.rstrip("0")) if part)
    return sign + bare if bare.strip("0.") else bare


def _meaningful(run: str) -> str:
    """Return a run of signs when one of them means something; "" for quotes, brackets, stops and dashes alone."""
    symbols = [c for c in run if _is_symbol(c)]
    if not symbols:
        return ""
    return run.strip("\"'()[]{}.,;:?") if any(c in "<>=" for c in symbols) else "".join(symbols)


def _is_symbol(char: str) -> bool:
    return char in "#%&@*/\\‰" or (unicodedata.category(char)[0] == "S" and char != "`")


def is_word(token: str) -> bool:
    """Return whether a token is a word of letters, without digits and symbols."""
    return token[0].isalpha() and not any(char.isdigit() for char in token)
