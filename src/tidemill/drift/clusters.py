"""Groups of similar texts: which of them grew or shrank, what they are about, and who sends them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.drift.descriptors import Groups
from tidemill.stats.permutation import Labellings
from tidemill.stats.two_sample import share_changes

ROUNDS = 25
STARTS = 3
MOST = 12
ROWS_EACH = 40
"""About so many rows a group on average: with fewer their shares are mostly noise."""

_WORD = re.compile(r"[^\W\d_][\w'’-]+")


@dataclass(frozen=True)
class Grouping:
    """The group of every row and the middle of every group (groups, width), of length 1."""

    groups: Groups
    middles: NDArray[np.float32]


@dataclass(frozen=True)
class Movement:
    """A group whose share changed by more than chance would move any group."""

    group: int
    share_reference: float
    share_window: float
    change: float
    low: float
    high: float


def grouping(vectors: NDArray[np.float32], seed: int) -> Grouping:
    """k-means on the sphere over both sides together, best of several starts; it does not know which row is whose."""
    count = int(np.clip(len(vectors) // ROWS_EACH, 2, MOST))
    rng = np.random.default_rng(seed)
    best = max((_run(vectors, count, rng) for _ in range(STARTS)), key=lambda found: found[0])
    _, codes, middles = best
    kept = np.unique(codes)
    place = np.searchsorted(kept, codes)
    return Grouping(Groups(place.astype(np.int64), [f"group {n + 1}" for n in range(len(kept))]), middles[kept])


def _run(
    vectors: NDArray[np.float32], count: int, rng: np.random.Generator
) -> tuple[float, NDArray[np.int64], NDArray[np.float32]]:
    middles = _spread(vectors, count, rng)
    codes = np.full(len(vectors), -1)
    for _ in range(ROUNDS):
        likeness = vectors @ middles.T
        found = likeness.argmax(axis=1)
        if (found == codes).all():
            break
        codes = found
        belongs = np.eye(count, dtype=np.float32)[codes]
        sums = belongs.T @ vectors
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        middles = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), middles)
    return float(likeness.max(axis=1).sum()), codes, middles


def _spread(vectors: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Starting points far from each other (k-means++, Arthur and Vassilvitskii, 2007)."""
    chosen = [int(rng.integers(len(vectors)))]
    far = np.full(len(vectors), np.inf)
    for _ in range(count - 1):
        far = np.minimum(far, np.maximum(1 - vectors @ vectors[chosen[-1]], 0))
        total = far.sum()
        chosen.append(int(rng.choice(len(vectors), p=far / total) if total > 0 else rng.integers(len(vectors))))
    return vectors[chosen]


def movements(found: Grouping, labels: Labellings, alpha: float) -> list[Movement]:
    """Groups that moved, the largest change first.

    A group is listed when its change is larger than the largest change of any group that chance makes with
    probability alpha. The interval of 95% is the change with the spread of the permutations around it.
    """
    changes = share_changes(found.groups.codes, len(found.groups.names), labels)
    chance = changes[1:]
    bound = float(np.quantile(np.abs(chance).max(axis=1), 1 - alpha))
    spread = chance.std(axis=0)
    window = labels[0] > 0
    shares = [
        np.bincount(found.groups.codes[side], minlength=len(found.groups.names)) / max(int(side.sum()), 1)
        for side in (~window, window)
    ]
    made = [
        Movement(
            group=number,
            share_reference=float(shares[0][number]),
            share_window=float(shares[1][number]),
            change=float(changes[0, number]),
            low=float(changes[0, number] - 1.96 * spread[number]),
            high=float(changes[0, number] + 1.96 * spread[number]),
        )
        for number in range(len(found.groups.names))
        if abs(changes[0, number]) > bound
    ]
    return sorted(made, key=lambda m: -abs(m.change))


def terms(texts: Sequence[str], inside: NDArray[np.bool_], count: int = 5) -> list[str]:
    """Words that stand in this group's texts much more than in the others, most telling first.

    By the log-odds of a row holding the word, smoothed by one row each way, weighted by how many rows hold it.
    """
    here, there = Counter[str](), Counter[str]()
    for text, belongs in zip(texts, inside, strict=True):
        (here if belongs else there).update({word.casefold() for word in _WORD.findall(text)})
    rows, others = int(inside.sum()), int((~inside).sum())

    def weight(word: str) -> float:
        odds = (here[word] + 1) / (rows - here[word] + 1)
        against = (there[word] + 1) / (others - there[word] + 1)
        return float(np.log(odds / against) * np.sqrt(here[word]))

    telling = [word for word in here if here[word] >= 2 and weight(word) > 0]
    return sorted(telling, key=lambda word: (-weight(word), word))[:count]


def nearest(
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    middle: NDArray[np.float32],
    among: NDArray[np.bool_],
    count: int,
) -> list[int]:
    """The rows `among` with different texts which lie nearest to the middle."""
    places = np.flatnonzero(among)
    closest = places[np.argsort(-(vectors[places] @ middle), kind="stable")]
    different = {texts[place]: int(place) for place in closest[::-1]}
    return sorted(different.values(), key=lambda place: -float(vectors[place] @ middle))[:count]


def largest_share(users: Sequence[str | None], among: NDArray[np.bool_]) -> float | None:
    """The share of the rows `among` that the busiest user sent; None when fewer than two users are known at all."""
    if len({user for user in users if user is not None}) < 2:
        return None
    known = [user for user, wanted in zip(users, among, strict=True) if wanted and user is not None]
    return Counter(known).most_common(1)[0][1] / len(known) if known else None
