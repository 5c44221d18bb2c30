"""Personal data and secrets in text: an RE2 set tells which kinds may be there, exact patterns and checksums decide.

RE2 has no backtracking, so no text can make a pattern slow. It has no look-around either: what must not stand
beside a match is checked on the neighbouring characters.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import re2

from tidemill.data.checksums import card, entropy, iban, ip_address
from tidemill.data.types import PII_KINDS, PiiKind


@dataclass(frozen=True)
class PiiMatch:
    """One piece of personal data: `text[start:end]`."""

    kind: PiiKind
    start: int
    end: int


@dataclass(frozen=True)
class Detector:
    """How one kind is found. `cheap` must match wherever `exact` does."""

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


def _accept_email(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
    match = text[start:end]
    local = match.split("@", 1)[0]
    return None if local.startswith(".") or local.endswith(".") or ".." in match else (start, end)


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
    digits = _digits(text[start:end])
    ok = 12 <= len(digits) <= 19 and not _touches(text, start, end, ".-") and card(digits)
    return (start, end) if ok else None


def _accept_iban(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
    """Return the span of the IBAN. The pattern may match into the next word, so the country's length decides."""
    if _word(_char_before(text, start)):
        return None
    match = text[start:end]
    for stop in range(len(match), 14, -1):
        if match[stop - 1] == " " or _word(text[start + stop : start + stop + 1]):
            continue
        if iban(match[:stop].replace(" ", "").upper()):
            return start, start + stop
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


def _accept_phone(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
    digits = _digits(text[start:end])
    if not 8 <= len(digits) <= 15 or len(set(digits)) < 3 or _touches(text, start, end, ".,-/:"):
        return None
    if _char_before(text, start) in ("+", "$", "#"):
        return None
    if text[start].isdigit() and _char_before(text, start) == " " and text[max(start - 2, 0) : start - 1].isdigit():
        return None  # a part of a longer number written in groups
    return start, end


def _accept_secret(text: str, start: int, end: int, match: Any) -> tuple[int, int] | None:
    if match.start(1) < 0:
        return start, end
    place, value = match.start(1), text[match.start(1) : match.end(1)]
    strong = entropy(value) >= _WORDS_LIKE and any(char.isdigit() for char in value)
    return (place, place + len(value)) if strong else None


_DETECTORS: dict[PiiKind, Detector] = {
    detector.kind: detector
    for detector in (
        Detector("secret", f"{_SECRET_SHAPES}|{_ASSIGNED}", f"{_SECRET_SHAPES}|{_ASSIGNED}", _accept_secret),
        Detector(
            "email",
            r"[0-9A-Za-z]@[0-9A-Za-z]",
            r"[0-9A-Za-z._%+-]{0,63}[0-9A-Za-z]@(?:[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?\.){1,8}[A-Za-z]{2,24}",
            _accept_email,
        ),
        Detector(
            "iban",
            r"[A-Za-z]{2}[0-9]{2} ?[0-9A-Za-z]{4}",
            r"[A-Za-z]{2}[0-9]{2}(?: ?[0-9A-Za-z]){11,30}",
            _accept_iban,
        ),
        Detector("card", r"[0-9](?:[ -]?[0-9]){11}", r"[0-9](?:[ -]?[0-9]){11,18}", _accept_card),
        Detector(
            "ip",
            r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:",
            r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}",
            _accept_ip,
        ),
        Detector(
            "phone",
            r"[0-9](?:[ ().\-/]{0,2}[0-9]){6}",
            # +44 20 7946 0958 | 0044 20 ... | (212) 555-0123, 212-555-0123 | 030 1234567, 0171/1234567
            r"(?:\+|\b00)[1-9](?:[ ().\-/]{0,2}[0-9]){6,13}"
            r"|(?:\([2-9][0-9]{2}\) ?|\b(?:1[ .-])?[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}\b"
            r"|\b0[1-9][0-9]{1,4}[ /-][0-9]{2,4}(?:[ -]?[0-9]{2,4}){1,3}\b",
            _accept_phone,
        ),
    )
}


class PiiFinder:
    """Finds the given kinds. Make one and use it for many texts; it is not shared between threads."""

    def __init__(self, kinds: tuple[PiiKind, ...] = PII_KINDS) -> None:
        self.detectors = [_DETECTORS[kind] for kind in PII_KINDS if kind in kinds]
        self.exact = [re2.compile(detector.exact) for detector in self.detectors]
        self.cheap = re2.Set.SearchSet()
        for detector in self.detectors:
            self.cheap.Add(detector.cheap)
        self.cheap.Compile()

    def finds(self, text: str) -> list[PiiMatch]:
        """Return every piece of personal data, in order, none overlapping. Earlier kinds in PII_KINDS win."""
        data = text.encode("utf-8", "surrogatepass")
        possible = self.cheap.Match(data)
        if not possible:
            return []
        # All patterns are ASCII, so they run on bytes; Latin-1 shows each byte as one character.
        view = data.decode("latin-1")
        finds: list[PiiMatch] = []
        for place in sorted(possible):
            kind = self.detectors[place].kind
            for start, end in self._spans(place, data, view):
                if all(end <= other.start or start >= other.end for other in finds):
                    finds.append(PiiMatch(kind, start, end))
        finds.sort(key=lambda find: find.start)
        if len(data) == len(text):
            return finds
        return [PiiMatch(find.kind, _characters(data, find.start), _characters(data, find.end)) for find in finds]

    def _spans(self, place: int, data: bytes, view: str) -> Iterator[tuple[int, int]]:
        accept, pattern = self.detectors[place].accept, self.exact[place]
        match = pattern.search(data, 0)
        while match is not None:
            span = accept(view, match.start(), match.end(), match)
            if span is not None:
                yield span
            # A refused match may hide a true one that begins inside it: "no. 12 4111 1111 1111 1111".
            match = pattern.search(data, span[1] if span is not None else match.start() + 1)

    def mask(self, text: str) -> str:
        """Return the text with each find replaced by its kind in brackets."""
        return mask_matches(text, self.finds(text))


def _characters(data: bytes, offset: int) -> int:
    return len(data[:offset].decode("utf-8", "surrogatepass"))


def mask_matches(text: str, finds: list[PiiMatch]) -> str:
    """`text` with `finds` replaced, such as `[EMAIL]`."""
    parts: list[str] = []
    end = 0
    for find in finds:
        parts += [text[end : find.start], f"[{find.kind.upper()}]"]
        end = find.end
    return "".join([*parts, text[end:]]) if parts else text


@functools.cache
def all_kinds_finder() -> PiiFinder:
    """Return a finder of every kind, for text that is shown to people."""
    return PiiFinder()
