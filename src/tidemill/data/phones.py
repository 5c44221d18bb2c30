"""Phone numbers in text: numbering plans (phonenumbers) say what can be one, its form or a word before it decides.

A valid number is not enough: one in three order numbers of ten digits is valid somewhere.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any

from tidemill.core.errors import Invalid

PHONE_REGIONS = ("US", "GB", "DE", "FR")
"""Whose national spellings are looked for when nothing else is declared (ISO 3166-1)."""
CANDIDATE = r"\(?\+?\(?[0-9](?:[ ().\-/]{0,3}[0-9]){6,17}"

_GROUP = re.compile(r"[0-9]+")
_SEPARATOR = re.compile(r"[^0-9]+")
_DATE = re.compile(r"(?:[0-3]?[0-9][./ -]){2}(?:19|20)?[0-9]{2}(?![0-9])")
_WORD = re.compile(
    r"(?<![a-z])(?:call|tel|phone|telephone|mobile|mob|cell|fax|ring|dial|text|txt|sms|whats ?app|signal|freephone"
    r"|freefone|hotline|landline|reach me|ruf|anruf|ruft|rufen|handy|mobil|telefon|durchwahl|appel|t[ée]l[ée]phone"
    r"|portable|llam|m[óo]vil|tel[ée]fono|celular|cellulare|chiam|ligue|telefone|bel|bellen|zadzwo|dzwo)"
    r"|тел|моб|звон|电话|手机|電話|携帯|전화|هاتف|جوال|טלפון|फ़ोन|फोन|โทร",
    re.IGNORECASE,
)
_REACH = 40
"""How far before a number, in bytes, a word says that it is a phone number."""
_MOST_GROUPS = 8
_SHORTEST = 8
"""Fewer digits are a telephone's only within its own town."""
_ALONE = 10
"""So many digits beside a word such as `call` are a phone number also where a letter touches them."""
_LONG = 11
"""So many digits with a leading 0 are hardly an order number when a plan knows them."""


class RegionUnknown(Invalid):
    """There is no such region in the numbering plans."""

    code = "region_unknown"


def check_regions(regions: Sequence[str]) -> tuple[str, ...]:
    """Return the regions in capitals, each once. Raises RegionUnknown."""
    import phonenumbers

    codes = tuple(dict.fromkeys(region.upper() for region in regions))
    unknown = [code for code in codes if code not in phonenumbers.SUPPORTED_REGIONS]
    if unknown:
        raise RegionUnknown(
            f"There is no region {unknown[0]!r}.", hint="Use codes of two letters as in ISO 3166-1: US, GB, DE."
        )
    return codes


def accept_phone(regions: tuple[str, ...], text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the span of the phone number that begins at `start`; None when there is none."""
    before = text[start - 1] if start else ""
    if before.isdigit() or text.endswith(("+", "#", "$", "\xa3", "\xe2\x82\xac"), 0, start):
        return None
    candidate = text[start:end]
    groups = list(itertools.islice(_GROUP.finditer(candidate), _MOST_GROUPS))
    plus = "+" in candidate[:3]
    introduced = not plus and _WORD.search(_before(text, start)) is not None
    in_groups = before == " " and text[max(start - 2, 0) : start - 1].isdigit()  # a part of a longer number
    if not plus and not introduced and (in_groups or not _has_form(candidate, groups)):
        return None
    for count in range(len(groups), 0, -1):
        stop = groups[count - 1].end()
        digits = "".join(group.group() for group in groups[:count])
        if len(digits) < _SHORTEST:
            break
        sure = plus or (introduced and len(digits) >= _ALONE)
        if len(digits) > 15 or _touches(text, start, start + stop, len(digits), sure):
            continue
        if _is_phone(regions, candidate[:stop], digits, groups[:count], introduced):
            opens = candidate.startswith("(") and ")" not in candidate[:stop]
            return (start + 1 if opens else start), start + stop
    return None


def _before(text: str, start: int) -> str:
    # The text is UTF-8 seen as Latin-1. A character that is cut in half at the left is no word.
    return text[max(start - _REACH, 0) : start].encode("latin-1").decode("utf-8", "ignore")


def _has_form(candidate: str, groups: list[re.Match[str]]) -> bool:
    """Return whether the number is written as no other number is: a trunk 0, a code in brackets, or 3-3-4."""
    if candidate.startswith(("0", "(", "+")):
        return True
    sizes = [len(group.group()) for group in groups[:4]]
    return sizes[:3] == [3, 3, 4] or (sizes == [1, 3, 3, 4] and candidate.startswith("1"))


def _touches(text: str, start: int, end: int, digits: int, sure: bool) -> bool:
    return _touches_left(text, start, digits, sure) or _touches_right(text, end, digits, sure)


def _touches_left(text: str, start: int, digits: int, sure: bool) -> bool:
    """Return whether the digits end a longer number or name: `v0712345678`, `a-0712345678`."""
    char, further = text[max(start - 1, 0) : start], text[max(start - 2, 0) : max(start - 1, 0)]
    if char.isascii() and char.isalnum():
        return not sure
    if char == "/":
        return further.isalnum() and digits < _ALONE  # two numbers beside each other are no date
    return char == "_" or (char == ":" and further.isdigit()) or (char in "-.," and further.isalnum() and not sure)


def _touches_right(text: str, end: int, digits: int, sure: bool) -> bool:
    """Return whether the digits begin a longer number or name: `0712345678x`, `0712345678-9`."""
    char, further = text[end : end + 1], text[end + 1 : end + 2]
    if char.isdigit() or char == "_":
        return True
    if char.isascii() and char.isalpha():
        return not sure
    if char == "/":
        return further.isdigit() and digits < _ALONE
    return char in ("-", ".", ",", ":") and (further.isdigit() or (char == "-" and further.isalpha() and not sure))


def _is_phone(
    regions: tuple[str, ...], written: str, digits: str, groups: list[re.Match[str]], introduced: bool
) -> bool:
    if len(set(digits)) < 3:
        return False
    if "+" in written[:3]:
        return _international(digits)
    if digits.startswith("00") and _international(digits[2:], valid=True):
        return True
    if introduced and len(digits) > _ALONE and _international(digits, valid=True):
        return True  # a country's code without its plus
    if not introduced and not _is_grouped(written, digits, groups):
        return False
    return any(_national(digits, region) for region in regions)


def _is_grouped(written: str, digits: str, groups: list[re.Match[str]]) -> bool:
    """Return whether the groups look like a phone number's, where no word says so."""
    if len(groups) == 1:
        return digits.startswith("0") and len(digits) >= _LONG
    if not digits.startswith("0") and not written.startswith("("):
        return [len(group.group()) for group in groups][-3:] == [3, 3, 4]
    in_pairs = [len(group.group()) for group in groups] == [2] * 5  # 06 12 34 56 78
    if _DATE.match(written) and not in_pairs:
        return False
    # 0171/123 45 67, (030) 123-4567: after the area code the separators are of one kind.
    separators = {separator.strip() for separator in _SEPARATOR.findall(written.lstrip("("))[1:]}
    return len(separators) <= 1 and all(len(group.group()) >= 2 for group in groups)


@functools.lru_cache(maxsize=4096)
def _international(digits: str, *, valid: bool = False) -> bool:
    number = _parse(f"+{digits}", None)
    if number is None:
        return False
    import phonenumbers

    return bool(phonenumbers.is_valid_number(number) if valid else phonenumbers.is_possible_number(number))


@functools.lru_cache(maxsize=4096)
def _national(digits: str, region: str) -> bool:
    number = _parse(digits, region)
    if number is None:
        return False
    import phonenumbers

    return bool(phonenumbers.is_valid_number(number))


def _parse(digits: str, region: str | None) -> Any:
    import phonenumbers

    try:
        return phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return None
