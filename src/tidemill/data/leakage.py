"""Does a split leak: how many of its rows stand, exactly or nearly, in an earlier split?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tidemill.data.groups import MinHashIndex, Signatures, first_of_equal
from tidemill.data.shingles import I64, U64, digests
from tidemill.data.types import Leak

_RUN = 4096


def find_leaks(names: Sequence[str], split_indices: I64, keys: U64, near: MinHashIndex | None = None) -> list[Leak]:
    """Return the leakage between every two splits.

    `split_indices` gives each row's split as an index into `names` (negative: in none), `keys` one 128-bit digest of
    its input; `near`, when given, holds the same rows. The check looks
    at the rows alone: it does not know how they were assigned.
    """
    first = first_of_equal(keys)
    exact = {
        (late, early): _find_exact(split_indices, first, late, early)
        for late in range(len(names))
        for early in range(late)
    }
    close: dict[tuple[int, int], set[int]] = {pair: set() for pair in exact}
    if near is not None:
        for rows, signatures in near.runs():
            _add_near(rows[:_RUN], signatures, split_indices, near, close)
    return [
        Leak(
            split=names[late],
            against=names[early],
            rows=int((split_indices == late).sum()),
            exact=len(rows),
            near=len(close[late, early] - rows),
        )
        for (late, early), rows in exact.items()
    ]


def _find_exact(split_indices: I64, first: I64, late: int, early: int) -> set[int]:
    there = np.zeros(len(split_indices), dtype=bool)
    there[first[split_indices == early]] = True
    rows = np.flatnonzero(split_indices == late)
    return set(rows[there[first[rows]]].tolist())


def _add_near(
    rows: I64,
    signatures: Signatures,
    split_indices: I64,
    near: MinHashIndex,
    close: dict[tuple[int, int], set[int]],
) -> None:
    here = split_indices[rows]
    if len(set(here[here >= 0].tolist())) < 2:
        return
    for (late, early), close_rows in close.items():
        against = rows[here == early]
        if not len(against):
            continue
        for row in rows[here == late].tolist():
            if row in close_rows:
                continue
            likely = near.likely(row, against, signatures)
            if any(near.similarity(other, row) >= near.threshold for other in likely):
                close_rows.add(row)


def find_leaks_of_texts(
    splits: dict[str, list[str]], folder: Path | None = None, *, threshold: float = 0.8, ngram: int = 5
) -> list[Leak]:
    """Return the leakage between lists of texts. Near-duplicates are searched when `folder` has room for an index."""
    texts = [text for some in splits.values() for text in some]
    split_indices = np.repeat(np.arange(len(splits)), [len(some) for some in splits.values()])
    keys = digests([text.encode() for text in texts])
    near = None
    if folder is not None:
        near = MinHashIndex(folder, threshold=threshold, ngram=ngram, text_of=texts.__getitem__)
        near.add(texts)
    return find_leaks(list(splits), split_indices, keys, near)


def find_leaking_texts(
    texts: Sequence[str], against: Sequence[str], folder: Path, *, threshold: float = 0.8, ngram: int = 5
) -> list[bool]:
    """Return for each text whether it occurs in `against`, exactly or with a Jaccard similarity from `threshold` on."""
    every = [*against, *texts]
    split_indices = np.repeat(np.arange(2), [len(against), len(texts)])
    near = MinHashIndex(folder, threshold=threshold, ngram=ngram, text_of=every.__getitem__)
    near.add(every)
    first = first_of_equal(digests([text.encode() for text in every]))
    close: dict[tuple[int, int], set[int]] = {(1, 0): _find_exact(split_indices, first, 1, 0)}
    for rows, signatures in near.runs():
        _add_near(rows[:_RUN], signatures, split_indices, near, close)
    return [row in close[1, 0] for row in range(len(against), len(every))]


def find_uncleaned_leaks(ratios: dict[str, float], raw: U64, seed: int) -> list[Leak]:
    """Return the exact leaks of a random split of the uncleaned rows."""
    order = np.random.default_rng(seed).permutation(len(raw))
    cuts = (np.cumsum(list(ratios.values()))[:-1] * len(raw)).round()
    split_indices = np.empty(len(raw), dtype=np.int64)
    split_indices[order] = np.searchsorted(cuts, np.arange(len(raw)), side="right")
    return find_leaks(list(ratios), split_indices, raw)
