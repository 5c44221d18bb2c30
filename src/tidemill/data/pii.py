"""Personal data and secrets in text: a set of patterns tells which kinds may be there, their detectors find them."""

import functools
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import re2

from tidemill.data.addresses import find_addresses
from tidemill.data.ascii_fold import fold
from tidemill.data.detectors import Detector, detectors
from tidemill.data.phones import PHONE_REGIONS
from tidemill.data.types import PII_KINDS, PiiKind


@dataclass(frozen=True)
class PiiMatch:
    """One piece of personal data: `text[start:end]`."""

    kind: PiiKind
    start: int
    end: int


class PiiFinder:
    """Finds the given kinds. Make one and use it for many texts; it is not shared between threads.

    National spellings of phone numbers are looked for in `regions` (ISO 3166-1).
    """

    def __init__(self, kinds: tuple[PiiKind, ...] = PII_KINDS, regions: tuple[str, ...] = PHONE_REGIONS) -> None:
        by_kind = detectors(regions)
        self.kinds = [kind for kind in PII_KINDS if kind in kinds]
        self.detectors: dict[PiiKind, Detector] = {kind: by_kind[kind] for kind in self.kinds if kind != "email"}
        self.exact: dict[PiiKind, Any] = {
            kind: re2.compile(detector.exact) for kind, detector in self.detectors.items()
        }
        self.cheap = re2.Set.SearchSet()
        for kind in self.kinds:
            self.cheap.Add("@" if kind == "email" else self.detectors[kind].cheap)
        self.cheap.Compile()

    def finds(self, text: str) -> list[PiiMatch]:
        """Return every piece of personal data, in order, none overlapping. Earlier kinds in PII_KINDS win."""
        folded = fold(text)
        data = folded.text.encode("utf-8", "surrogatepass")
        possible = self.cheap.Match(data)
        if not possible:
            return []
        # The patterns are ASCII, so they run on bytes; Latin-1 shows each byte as one character.
        view = data.decode("latin-1")
        finds: list[PiiMatch] = []
        for place in sorted(possible):
            kind = self.kinds[place]
            spans = find_addresses(folded.text) if kind == "email" else self._spans(kind, data, view)
            finds = _merge(finds, [PiiMatch(kind, start, end) for start, end in spans])
        return [PiiMatch(find.kind, *folded.span(find.start, find.end)) for find in finds]

    def _spans(self, kind: PiiKind, data: bytes, view: str) -> Iterator[tuple[int, int]]:
        """Yield the spans of a kind in characters of the text."""
        byte_spans = _byte_spans(self.detectors[kind], self.exact[kind], data, view)
        if view.isascii():
            yield from byte_spans
            return
        chars = place = 0
        for start, end in byte_spans:
            first = chars + len(data[place:start].decode("utf-8", "surrogatepass"))
            chars = first + end - start  # a find is ASCII
            place = end
            yield first, chars

    def mask(self, text: str) -> str:
        """Return the text with each find replaced by its kind in brackets."""
        return mask_matches(text, self.finds(text))


def _byte_spans(detector: Detector, pattern: Any, data: bytes, view: str) -> Iterator[tuple[int, int]]:
    match = pattern.search(data, 0)
    while match is not None:
        span = detector.accept(view, match.start(), match.end(), match)
        if span is not None:
            yield span
        # A refused match may hide a true one that begins inside it: "no. 12 4111 1111 1111 1111".
        match = pattern.search(data, span[1] if span is not None else match.start() + 1)


def _merge(finds: list[PiiMatch], others: list[PiiMatch]) -> list[PiiMatch]:
    """Return both, in order, without those of `others` that overlap one of `finds`."""
    if not finds:
        return others
    ends = [find.end for find in finds]
    free = []
    for other in others:
        place = bisect(ends, other.start)
        if place == len(finds) or finds[place].start >= other.end:
            free.append(other)
    return sorted([*finds, *free], key=lambda find: find.start)


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
