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

MAX_ROUNDS = 25
STARTS = 3
MAX_CLUSTERS = 12
ROWS_PER_CLUSTER = 40
"""Average rows of a cluster: with fewer, shares are mostly noise."""

_WORD = re.compile(r"[^\W\d_][\w'’-]+")


@dataclass(frozen=True)
class Clustering:
    """The cluster of every row, and the centroid of every cluster (clusters, width) as unit vectors."""

    groups: Groups
    centroids: NDArray[np.float32]


@dataclass(frozen=True)
class ShareShift:
    """A cluster whose share changed by more than chance would change any cluster's."""

    group: int
    share_reference: float
    share_window: float
    change: float
    low: float
    high: float


def cluster_vectors(vectors: NDArray[np.float32], seed: int) -> Clustering:
    """Return the best of several runs of spherical k-means over both samples together."""
    count = int(np.clip(len(vectors) // ROWS_PER_CLUSTER, 2, MAX_CLUSTERS))
    rng = np.random.default_rng(seed)
    best = max((_run_kmeans(vectors, count, rng) for _ in range(STARTS)), key=lambda run: run[0])
    _, codes, centroids = best
    used = np.unique(codes)
    dense_codes = np.searchsorted(used, codes)
    return Clustering(
        Groups(dense_codes.astype(np.int64), [f"group {n + 1}" for n in range(len(used))]), centroids[used]
    )


def _run_kmeans(
    vectors: NDArray[np.float32], count: int, rng: np.random.Generator
) -> tuple[float, NDArray[np.int64], NDArray[np.float32]]:
    centroids = _initial_centroids(vectors, count, rng)
    codes = np.full(len(vectors), -1)
    for _ in range(MAX_ROUNDS):
        similarity = vectors @ centroids.T
        nearest_codes = similarity.argmax(axis=1)
        if (nearest_codes == codes).all():
            break
        codes = nearest_codes
        membership = np.eye(count, dtype=np.float32)[codes]
        sums = membership.T @ vectors
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(norms > 0, sums / np.maximum(norms, 1e-9), centroids)
    return float(similarity.max(axis=1).sum()), codes, centroids


def _initial_centroids(vectors: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Starting points far from each other (k-means++, Arthur and Vassilvitskii, 2007)."""
    chosen = [int(rng.integers(len(vectors)))]
    distances = np.full(len(vectors), np.inf)
    for _ in range(count - 1):
        distances = np.minimum(distances, np.maximum(1 - vectors @ vectors[chosen[-1]], 0))
        total = distances.sum()
        chosen.append(int(rng.choice(len(vectors), p=distances / total) if total > 0 else rng.integers(len(vectors))))
    return vectors[chosen]


def find_shifts(clustering: Clustering, labels: Labellings, alpha: float) -> list[ShareShift]:
    """Return the clusters whose share changed, the largest change first.

    A cluster is listed when its change is larger than the largest change of any cluster that chance makes with
    probability alpha. The interval of 95% is the change with the spread of the permutations around it.
    """
    changes = share_changes(clustering.groups.codes, len(clustering.groups.names), labels)
    permuted = changes[1:]
    bound = float(np.quantile(np.abs(permuted).max(axis=1), 1 - alpha))
    spread = permuted.std(axis=0)
    window = labels[0] > 0
    shares = [
        np.bincount(clustering.groups.codes[side], minlength=len(clustering.groups.names)) / max(int(side.sum()), 1)
        for side in (~window, window)
    ]
    shifts = [
        ShareShift(
            group=number,
            share_reference=float(shares[0][number]),
            share_window=float(shares[1][number]),
            change=float(changes[0, number]),
            # Two shares differ by 1 at most, whatever the spread.
            low=max(-1.0, float(changes[0, number] - 1.96 * spread[number])),
            high=min(1.0, float(changes[0, number] + 1.96 * spread[number])),
        )
        for number in range(len(clustering.groups.names))
        if abs(changes[0, number]) > bound
    ]
    return sorted(shifts, key=lambda m: -abs(m.change))


def find_terms(texts: Sequence[str], inside: NDArray[np.bool_], count: int = 5) -> list[str]:
    """Return words that are much more frequent in this cluster's texts than in the others, most distinctive first.

    By the log-odds of a row holding the word, smoothed by one row each way, weighted by how many rows hold it.
    """
    inside_counts, outside_counts = Counter[str](), Counter[str]()
    for text, in_cluster in zip(texts, inside, strict=True):
        (inside_counts if in_cluster else outside_counts).update({word.casefold() for word in _WORD.findall(text)})
    inside_rows, outside_rows = int(inside.sum()), int((~inside).sum())

    def weight(word: str) -> float:
        inside_odds = (inside_counts[word] + 1) / (inside_rows - inside_counts[word] + 1)
        outside_odds = (outside_counts[word] + 1) / (outside_rows - outside_counts[word] + 1)
        return float(np.log(inside_odds / outside_odds) * np.sqrt(inside_counts[word]))

    candidates = [word for word in inside_counts if inside_counts[word] >= 2 and weight(word) > 0]
    return sorted(candidates, key=lambda word: (-weight(word), word))[:count]


def find_nearest(
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    centroid: NDArray[np.float32],
    candidates: NDArray[np.bool_],
    count: int,
) -> list[int]:
    """Return the indices of the candidate rows nearest to the centroid, with different texts."""
    indices = np.flatnonzero(candidates)
    closest = indices[np.argsort(-(vectors[indices] @ centroid), kind="stable")]
    different = {texts[index]: int(index) for index in closest[::-1]}
    return sorted(different.values(), key=lambda index: -float(vectors[index] @ centroid))[:count]


def largest_user_share(users: Sequence[str | None], candidates: NDArray[np.bool_]) -> float | None:
    """Return the share of the candidate rows that the busiest user sent; None when fewer than two users are known."""
    if len({user for user in users if user is not None}) < 2:
        return None
    senders = [user for user, included in zip(users, candidates, strict=True) if included and user is not None]
    return Counter(senders).most_common(1)[0][1] / len(senders) if senders else None
