"""Which rows belong together: equal keys, equal text, nearly equal text."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tidemill.data.shingles import I64, U64, Shingles, jaccard, mix, shingle

Signatures = npt.NDArray[np.uint8]
PERMUTATIONS = 128
SEED = 42
_RECALL = 0.995
_MANY, _PER_SET = 1024, 8
_MAX_CACHED_TOKENS = 2_000_000
_SLACK = 0.12
"""A pair whose signatures agree this much less than the threshold is not compared in full (over 3 standard errors)."""


class DisjointSet:
    """Disjoint sets of rows. The representative of a set is its smallest row."""

    def __init__(self, count: int) -> None:
        self.parent: I64 = np.arange(count, dtype=np.int64)

    def root(self, row: int) -> int:
        """Return the representative of the set that holds `row`."""
        parent = self.parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    def join(self, left: int, right: int) -> None:
        """Make the sets of two rows one."""
        first, second = sorted((self.root(left), self.root(right)))
        self.parent[second] = first

    def roots_of(self, rows: I64) -> I64:
        """Return the representative of each of `rows`."""
        roots = self.parent[rows]
        while True:
            above = self.parent[roots]
            if np.array_equal(above, roots):
                return roots
            roots = above

    def roots(self) -> I64:
        """Return the representative of every row."""
        return self.roots_of(np.arange(len(self.parent)))

    def join_equal(self, keys: U64) -> None:
        """Join rows with the same 128-bit key; a key of zero joins nothing."""
        first = first_of_equal(keys)
        rows = np.flatnonzero((first != np.arange(len(keys))) & keys.any(axis=1))
        for row in rows.tolist():
            self.join(int(first[row]), row)


def first_of_equal(keys: U64) -> I64:
    """Return for each row the first row with the same 128-bit key."""
    if len(keys) == 0:
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    new = np.empty(len(keys), dtype=bool)
    new[0] = True
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    group = np.cumsum(new) - 1
    first = np.empty(len(keys), dtype=np.int64)
    first[order] = order[np.flatnonzero(new)][group]
    return first


def bands_for(threshold: float) -> tuple[int, int]:
    """Return (bands, rows a band): the longest rows that find a pair at the threshold 99.5% of the time."""
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return PERMUTATIONS, 1


@dataclass(frozen=True)
class NearPair:
    """Two near-duplicate rows and their similarity."""

    row: int
    like: int
    similarity: float


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


class MinHashIndex:
    """Finds near-duplicates among many texts with little memory: signatures lie on disk, one band is read at a time.

    `text_of` gives a text back by its row, for the real comparison.
    """

    def __init__(self, folder: Path, *, threshold: float, ngram: int, text_of: Callable[[int], str]) -> None:
        self.threshold = threshold
        self.ngram = ngram
        self.count = 0
        self.bands, self.rows = bands_for(threshold)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Opened for each batch: whatever ends an import early leaves no file open.
        self._files = [folder / f"band{band}" for band in range(self.bands)]
        self._signatures = folder / "signatures"
        for path in (*self._files, self._signatures):
            path.write_bytes(b"")
        self.text_of = text_of
        self._token_cache: dict[int, U64] = {}
        self._cached_tokens = 0

    def add(self, texts: list[str], keys: U64 | None = None) -> None:
        """Add the texts of the next rows. Rows with different `keys` are never candidates for each other."""
        if not texts:
            return
        shingles = shingle(texts, self.ngram)
        signatures = signature_matrix(shingles)
        for band, path in enumerate(self._files):
            words = signatures[:, band * self.rows : (band + 1) * self.rows].astype(np.uint64)
            hashes = _fold(words)
            _append(path, (hashes if keys is None else mix(hashes ^ keys)).tobytes())
        _append(self._signatures, (signatures & 0xFF).astype(np.uint8).tobytes())
        self.count += len(texts)

    def runs(self) -> Iterator[tuple[I64, Signatures]]:
        """Yield candidates: rows that share a band, in row order, with the signatures of all rows."""
        if self.count == 0:
            return
        shape = (self.count, PERMUTATIONS)
        mapped = np.memmap(self._signatures, dtype=np.uint8, mode="r", shape=shape)
        signatures = mapped.view(np.ndarray)  # the subclass makes every row slow to take
        for band in range(self.bands):
            hashes = np.fromfile(self._files[band], dtype=np.uint64)
            for rows in _equal_runs(hashes):
                yield rows, signatures

    def likely(self, row: int, others: I64, signatures: Signatures) -> list[int]:
        """Return those of `others` whose signatures say that they may be near-duplicates of `row`."""
        agreeing = (signatures[others] == signatures[row]).mean(axis=1)
        candidates: list[int] = others[agreeing >= self.threshold - _SLACK].tolist()
        return candidates

    def similarity(self, left: int, right: int) -> float:
        """Return the real Jaccard similarity of two rows."""
        return jaccard(self._tokens(left), self._tokens(right))

    def _tokens(self, row: int) -> U64:
        """Return the tokens of one row, from a cache of bounded size."""
        tokens = self._token_cache.get(row)
        if tokens is None:
            tokens = shingle([self.text_of(row)], self.ngram).of(0)
            if self._cached_tokens > _MAX_CACHED_TOKENS:
                self._token_cache.clear()
                self._cached_tokens = 0
            self._token_cache[row] = tokens
            self._cached_tokens += len(tokens)
        return tokens

    def pairs(self, sets: DisjointSet) -> Iterator[NearPair]:
        """Yield the near-duplicate pairs whose rows are in two sets, and join these. It misses 0.5% of them."""
        for rows, signatures in self.runs():
            yield from self._joining(rows, signatures, sets)

    def _joining(self, rows: I64, signatures: Signatures, sets: DisjointSet) -> Iterator[NearPair]:
        if len(set(sets.roots_of(rows).tolist())) == 1:
            return
        earlier: list[int] = []
        members: Counter[int] = Counter()
        for row in rows.tolist():
            before = np.array(earlier, dtype=np.int64)
            apart = before[sets.roots_of(before) != sets.root(row)]
            for other in self.likely(row, apart, signatures) if len(apart) else ():
                if sets.root(other) == sets.root(row):
                    continue
                similarity = self.similarity(other, row)
                if similarity >= self.threshold:
                    sets.join(other, row)
                    yield NearPair(row, other, similarity)
            # In a run of thousands, comparing with a few rows of each known set is enough and stays fast.
            own = sets.root(row)
            if members[own] < _PER_SET:
                members[own] += 1
                earlier = [*earlier[-_MANY:], row]


def signature_matrix(shingles: Shingles) -> npt.NDArray[np.uint32]:
    """Return MinHash signatures, shape (texts, PERMUTATIONS)."""
    import rensa

    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        shingles.tokens, shingles.offsets.astype(np.uint64), PERMUTATIONS, SEED
    )
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(-1, PERMUTATIONS)


def _fold(words: U64) -> U64:
    folded = np.full(len(words), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for place in range(words.shape[1]):
        folded = mix(folded ^ words[:, place])
    return folded


def _equal_runs(hashes: U64) -> Iterator[I64]:
    """Yield rows with equal hashes, each run in row order."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    edges = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1], [True])))
    for at in np.flatnonzero(np.diff(edges) > 1):
        yield order[edges[at] : edges[at + 1]]
