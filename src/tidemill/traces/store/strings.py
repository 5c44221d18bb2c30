"""Strings that repeat, such as models and users: a day stores each once, and spans hold its number."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from tidemill.traces.store.day_cache import CachedStrings
from tidemill.traces.store.days import DayReader, DayWriter

T = TypeVar("T")

MAX_CHARS = 1024
"""Characters of a name, user or other short field that are kept."""
CHUNK = 500


def clean(text: str) -> str:
    """Return the text without what a database refuses, at most MAX_CHARS characters of it."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    return text[:MAX_CHARS] if len(text) > MAX_CHARS else text


def is_storable(text: str) -> bool:
    """Return whether a database takes this text as it is: no other text can be stored, and so be found."""
    return clean(text) == text and _is_encodable(text)


def _is_encodable(text: str) -> bool:
    """Return whether UTF-8 has this text: it has no half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Interner:
    """Numbers of strings in one transaction. `cached_numbers` holds those of transactions before."""

    def __init__(self, writer: DayWriter, cached_numbers: CachedStrings[str, int]) -> None:
        self._writer = writer
        self._cached = cached_numbers
        self._new: dict[str, int] = {}

    def numbers(self, texts: set[str]) -> dict[str, int]:
        """Return the numbers of these strings; those that are new are stored."""
        numbers = self._cached.known(texts)
        missing = sorted(texts - numbers.keys())
        self._new.update(numbers_of(self._writer, missing))
        new = [text for text in missing if text not in self._new]
        if new:
            first = self._writer.rows("SELECT coalesce(max(id), 0) + 1 FROM strings")[0][0]
            rows = list(enumerate(new, first))
            self._writer.insert("strings", ("id", "text"), rows)
            self._new |= {text: number for number, text in rows}
        return numbers | {text: self._new[text] for text in missing}

    def remember(self) -> None:
        """Add the numbers of this transaction to the cache, once it is committed."""
        self._cached.add(self._new)


def numbers_of(reader: DayReader, texts: Iterable[str]) -> dict[str, int]:
    """Return string -> number; those that the day does not have are left out."""
    numbers: dict[str, int] = {}
    for chunk in chunks([clean_text for text in texts if _is_encodable(clean_text := clean(text))]):
        marks = ",".join("?" * len(chunk))
        numbers.update(reader.rows(f"SELECT text, id FROM strings WHERE text IN ({marks})", chunk))
    return numbers


def number_of(reader: DayReader, text: str) -> int | None:
    """Return the number of a string; None when the day does not have it."""
    return numbers_of(reader, [text]).get(clean(text))


def texts_of(reader: DayReader, numbers: Iterable[int | None], cached_texts: CachedStrings[int, str]) -> dict[int, str]:
    """Return number -> string. Those that are not cached are read, and cached."""
    needed = {number for number in numbers if number is not None}
    texts = cached_texts.known(needed)
    missing = sorted(needed - texts.keys())
    if missing:
        read_texts: dict[int, str] = {}
        for chunk in chunks(missing):
            marks = ",".join("?" * len(chunk))
            read_texts.update(reader.rows(f"SELECT id, text FROM strings WHERE id IN ({marks})", chunk))
        cached_texts.add(read_texts)
        texts |= read_texts
    return texts


def chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """Return the values in parts of at most CHUNK, as many as a statement takes at once."""
    return (values[at : at + CHUNK] for at in range(0, len(values), CHUNK))
