"""How each kind of personal data but addresses is found: a pattern proposes, checksums and the neighbours decide.

RE2 has no backtracking, so no text can make a pattern slow. It has no look-around either: what must not stand
beside a match is checked on the neighbouring characters.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidemill.data import phones
from tidemill.data.checksums import card, entropy, iban, ip_address
from tidemill.data.types import PiiKind


@dataclass(frozen=True)
class Detector:
    """How one kind is found. `cheap` must match wherever `exact` does.

    `accept` gets the text as UTF-8 seen as Latin-1 (a byte is a character), the start and end of a match, and the
    match. It returns the span of the find, or None.
    """

    kind: PiiKind
    cheap: str
    exact: str
    accept: Callable[[str, int, int, Any], tuple[int, int] | None]


_SECRET_SHAPES = "|".join(
    (
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS access key
        r"\bgh[pousr]_[0-9A-Za-z]{36,255}\b",  # GitHub
        r"\bgithub_pat_[0-9A-Za-z_]{22,255}\b",
        r"\bglpat-[0-9A-Za-z_-]{20,}",  # GitLab
        r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}",  # Slack
        r"\bsk-[0-9A-Za-z_-]{20,}",  # OpenAI, Anthropic
        r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}",  # Stripe
        r"\bAIza[0-9A-Za-z_-]{35}",  # Google
        r"\bhf_[0-9A-Za-z]{30,}\b",  # Hugging Face
        r"\bnpm_[0-9A-Za-z]{36}\b",
        r"\bpypi-[0-9A-Za-z_-]{50,}",
        r"\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}",  # JSON Web Token
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^-]*-----END [A-Z ]*PRIVATE KEY-----)?",
    )
)
_ASSIGNED = (
    r"(?i:passw(?:or)?d|pwd|secret|token|api[_-]?key|access[_-]?key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
    r"(?P<value>[^\s\"',;<>]{8,200})"
)
_WORDS_LIKE = 3.0
"""Bits per character: passwords and keys lie above, most words and placeholders below."""


_BETWEEN = r"[ ./_-]{0,3}"
"""What people write between the groups of a number. Every kind of space and dash is a plain one by then."""
_GROUPS = re.compile(r"[0-9]+")


def _word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _char_before(text: str, start: int) -> str:
    return text[start - 1] if start > 0 else ""


def _touches(text: str, start: int, end: int, marks: str) -> bool:
    """Return whether a letter, a digit or one of `marks` followed by a digit stands right beside the match."""
    before, after = _char_before(text, start), text[end : end + 1]
    if _word(before) or _word(after):
        return True
    return (before != "" and before in marks and text[max(start - 2, 0) : start - 1].isdigit()) or (
        after != "" and after in marks and text[end + 1 : end + 2].isdigit()
    )


def _digits(text: str) -> str:
    return "".join(char for char in text if char in "0123456789")


def _accept_card(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
    """Return the span of the card number: the longest that begins here and passes the checksum."""
    if _char_before(text, start).isdigit():
        return None
    groups = list(_GROUPS.finditer(text, start, end))
    for count in range(len(groups), 0, -1):
        stop = groups[count - 1].end()
        digits = _digits(text[start:stop])
        if len(digits) < 12:
            break
        if len(digits) > 19 or _touches(text, start, stop, ".-") or not _is_grouped(text, groups[:count]):
            continue
        if card(digits):
            return start, stop
    return None


def _is_grouped(text: str, groups: list[re.Match[str]]) -> bool:
    """Return whether the digits are written in groups as on cards, with one kind of mark between them.

    One in ten numbers passes the checksum, so a row of dates and amounts is no card.
    """
    marks = {text[a.end() : b.start()].strip() for a, b in itertools.pairwise(groups)}
    sizes = [len(group.group()) for group in groups]
    even = len(set(sizes[:-1])) <= 1 and sizes[0] >= 2 and sizes[-1] <= max(sizes[0], 4)
    return len(marks) <= 1 and (len(sizes) == 1 or even or sizes in ([4, 6, 5], [4, 6, 4]))


def _accept_iban(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
    """Return the span of the IBAN. The pattern may match into the next word, so the country's length decides."""
    if _word(_char_before(text, start)):
        return None
    for stop in range(end, start + 14, -1):
        if not _word(text[stop - 1]) or _word(text[stop : stop + 1]):
            continue
        if iban(re.sub(r"[^0-9A-Za-z]", "", text[start:stop]).upper()):
            return start, stop
    return None


def _accept_ip(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
    match = text[start:end]
    if ":" in match:
        match = match.rstrip(":") if not match.endswith("::") else match
        end = start + len(match)
        if match.count(":") < 2 or len(match) < 6:
            return None
    beside = _word(_char_before(text, start)) or _word(text[end : end + 1])
    dotted = _char_before(text, start) == "." or (text[end : end + 1] == "." and text[end + 1 : end + 2].isdigit())
    return (start, end) if not beside and not dotted and ip_address(match) else None


def _accept_secret(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
    if match.start(1) < 0:
        return start, end
    place, value = match.start(1), text[match.start(1) : match.end(1)]
    strong = entropy(value) >= _WORDS_LIKE and any(char.isdigit() for char in value)
    return (place, place + len(value)) if strong else None


_ALWAYS = (
    Detector("secret", f"{_SECRET_SHAPES}|{_ASSIGNED}", f"{_SECRET_SHAPES}|{_ASSIGNED}", _accept_secret),
    Detector(
        "iban",
        rf"[A-Za-z]{{2}}[0-9]{{2}}{_BETWEEN}[0-9A-Za-z]",
        rf"[A-Za-z]{{2}}[0-9]{{2}}(?:{_BETWEEN}[0-9A-Za-z]){{11,30}}",
        _accept_iban,
    ),
    Detector("card", rf"[0-9](?:{_BETWEEN}[0-9]){{11}}", rf"[0-9](?:{_BETWEEN}[0-9]){{11,22}}", _accept_card),
    Detector(
        "ip",
        r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:",
        r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}",
        _accept_ip,
    ),
)


def detectors(regions: tuple[str, ...]) -> dict[PiiKind, Detector]:
    """Return the detectors of all kinds but email; phone numbers in the national spellings of `regions`."""

    def accept_phone(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
        return phones.accept_phone(regions, text, start, end)

    phone = Detector("phone", r"[0-9](?:[ ().\-/]{0,3}[0-9]){6}", phones.CANDIDATE, accept_phone)
    return {detector.kind: detector for detector in (*_ALWAYS, phone)}
