"""An index in sorted runs: 64-bit keys and the numbers of the rows they stand for.

Trace ids, reply ids and users come in no order. A database keeps such values sorted in its pages, so nearly every new
one touches a page of its own, to be written to the log and to the file: three quarters of all that storing a span
wrote. Here the keys of a commit are one run, a few pages behind each other. When there are FAN runs of a level, they
are merged into one of the next (log-structured merge tree: O'Neil, Cheng, Gawlick, O'Neil 1996), until a run is large
enough to stay.

A key is mostly a hash: whoever finds a row by it compares the row with what was looked for.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.traces.store.days import Change, Look, Row
from tidemill.traces.store.strings import chunks

Keys = NDArray[np.uint64]
Numbers = NDArray[np.uint32]

FAN = 16
"""So many runs of a level become one."""
LARGEST = 1 << 19
"""A run of a FAN-th of so many entries is not merged any more."""
STAYS = 99
"""The level of such a run."""
PART = 330
"""Entries in one part of a run: 12 bytes each, so that a part fits a page of 4 KB."""
_PART_BITS = 24
"""Bits of a part's number that count within its run."""
HELD = 1024
"""Runs whose directories are kept in memory."""

_SPREAD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
"""Odd numbers: the high bits of their products with keys are spread evenly."""
_SET = 7
"""Bits that a key sets in its word of a filter."""


@dataclass(slots=True, eq=False)
class Run:
    """What is known of a run without reading it. It never changes once it is written."""

    id: int
    stamp: int
    level: int
    size: int
    firsts: Keys
    """The first key of each part."""
    filter: Keys | None = None
    """Tells of most keys that the run does not have them: a Bloom filter of words of 64 bits, 16 to 32 bits a key, in
    which all bits of a key are in one word (Putze, Sanders, Singler 2007)."""


class Directories:
    """The runs that were used last. A stamp is drawn by chance: what was rolled back or dropped is never met again."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, Run] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, stamp: int) -> Run | None:
        """The run with this stamp, if it is held."""
        with self._lock:
            run = self._held.get(stamp)
            if run is not None:
                self._held.move_to_end(stamp)
        return run

    def put(self, run: Run) -> None:
        """Hold a run."""
        with self._lock:
            self._held[run.stamp] = run
            while len(self._held) > HELD:
                self._held.popitem(last=False)


def find(look: Look, keys: Keys, *, often: bool = False) -> tuple[Keys, Numbers]:
    """All entries with one of these keys, which are sorted and distinct. `often`: most of them are nowhere, and such
    questions come again, so that filters pay."""
    parts: list[int] = []
    marks = _marks(keys)
    for run in _listed(look) if len(keys) else ():
        if run.filter is None and often:
            run.filter = _filter(_read(look, run)[0])
        asked = keys if run.filter is None else keys[_perhaps(run.filter, *marks)]
        if len(asked):
            parts += _parts_with(run, asked)
    here, numbers = _entries(row for chunk in chunks(parts) for row in _parts(look, chunk))
    places = np.searchsorted(keys, here)
    places[places == len(keys)] = 0
    same = keys[places] == here
    return here[same], numbers[same]


def between(look: Look, low: int, high: int) -> Iterator[list[int]]:
    """The numbers of all keys from `low` to `high`, in portions."""
    ends = np.array([low, high], np.uint64)
    for run in _listed(look):
        first, last = _ends(run, ends[:1], ends[1:])
        for part in range(int(first[0]), int(last[0]) + 1):
            here, numbers = _entries(_parts(look, [(run.id << _PART_BITS) + part]))
            yield numbers[(here >= ends[0]) & (here <= ends[1])].tolist()


def add(change: Change, keys: Keys, numbers: Numbers) -> None:
    """Add entries, in any order."""
    if not len(keys):
        return
    order = np.argsort(keys, kind="stable")
    runs = [*_listed(change), _write(change, 0, keys[order], numbers[order])]
    level = 0
    while len(full := [run for run in runs if run.level == level]) >= FAN:
        runs = [run for run in runs if run.level != level] + [_merged(change, full)]
        level += 1


def clear(change: Change) -> None:
    """Remove every run."""
    change.many("DELETE FROM parts WHERE id >= ?", [(0,)])
    change.many("DELETE FROM runs WHERE id >= ?", [(0,)])


def _listed(look: Look) -> list[Run]:
    """The runs of a snapshot."""
    runs: list[Run] = []
    for number, stamp, level, size in look.rows("SELECT id, stamp, level, size FROM runs ORDER BY id"):
        run = look.directories.get(stamp)
        if run is None:
            firsts = look.rows("SELECT firsts FROM runs WHERE id = ?", (number,))[0][0]
            run = Run(number, stamp, level, size, np.frombuffer(firsts, "<u8"))
            look.directories.put(run)
        runs.append(run)
    return runs


def _write(change: Change, level: int, keys: Keys, numbers: Numbers) -> Run:
    number = int(change.rows("SELECT coalesce(max(id), 0) + 1 FROM runs")[0][0])
    stamp = int.from_bytes(os.urandom(8), "little") >> 1
    run = Run(number, stamp, level, len(keys), keys[::PART].copy(), _filter(keys))
    parts = [
        ((number << _PART_BITS) + part, keys[at : at + PART].tobytes() + numbers[at : at + PART].tobytes())
        for part, at in enumerate(range(0, len(keys), PART))
    ]
    change.insert(
        "runs", ("id", "stamp", "level", "size", "firsts"), [(number, stamp, level, run.size, run.firsts.tobytes())]
    )
    change.insert("parts", ("id", "data"), parts)
    change.directories.put(run)
    return run


def _merged(change: Change, runs: Sequence[Run]) -> Run:
    """One run in the place of these."""
    held = [_read(change, run) for run in runs]
    keys, numbers = np.concatenate([k for k, _ in held]), np.concatenate([n for _, n in held])
    order = np.argsort(keys, kind="stable")  # which merges what is sorted already
    level = STAYS if len(keys) >= LARGEST // FAN else runs[0].level + 1
    made = _write(change, level, keys[order], numbers[order])
    change.many("DELETE FROM parts WHERE id >= ? AND id < ?", [_ids(run) for run in runs])
    change.many("DELETE FROM runs WHERE id = ?", [(run.id,) for run in runs])
    return made


def _read(look: Look, run: Run) -> tuple[Keys, Numbers]:
    """All entries of a run."""
    return _entries(look.rows("SELECT data FROM parts WHERE id >= ? AND id < ? ORDER BY id", _ids(run)))


def _ids(run: Run) -> tuple[int, int]:
    """The id of the first part, and the one behind the last."""
    return run.id << _PART_BITS, (run.id + 1) << _PART_BITS


def _parts(look: Look, numbers: Sequence[int]) -> list[Row]:
    return look.rows(f"SELECT data FROM parts WHERE id IN ({','.join('?' * len(numbers))}) ORDER BY id", numbers)


def _entries(parts: Iterable[Row]) -> tuple[Keys, Numbers]:
    keys, numbers = [np.empty(0, np.uint64)], [np.empty(0, np.uint32)]
    for (data,) in parts:
        size = len(data) // 12
        keys.append(np.frombuffer(data, "<u8", size))
        numbers.append(np.frombuffer(data, "<u4", size, size * 8))
    return np.concatenate(keys), np.concatenate(numbers)


def _ends(run: Run, low: Keys, high: Keys) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and the last part that may have keys from `low` to `high`: equal keys may go on over several parts."""
    first = np.maximum(np.searchsorted(run.firsts, low, "left") - 1, 0)
    return first, np.searchsorted(run.firsts, high, "right") - 1


def _parts_with(run: Run, keys: Keys) -> list[int]:
    """The parts that may have these keys."""
    pairs = zip(*(ends.tolist() for ends in _ends(run, keys, keys)), strict=True)
    return sorted({(run.id << _PART_BITS) + part for first, last in pairs for part in range(first, last + 1)})


def _marks(keys: Keys) -> tuple[Keys, Keys]:
    """For each key what tells its word in a filter, and its bits in that word."""
    mixed, bits = keys * _MIX, np.zeros(len(keys), np.uint64)
    for at in range(_SET):
        bits |= np.uint64(1) << ((mixed >> np.uint64(58 - 6 * at)) & np.uint64(63))
    return keys * _SPREAD, bits


def _filter(keys: Keys) -> Keys:
    width = max((len(keys) - 1).bit_length() - 2, 1)
    words = np.zeros(1 << width, np.uint64)
    spread, bits = _marks(keys)
    np.bitwise_or.at(words, spread >> np.uint64(64 - width), bits)
    return words


def _perhaps(words: Keys, spread: Keys, bits: Keys) -> NDArray[np.bool_]:
    """Which keys the run of a filter may have."""
    found: NDArray[np.bool_] = (words[spread >> np.uint64(65 - len(words).bit_length())] & bits) == bits
    return found
