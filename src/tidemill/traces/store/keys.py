"""The values that rows are found by through `runs`: trace ids, reply ids, short strings, users and sessions.

What comes back are rows that may have the value: the callers ask for it in their SQL as well.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np

from tidemill.traces.store import runs
from tidemill.traces.store.days import Change, Look
from tidemill.traces.store.runs import Keys
from tidemill.traces.store.strings import chunks, clean

T = TypeVar("T", bytes, str)

TRACE, REPLY, STRING, USER, SESSION = range(5)
"""What a key stands for: its three highest bits."""
MOST = 20_000
"""A user with more traces in a day is looked for among all traces: in the order of time they come soon."""
_SHIFT = 61
_LOW = (1 << _SHIFT) - 1


def of_traces(ids: Sequence[bytes]) -> Keys:
    """Keys of trace ids, 16 bytes each: the first four as they are, so that beginnings are found, the rest mixed."""
    words = np.frombuffer(b"".join(ids), ">u4").reshape(-1, 4).astype(np.uint64)
    rest = words[:, 1] ^ words[:, 2] ^ words[:, 3]
    return (words[:, 0] << np.uint64(29)) | (rest & np.uint64((1 << 29) - 1))


def of_texts(kind: int, texts: Iterable[str]) -> Keys:
    """Keys of reply ids or short strings."""
    high = kind << _SHIFT
    hashes = (blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.array([high | (int.from_bytes(digest, "little") & _LOW) for digest in hashes], np.uint64)


def of_numbers(kind: int, numbers: Iterable[int]) -> Keys:
    """Keys of users or sessions, by the numbers of their strings."""
    return np.array([kind << _SHIFT | number for number in numbers], np.uint64)


class Candidates:
    """Rows that may have what a batch brings: looked up all at once, before it is stored."""

    def __init__(self, look: Look, *, traces: Collection[bytes], replies: Collection[str], strings: Collection[str]):
        asked = (of_traces(list(traces)), of_texts(REPLY, replies), of_texts(STRING, strings))
        keys, numbers = runs.find(look, np.unique(np.concatenate(asked)), often=True)
        kinds = keys >> np.uint64(_SHIFT)
        self._numbers: dict[int, list[int]] = {kind: numbers[kinds == kind].tolist() for kind in (TRACE, REPLY, STRING)}

    def of(self, kind: int) -> list[int]:
        """The rows of one kind."""
        return self._numbers[kind]


class Learnt:
    """What a batch adds to the runs."""

    def __init__(self) -> None:
        self._keys: list[Keys] = []
        self._numbers: list[int] = []

    def add(self, keys: Keys, numbers: Iterable[int]) -> None:
        """These keys stand for these rows."""
        self._keys.append(keys)
        self._numbers += numbers

    def write(self, change: Change) -> None:
        """Store it."""
        if self._numbers:
            runs.add(change, np.concatenate(self._keys), np.array(self._numbers, np.uint32))


def traces(look: Look, ids: Collection[bytes]) -> dict[bytes, int]:
    """Trace id -> number of its row; those that are not there are left out."""
    return _same(look, "traces", "trace", ids, _found(look, of_traces(list(ids))))


def replies(look: Look, ids: Collection[str]) -> list[int]:
    """The spans that may have one of these reply ids."""
    return _found(look, of_texts(REPLY, ids))


def strings(look: Look, texts: Collection[str]) -> dict[str, int]:
    """String -> its number; those that are not there are left out."""
    return _same(look, "strings", "text", texts, _found(look, of_texts(STRING, texts)))


def number_of(look: Look, text: str) -> int | None:
    """The number of a string; None when nothing of that day has it."""
    wanted = clean(text)
    return strings(look, [wanted]).get(wanted)


def of_sessions(look: Look, numbers: Collection[int]) -> list[int]:
    """The traces that may be of one of these sessions."""
    return _found(look, of_numbers(SESSION, numbers))


def of_users(look: Look, numbers: Collection[int]) -> list[int]:
    """The traces that may be of one of these users."""
    return _found(look, of_numbers(USER, numbers))


def beginning(look: Look, digits: str) -> Iterable[list[int]]:
    """The traces whose ids may begin so, in portions."""
    known = digits[:8]
    low, high = int(known.ljust(8, "0"), 16), int(known.ljust(8, "f"), 16)
    return runs.between(look, low << 29, (high << 29) | ((1 << 29) - 1))


def literal(numbers: Iterable[int]) -> str:
    """Numbers for `IN (...)`, however many."""
    return ",".join(map(str, sorted(set(numbers))))


def write_anew(change: Change) -> None:
    """Make the runs of a day from its rows, for instance when some were taken out."""
    runs.clear(change)
    learnt = Learnt()
    named = change.rows("SELECT id, trace, user_id, session_id FROM traces")
    learnt.add(of_traces([bytes(row[1]) for row in named]), [row[0] for row in named])
    for kind, at in ((USER, 2), (SESSION, 3)):
        told = [row for row in named if row[at] is not None]
        learnt.add(of_numbers(kind, (row[at] for row in told)), [row[0] for row in told])
    for kind, sql in (
        (REPLY, "SELECT id, response_id FROM spans WHERE response_id IS NOT NULL"),
        (STRING, "SELECT id, text FROM strings"),
    ):
        rows = change.rows(sql)
        learnt.add(of_texts(kind, (row[1] for row in rows)), [row[0] for row in rows])
    learnt.write(change)


def _found(look: Look, keys: Keys) -> list[int]:
    found: list[int] = runs.find(look, np.unique(keys))[1].tolist()
    return found


def _same(look: Look, table: str, column: str, wanted: Collection[T], numbers: Sequence[int]) -> dict[T, int]:
    found: dict[T, int] = {}
    for chunk in chunks(numbers):
        found.update(look.rows(f"SELECT {column}, id FROM {table} WHERE id IN ({literal(chunk)})"))
    return {value: found[value] for value in wanted if value in found}
