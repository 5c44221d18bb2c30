"""The words of a span that a search finds: input, output, name and error."""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from tidemill.core.search_words import coarse_words, index_words, split_words
from tidemill.core.text import shorten
from tidemill.traces.types import SpanRecord

MAX_CHARS = 16_000
"""Characters of a span that are indexed; of a long conversation the newest messages."""

_SKIPPED = frozenset({"role", "type", "id", "mime_type", "tool_call_id", "finish_reason"})
_MAX_DEPTH = 8
_OLD_WORD = re.compile(r"[^\W_]+")


def searchable_text(record: SpanRecord) -> str:
    """Return the searchable text of a span: name, error, and at most MAX_CHARS characters of output and input."""
    parts = [record.name, record.status_message or ""]
    room = _gather(record.payload.output, parts, MAX_CHARS)
    if room > 0:
        _gather(record.payload.input, parts, room)
    return "\n".join(parts)


def _gather(value: Any, parts: list[str], room: int, depth: int = 0) -> int:
    """Add the texts in a value, as `_strings` gives them, while there is room; return the room that is left."""
    if isinstance(value, str):
        parts.append(value if len(value) <= room else value[:room])
        return room - len(value)
    if depth > _MAX_DEPTH or not value:
        return room
    items: Iterable[Any] = ()
    if isinstance(value, list):
        items = reversed(value)
    elif isinstance(value, dict):
        items = [item for name, item in value.items() if name not in _SKIPPED]
    for item in items:
        if isinstance(item, str):  # as above, without a call for each of the many
            parts.append(item if len(item) <= room else item[:room])
            room -= len(item)
        else:
            room = _gather(item, parts, room, depth + 1)
        if room <= 0:
            break
    return room


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth > _MAX_DEPTH:
        return
    elif isinstance(value, list):
        for item in reversed(value):
            yield from _strings(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _SKIPPED:
                yield from _strings(item, depth + 1)


def word_numbers(content: str) -> set[int]:
    """Return the words as 32-bit numbers, for an index of numbers that only narrows down where to look."""
    return _numbers(coarse_words(content))


def old_word_numbers(query: str) -> set[int]:
    """Return the numbers by which days of layout 3 and older have the words of a query."""
    return _numbers(set(_OLD_WORD.findall(query.casefold())))


def _numbers(words: set[str]) -> set[int]:
    return {zlib.crc32(word.encode("utf-8", "replace")) - (1 << 31) for word in words}


def indexed_text(content: str) -> str:
    """Return the words of a text for the FTS5 index, which takes them as they stand between the blanks."""
    # FTS5 takes texts in ASCII apart as `index_words` does, and in less time.
    return content if content.isascii() else " ".join(index_words(content))


def match_query(query: str) -> str:
    """Return the words as an FTS5 query for all of them."""
    return " ".join(f'"{word}"' for word in split_words(query))


def old_match_query(query: str) -> str:
    """Return the query for days of layout 3 and older, whose index folds words by its own rule."""
    return " ".join(f'"{word}"' for word in _OLD_WORD.findall(query))


def preview(value: Any, max_chars: int = 160) -> str | None:
    """Return the beginning of an input or output on one line: of its last message that is no instruction."""
    for string in _strings(_last_message(value)):
        line = " ".join(string[: max_chars * 2].replace("\x00", "").split())
        if line:
            return shorten(line, max_chars)
    return None


def _last_message(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        messages = [m for m in value if isinstance(m, dict) and m.get("role") not in ("system", "developer")]
        return (messages or value)[-1]
    return value
