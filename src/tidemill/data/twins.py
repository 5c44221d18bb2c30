"""Rows of two splits that say the same about other numbers, hosts or times: a line of a log and its like.

Two rows with other numbers teach different things, so cleaning keeps both and the split may part them. A model that
has learnt the one has nearly seen the other all the same, so the leak report counts them.
"""

import functools
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tidemill.core.tokens import SPACELESS, tokens
from tidemill.data.groups import MinHashIndex, Signatures
from tidemill.data.shingles import I64, U64, digests
from tidemill.data.types import Leak

SIMILAR = 0.8
"""How alike two templates are that count, where the split declares nothing."""
TEMPLATES = 20_000
CHARS = 4_000_000
"""So many different templates, of so many characters in all, are compared with each other; of more, a fair sample."""
QUERIES = 2_000
"""So many templates of a later split are compared."""
_SEARCH = 0.5
_AGREEING = 0.35
"""Texts whose signatures agree less share too few n-grams for eight words in ten."""
_NGRAM = 5
_CANDIDATES = 16
_LONGEST = 2_000
_AT_ONCE = 250
_EXCERPT = 200
_LEAST_WORDS = 3
_EDGES = r"\s,;()\[\]{}\"'<>|="
_VARIABLE = re.compile(rf"[^{_EDGES}]*(?:\d|[^{_EDGES}.][.@/\\][^{_EDGES}.])[^{_EDGES}]*")
_VARIES = re.compile(r"\d|[^\s.][.@/\\][^\s.]")
_WORD = re.compile(r"[^\W\d_]{2,}")

Booleans = npt.NDArray[np.bool_]


class Twin(NamedTuple):
    """An example: a row's text and the text that it resembles, as templates."""

    text: str
    like: str


class TwinCount(NamedTuple):
    """Which rows of a later split have a twin in an earlier one, and an example."""

    rows: Booleans
    example: Twin | None


def template_of(text: str) -> str:
    """Return a text without what varies: each word with a digit, a path, an address or a host's name is a 0.

    A text that hardly has other words stays as it is, in lower case: 12 is no twin of 15.
    """
    lowered = " ".join(text.lower().split())
    if _VARIES.search(lowered) is None:
        return lowered
    template = _VARIABLE.sub(_mask, lowered)
    words = len(_WORD.findall(template)) if SPACELESS.search(template) is None else len(SPACELESS.findall(template))
    return template if words >= _LEAST_WORDS else lowered


def _mask(match: re.Match[str]) -> str:
    text = match.group()
    return re.sub(r"\d+", "0", text) if SPACELESS.search(text) else "0"


class TwinIndex:
    """The templates of all rows: a digest of each row's, and the texts of a bounded sample."""

    def __init__(self, folder: Path, threshold: float) -> None:
        self.folder = folder
        self.threshold = threshold
        self.distinct = 0
        self._parts: list[U64] = []
        self._texts: dict[int, str] = {}
        self._chars = 0
        self._limit: int | None = None

    def add(self, texts: Iterable[str]) -> None:
        """Add the texts of the next rows."""
        templates = [template_of(text) for text in texts]
        keys = digests([template.encode("utf-8", "surrogatepass") for template in templates])
        self._parts.append(keys)
        for key, template in zip(keys[:, 0].tolist(), templates, strict=True):
            if (self._limit is None or key <= self._limit) and key not in self._texts:
                self._texts[key] = template[:_LONGEST]
                self._chars += min(len(template), _LONGEST)
                if len(self._texts) > 2 * TEMPLATES or self._chars > 2 * CHARS:
                    self._halve()

    def _halve(self) -> None:
        # The smallest digests stay: no row is preferred for its place.
        while len(self._texts) > TEMPLATES or self._chars > CHARS:
            self._texts = {key: self._texts[key] for key in heapq.nsmallest(len(self._texts) // 2, self._texts)}
            self._chars = sum(map(len, self._texts.values()))
        self._limit = max(self._texts, default=None)

    @property
    def keys(self) -> U64:
        """Return one digest per row, of two words: equal where the templates are."""
        return np.concatenate(self._parts) if self._parts else np.zeros((0, 2), dtype=np.uint64)

    def find(self, split_indices: I64, splits: int) -> tuple[dict[tuple[int, int], TwinCount], bool]:
        """Return the twins of every (later, earlier) split, and whether all were searched for (else there may be more).

        Equal templates are always found; similar ones, at least `threshold` alike, among a bounded sample.
        """
        keys = self.keys[:, 0]
        distinct, inverse = np.unique(keys, return_inverse=True)
        present = np.zeros((splits, len(distinct)), dtype=bool)
        placed = split_indices >= 0
        present[split_indices[placed], inverse[placed]] = True
        likeness = {(late, early): present[late] & present[early] for late in range(splits) for early in range(late)}
        similar, complete = self._similar(distinct, present, likeness)
        counts = {}
        for (late, early), equal in likeness.items():
            example = similar.get((late, early))
            if example is None and equal.any():
                text = self._texts.get(int(distinct[np.flatnonzero(equal)[0]]))
                example = Twin(text, text) if text is not None else None
            counts[late, early] = TwinCount(equal[inverse] & (split_indices == late), example)
        return counts, complete

    def _similar(
        self, distinct: U64, present: Booleans, likeness: dict[tuple[int, int], Booleans]
    ) -> tuple[dict[tuple[int, int], Twin], bool]:
        """Mark in `likeness` the templates that resemble one of the earlier split; return an example of each pair."""
        sample = np.flatnonzero(np.isin(distinct, np.array(sorted(self._texts), dtype=np.uint64)))[:TEMPLATES]
        texts = _without_prefix([self._texts[int(distinct[n])] for n in sample.tolist()])
        queries, complete = _queries(sample, present, likeness)
        examples: dict[tuple[int, int], Twin] = {}
        if not queries or len(texts) < 2:
            return examples, complete and len(sample) == len(distinct)
        index = MinHashIndex(self.folder, threshold=_SEARCH, ngram=_NGRAM, text_of=texts.__getitem__)
        for start in range(0, len(texts), _AT_ONCE):  # the n-grams of all at once take much memory
            index.add(texts[start : start + _AT_ONCE])
        for rows, signatures in index.runs():
            for row in rows.tolist():
                for pair in [p for p in queries.get(row, ()) if not likeness[p][sample[row]]]:
                    others = rows[present[pair[1], sample[rows]] & (rows != row)]
                    like = self._nearest(row, others, signatures, index, texts)
                    if like is not None:
                        likeness[pair][sample[row]] = True
                        examples.setdefault(pair, Twin(texts[row], texts[like]))
        return examples, complete and len(sample) == len(distinct)

    def _nearest(
        self, row: int, others: I64, signatures: Signatures, index: MinHashIndex, texts: Sequence[str]
    ) -> int | None:
        if not len(others):
            return None
        agreeing = (signatures[others] == signatures[row]).mean(axis=1)
        best = np.argsort(-agreeing, kind="stable")[:_CANDIDATES]
        for other in others[best[agreeing[best] >= _AGREEING]].tolist():
            if max(index.similarity(other, row), _shared_words(texts[other], texts[row])) >= self.threshold:
                return int(other)
        return None


def _queries(
    sample: I64, present: Booleans, likeness: dict[tuple[int, int], Booleans]
) -> tuple[dict[int, list[tuple[int, int]]], bool]:
    """Return the pairs of splits to search for by the row of the sample, and whether these are all."""
    queries: dict[int, list[tuple[int, int]]] = {}
    complete = True
    for (late, early), equal in likeness.items():
        open_rows = np.flatnonzero(present[late, sample] & ~equal[sample])
        complete = complete and len(open_rows) <= QUERIES
        for row in open_rows[:QUERIES].tolist():
            queries.setdefault(row, []).append((late, early))
    return queries, complete


def _without_prefix(texts: list[str]) -> list[str]:
    """Return the texts without what all begin with, such as a system prompt: it says nothing about likeness."""
    first, last = (min(texts), max(texts)) if len(texts) > 1 else ("", "")
    pairs = enumerate(zip(first, last, strict=False))
    length = next((n for n, (left, right) in pairs if left != right), min(len(first), len(last)))
    return [text[length:] or text for text in texts]


def _shared_words(left: str, right: str) -> float:
    """Return Dice's coefficient of the words, each as often as it occurs."""
    words, others = _count_words(left), _count_words(right)
    count = sum(words.values()) + sum(others.values())
    return 2 * sum((words & others).values()) / count if count else 0.0


@functools.lru_cache(maxsize=64)
def _count_words(text: str) -> Counter[str]:
    return Counter(tokens(text))


def count_twins(
    leaks: list[Leak], names: list[str], split_indices: I64, twins: TwinIndex | None
) -> tuple[list[Leak], bool]:
    """Return the leaks with the twins between their splits, and whether these are all."""
    if twins is None:
        return leaks, True
    counts, complete = twins.find(split_indices, len(names))
    count_of = {(names[late], names[early]): count for (late, early), count in counts.items()}
    return [
        leak.model_copy(
            update={
                "twins": int((count := count_of[leak.split, leak.against]).rows.sum()) - leak.exact - leak.near,
                "twin_example": [_excerpt(text) for text in count.example or ()],
            }
        )
        for leak in leaks
    ], complete


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"
