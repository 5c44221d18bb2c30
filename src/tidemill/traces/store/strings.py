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
        self._next = 0

    def learn(self, texts: Iterable[str]) -> None:
        """Look up all of these at once, and give numbers to those that are new."""
        missing = sorted({text for text in texts if text not in self._known and text not in self._fresh})
        if not missing:
            return
        for chunk in chunks(missing):
            marks = ",".join("?" * len(chunk))
            for text, number in self._change.rows(f"SELECT text, id FROM strings WHERE text IN ({marks})", chunk):
                self._fresh[text] = number
        made = [text for text in missing if text not in self._fresh]
        if not made:
            return
        if not self._next:
            self._next = self._change.rows("SELECT coalesce(max(id), 0) + 1 FROM strings")[0][0]
        rows = list(zip(range(self._next, self._next + len(made)), made, strict=True))
        self._next += len(made)
        self._fresh |= {text: number for number, text in rows}
        self._change.insert("strings", ("id", "text"), rows)

    def number(self, text: str | None) -> int | None:
        """The number of a string that was learnt."""
        if text is None:
            return None
        found = self._known.get(text)
        return self._fresh[text] if found is None else found

    def keep(self) -> None:
        """Remember, once committed, what was found."""
        if len(self._known) + len(self._fresh) > CACHED:
            self._known.clear()
        if len(self._fresh) <= CACHED:
            self._known |= self._fresh


def number_of(look: Look, text: str) -> int | None:
    """The number of a string; None when nothing of that day has it."""
    found = look.rows("SELECT id FROM strings WHERE text = ?", (clean(text),))
    return found[0][0] if found else None


def texts_of(look: Look, numbers: Iterable[int | None], known: dict[int, str]) -> dict[int, str]:
    """The strings with these numbers. `known` is filled on the way; numbers of one day never change."""
    missing = sorted({number for number in numbers if number is not None and number not in known})
    if len(known) > CACHED:
        known.clear()
    for chunk in chunks(missing):
        marks = ",".join("?" * len(chunk))
        known.update(look.rows(f"SELECT id, text FROM strings WHERE id IN ({marks})", chunk))
    return known


def chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """The values in parts of at most CHUNK, as many as a statement takes at once."""
    return (values[at : at + CHUNK] for at in range(0, len(values), CHUNK))
