"""Strings that repeat, such as models and users: each stands once in a day, spans hold its number."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from tidemill.traces.store.days import Change, Look

T = TypeVar("T")

LONGEST = 1024
"""Characters of a name, user or other short field that are kept."""
CACHED = 50_000
CHUNK = 500


def clean(text: str) -> str:
    """The text as every database takes it."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    return text[:LONGEST] if len(text) > LONGEST else text


class Interner:
    """Numbers of strings in one transaction. `known` holds those of transactions before."""

    def __init__(self, change: Change, known: dict[str, int]) -> None:
        self._change = change
        self._known = known
        self._fresh: dict[str, int] = {}
        self.made: dict[str, int] = {}
        """Those that are new in the day."""

    def unknown(self, texts: set[str]) -> list[str]:
        """Those that have to be looked up."""
        return [text for text in texts if text not in self._known]

    def numbers(self, texts: set[str], candidates: Sequence[int]) -> dict[str, int]:
        """The numbers of these strings; those that are new get theirs. `candidates` are rows that may be of them."""
        found = {text: self._known[text] for text in texts if text in self._known}
        missing = sorted(texts - found.keys())
        for chunk in chunks(candidates):
            marks = ",".join("?" * len(chunk))
            self._fresh.update(self._change.rows(f"SELECT text, id FROM strings WHERE id IN ({marks})", chunk))
        made = [text for text in missing if text not in self._fresh]
        if made:
            first = self._change.rows("SELECT coalesce(max(id), 0) + 1 FROM strings")[0][0]
            rows = list(enumerate(made, first))
            self._change.insert("strings", ("id", "text"), rows)
            self.made = {text: number for number, text in rows}
            self._fresh |= self.made
        return found | {text: self._fresh[text] for text in missing}

    def keep(self) -> None:
        """Remember, once committed, what was found."""
        if len(self._known) + len(self._fresh) > CACHED:
            self._known.clear()
        if len(self._fresh) <= CACHED:
            self._known |= self._fresh


def texts_of(look: Look, numbers: Iterable[int | None], known: dict[int, str]) -> dict[int, str]:
    """The strings with these numbers. `known` is filled on the way, and never emptied: other threads read it too."""
    missing = sorted({number for number in numbers if number is not None and number not in known})
    for chunk in chunks(missing):
        marks = ",".join("?" * len(chunk))
        known.update(look.rows(f"SELECT id, text FROM strings WHERE id IN ({marks})", chunk))
    return known


def chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """The values in parts of at most CHUNK, as many as a statement takes at once."""
    return (values[at : at + CHUNK] for at in range(0, len(values), CHUNK))
