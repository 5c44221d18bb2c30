"""Texts as sets of hashed character n-grams, computed for a whole batch at once."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_SPACE = 32
# ASCII that is neither letter nor digit counts as a space, so that punctuation makes no difference.
_ASCII = np.array([code if chr(code).isalnum() else _SPACE for code in range(128)], dtype=np.uint32)
_BASE = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Shingles:
    """Token hashes of several texts: text `i` has `tokens[offsets[i]:offsets[i + 1]]`, at least one."""

    tokens: U64
    offsets: I64

    def of(self, place: int) -> U64:
        """Return the different tokens of one text, sorted."""
        unique: U64 = np.unique(self.tokens[self.offsets[place] : self.offsets[place + 1]])
        return unique


def shingle(texts: list[str], size: int) -> Shingles:
    """Return hashed n-grams of `size` characters; case is ignored, runs of spaces and punctuation are one space.

    A text shorter than `size` is one token: its whole self.
    """
    codes, starts = _normalise(texts)
    lengths = np.diff(starts)
    counts = np.maximum(lengths - size + 1, 1)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    tokens = np.empty(int(offsets[-1]), dtype=np.uint64)
    short = lengths < size
    if len(codes) >= size:
        windows = _windows(codes, size)
        last = np.repeat(starts[1:], lengths)[: len(windows)] - size
        tokens[np.repeat(~short, counts)] = windows[np.arange(len(windows)) <= last]
    for place in np.flatnonzero(short):
        content = codes[starts[place] : starts[place + 1]].tobytes() or texts[place].encode("utf-8", "surrogatepass")
        tokens[offsets[place]] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return Shingles(tokens, offsets)


def _normalise(texts: list[str]) -> tuple[npt.NDArray[np.uint32], I64]:
    lowered = [text.lower() for text in texts]
    lengths = np.fromiter(map(len, lowered), dtype=np.int64, count=len(lowered))
    codes = np.frombuffer("".join(lowered).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ascii_only = codes < 128
    codes = np.where(ascii_only, _ASCII[np.where(ascii_only, codes, 0)], codes)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    codes, starts = _drop(codes, starts, _extra_spaces(codes, starts))
    ends = starts[1:][np.diff(starts) > 0] - 1
    trailing = np.zeros(len(codes), dtype=bool)
    trailing[ends] = codes[ends] == _SPACE
    return _drop(codes, starts, trailing)


def _extra_spaces(codes: npt.NDArray[np.uint32], starts: I64) -> npt.NDArray[np.bool_]:
    """Spaces after a space, and at the start of a text."""
    space = codes == _SPACE
    after_space = np.empty(len(codes), dtype=bool)
    after_space[1:] = space[:-1]
    after_space[starts[:-1][starts[:-1] < len(codes)]] = True
    extra: npt.NDArray[np.bool_] = space & after_space
    return extra


def _drop(
    codes: npt.NDArray[np.uint32], starts: I64, unwanted: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint32], I64]:
    before = np.concatenate(([0], np.cumsum(unwanted)))
    return codes[~unwanted], starts - before[starts]


def _windows(codes: npt.NDArray[np.uint32], size: int) -> U64:
    """Return a polynomial hash of every window, modulo 2**64, then mixed (splitmix64)."""
    wide = codes.astype(np.uint64)
    count = len(wide) - size + 1
    total = np.zeros(count, dtype=np.uint64)
    for place in range(size):
        total += wide[place : place + count] * np.uint64(pow(_BASE, place + 1, 1 << 64))
    return mix(total)


def mix(values: Any) -> U64:
    """Splitmix64's finaliser: spreads every bit of the input over the output."""
    mixed: U64 = np.asarray(values, dtype=np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def jaccard(left: U64, right: U64) -> float:
    """Return the size of the intersection over the size of the union of two sorted sets."""
    both = len(np.intersect1d(left, right, assume_unique=True))
    either = len(left) + len(right) - both
    return both / either if either else 1.0


def digests(texts: list[bytes]) -> U64:
    """128-bit hashes, one row of two words per text."""
    joined = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts)
    return np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)
