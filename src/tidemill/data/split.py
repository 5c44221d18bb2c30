"""Dividing rows so that no cluster is in two splits, label shares stay alike, and a seed decides all."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tidemill.data.shingles import I64, U64, mix
from tidemill.data.types import SplitClassEmpty, SplitEmpty, SplitInvalid, SplitSpec

UNASSIGNED = -1
"""A row that no split may hold: in a split by time, a later row of a cluster that begins in an earlier split."""

_MANY_CLASSES = 10
"""With fewer classes, those of one row are rare and not ids."""

SplitIndices = npt.NDArray[np.int64]


def assign(
    spec: SplitSpec,
    *,
    clusters: I64,
    digests: U64,
    labels: I64 | None = None,
    times: I64 | None = None,
) -> SplitIndices:
    """Return the index of each row's split, in the order of `spec.ratios`.

    `clusters` gives rows of one cluster the same number, `digests` (one word per row) make the draw independent of
    row order, `labels` are numbers of classes.
    """
    if spec.by == "time":
        return _by_time(spec, clusters, times)
    names, inverse, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    identity = np.full(len(names), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(identity, inverse, digests)
    key = mix(identity ^ mix(np.full(1, spec.seed, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)))
    strata = _majority(inverse, labels, len(names)) if spec.stratify and labels is not None else np.zeros_like(sizes)
    order = np.lexsort((identity, key, -sizes, strata))
    ratios = np.array(list(spec.ratios.values()))
    split_indices = np.empty(len(names), dtype=np.int64)
    edges = np.flatnonzero(np.concatenate(([True], np.diff(strata[order]) != 0, [True])))
    for begin, end in itertools.pairwise(edges.tolist()):
        some = order[begin:end]
        split_indices[some] = _fill(sizes[some], ratios)
    return split_indices[inverse]


def _majority(inverse: I64, labels: I64, count: int) -> I64:
    """Return the most frequent label of each cluster; the smallest on a tie."""
    pairs, counts = np.unique(np.stack([inverse, labels], axis=1), axis=0, return_counts=True)
    order = np.lexsort((-pairs[:, 1], counts, pairs[:, 0]))
    labels_of_clusters = np.zeros(count, dtype=np.int64)
    labels_of_clusters[pairs[order, 0]] = pairs[order, 1]  # the last one written per cluster has the largest count
    return labels_of_clusters


def _fill(sizes: I64, ratios: npt.NDArray[np.float64]) -> SplitIndices:
    """Return the split of each cluster, ordered by falling size: large ones where most is missing, then single rows.

    When there are at least as many clusters as splits, no split stays empty.
    """
    target = ratios * sizes.sum()
    filled = np.zeros(len(ratios))
    split_indices = np.empty(len(sizes), dtype=np.int64)
    large = int((sizes > 1).sum())
    for place in range(large):
        lack = target - filled
        empty = filled == 0
        if len(sizes) - place <= empty.sum():
            lack = np.where(empty, lack + target.sum(), lack)
        best = int(np.argmax(lack))
        split_indices[place] = best
        filled[best] += sizes[place]
    counts = _apportion(len(sizes) - large, target - filled, filled == 0)
    split_indices[large:] = np.repeat(np.arange(len(ratios)), counts)
    return split_indices


def _apportion(count: int, lack: npt.NDArray[np.float64], empty: npt.NDArray[np.bool_]) -> I64:
    """`count` single rows by what each split lacks: largest remainders, but every empty split gets one first."""
    shares = np.zeros(len(lack), dtype=np.int64)
    for place in np.argsort(-lack, kind="stable"):
        if empty[place] and shares.sum() < count:
            shares[place] = 1
    rest = np.maximum(lack - shares, 0)
    remaining = count - int(shares.sum())
    if remaining <= 0:
        return shares
    exact = rest / rest.sum() * remaining if rest.sum() > 0 else np.full(len(lack), remaining / len(lack))
    shares += np.floor(exact).astype(np.int64)
    for place in np.argsort(-(exact - np.floor(exact)), kind="stable")[: count - int(shares.sum())]:
        shares[place] += 1
    return shares


def _by_time(spec: SplitSpec, clusters: I64, times: I64 | None) -> SplitIndices:
    if times is None:
        raise SplitInvalid(
            "A split by time needs the time of every row.", hint="Map it: --map time=COLUMN.", param="split"
        )
    if spec.boundaries is not None:
        cuts = np.array([round(moment.timestamp() * 1_000_000) for moment in spec.boundaries])
    else:
        ordered = np.sort(times)
        shares = np.cumsum(list(spec.ratios.values()))[:-1]
        cuts = ordered[np.minimum((shares * len(ordered)).round().astype(int), len(ordered) - 1)]
    split_indices = np.searchsorted(cuts, times, side="right").astype(np.int64)
    _, inverse = np.unique(clusters, return_inverse=True)
    earliest = np.full(int(inverse.max(initial=-1)) + 1, len(spec.ratios), dtype=np.int64)
    np.minimum.at(earliest, inverse, split_indices)
    # Neither may a later row move back (training would see the future), nor stay (its like was trained on).
    return np.where(split_indices == earliest[inverse], split_indices, UNASSIGNED)


def check(
    spec: SplitSpec,
    split_indices: SplitIndices,
    labels: I64 | None,
    names: Sequence[str],
    *,
    clusters: I64 | None = None,
) -> None:
    """Raise SplitEmpty for a split without rows, SplitClassEmpty for one without rows of some class.

    `clusters`, where given, lets the hint say how many groups of rows there are that stay together.
    """
    for number, split in enumerate(spec.ratios):
        here = split_indices == number
        if not here.any():
            raise SplitEmpty(
                f"The split {split!r} would hold no rows ({int((split_indices != UNASSIGNED).sum())} rows in all).",
                hint="Import more rows, give it a larger ratio, or name fewer splits."
                + (_own_classes(labels) or _together(clusters)),
                param="split",
                details={"split": split},
            )
        if labels is None or spec.allow_empty_classes:
            continue
        counts = np.bincount(labels[here], minlength=len(names))
        lacking = [names[place] for place in np.flatnonzero(counts == 0).tolist()]
        if lacking:
            total = int((labels == names.index(lacking[0])).sum())
            raise SplitClassEmpty(
                f"The split {split!r} would hold no row of the class {lacking[0]!r} ({total} "
                f"row{'s' * (total != 1)} of it in all)"
                + (f", nor of {len(lacking) - 1} more." if len(lacking) > 1 else "."),
                hint="Import more rows of it, merge it with another (`--label rare=other`), name fewer splits, "
                "or accept it with --allow-empty-classes." + (_own_classes(labels) or _together(clusters)),
                param="split",
                details={"split": split, "classes": lacking[:50]},
            )


def _own_classes(labels: I64 | None) -> str:
    """Return the part of a hint that asks whether the label is an id: when most classes have one row."""
    counts = np.unique(labels, return_counts=True)[1] if labels is not None else np.array([])
    if len(counts) < _MANY_CLASSES or (counts == 1).mean() <= 0.5:
        return ""
    return (
        f" Of {len(counts):,} classes {int((counts == 1).sum()):,} have one row: if the label is an id or free text, "
        "map another column, `--map label=COLUMN`, or import without labels, `--schema text`."
    )


def _together(clusters: I64 | None) -> str:
    """Return the part of a hint that tells of rows which never part."""
    groups = 0 if clusters is None else len(np.unique(clusters))
    if clusters is None or groups * 2 > len(clusters):
        return ""
    return (
        f" Nearly equal rows stay in one split, and the {len(clusters)} rows make {groups} "
        f"group{'s' * (groups != 1)}: `near_duplicates` of the split sets how alike that is (null: only equal ones)."
    )
