"""The paired, clustered difference between two runs on the same items.

Chosen by simulation (`benchmarks/gate_errors.py`): the cluster-robust t interval with the CR2 correction and Bell-
McCaffrey degrees of freedom keeps its error rate from 12 to 400 clusters, where the interval that ignores clusters is
wrong up to four times as often as it says, and the cluster bootstrap is too narrow at few clusters. For mostly tied
pairs (pass/fail scores) it is a score interval: at each difference in question it takes at least the variance that
this difference would need, because a handful of differences, all one way, says little about its own spread. Nor can
it say how clustered the further differences are, so those are taken to be as clustered as the scores at least.
Sources: Bell and McCaffrey 2002; Pustejovsky and Tipton 2018; Tango 1998 and Bonett and Price 2012 for ties.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.stats.clusters import (
    Floats,
    Labels,
    cluster_sizes,
    degrees_of_freedom,
    design_effect,
    intra_correlation,
)
from tidemill.stats.rates import mcnemar
from tidemill.stats.results import Difference, InsufficientData

FEWEST_PAIRS = 6
FEW_PAIRS = 10
FEW_CLUSTERS = 10
_ENOUGH_DIFFERENCES = 20
_EXACT_CLUSTERS = 13
_SIGN_PATTERNS = 9_999
_SIGNS_AT_ONCE = 1_000_000
_SEED = 20_260_101


@dataclass(frozen=True)
class _Spread:
    """Mean and cluster-robust uncertainty of differences."""

    mean: float
    variance: float
    df: float
    sd: float
    icc: float
    design_effect: float


def _spread(values: Floats, index: NDArray[np.intp], sizes: Floats) -> _Spread:
    count = len(values)
    mean = float(values.mean())
    residual = np.bincount(index, weights=values - mean)
    variance = float((residual**2 / (1 - sizes / count)).sum()) / count**2
    sd = float(values.std(ddof=1))
    simple = sd**2 / count
    return _Spread(
        mean=mean,
        variance=variance,
        df=degrees_of_freedom(sizes),
        sd=sd,
        icc=intra_correlation(values, index, sizes),
        design_effect=variance / simple if simple > 0 else 1.0,
    )


@dataclass(frozen=True)
class _Tied:
    """Mostly tied pairs on the scale of independent pairs."""

    center: float
    square: float
    worths: tuple[float, float]
    design_effect: float


def _mostly_tied(spread: _Spread, values: Floats, alike: float) -> _Tied:
    """Return the pairs with one more in which each side wins (Bonett and Price 2012), as independent pairs.

    Rare differences cannot show how clustered they are: under 20, and under a tenth of the pairs, the design effect
    is at least that of the scores themselves (`alike`).
    """
    effect = max(1.0, spread.design_effect)
    if np.count_nonzero(values) < min(_ENOUGH_DIFFERENCES, len(values) / 10):
        effect = max(effect, alike)
    n_eff = len(values) / effect
    return _Tied(
        center=spread.mean * n_eff / (n_eff + 2),
        square=(float((values**2).mean()) * n_eff + 2) / (n_eff + 2),
        worths=(n_eff + 2, len(values) / max(effect, alike) + 2),
        design_effect=effect,
    )


def _score_se(square: float, worths: tuple[float, float], truth: float) -> float:
    """Return the standard error if the true difference were `truth`: at least |truth| of the pairs must then differ.

    `worths` are the independent pairs up to a difference of `square`, and beyond it.
    """
    worth = worths[int(abs(truth) > square)]
    return sqrt(max(0.0, max(square, abs(truth)) - truth**2) / worth)


def _worths(difference: Difference) -> tuple[float, float]:
    beyond = difference.worth if difference.worth_beyond is None else difference.worth_beyond
    return difference.worth, beyond


def standard_error(difference: Difference, truth: float) -> float:
    """Return the standard error under the hypothesis that the true difference is `truth`."""
    if difference.square is None:
        return difference.se
    return _score_se(difference.square, _worths(difference), truth)


def bounds(difference: Difference, reach: float) -> tuple[float, float]:
    """Return the differences that lie less than `reach` standard errors from the estimate: the lowest, the highest."""
    return _bounds(difference.center, difference.se, difference.square, _worths(difference), reach)


def _bounds(
    center: float, se: float, square: float | None, worths: tuple[float, float], reach: float
) -> tuple[float, float]:
    if square is None:
        return center - reach * se, center + reach * se
    return -_score_bound(-center, square, worths, reach), _score_bound(center, square, worths, reach)


def _score_bound(center: float, square: float, worths: tuple[float, float], reach: float) -> float:
    """Return the largest true difference t with t - center <= reach * `_score_se`(t).

    Squared, it is quadratic in t, once with the mean square as it is and once with |t| in its place where that is more.
    """
    within, beyond = reach**2 / worths[0], reach**2 / worths[1]
    above = _linear_root(center, beyond)
    if above is not None and above > square:
        return above
    scale = 1 + within
    inside = (center + sqrt(max(0.0, center**2 - scale * (center**2 - within * square)))) / scale
    if inside >= -square:
        return min(inside, square)
    below = _linear_root(center, -beyond)
    return -square if below is None else min(below, -square)


def _linear_root(center: float, strength: float) -> float | None:
    """Return the larger t with (t - center) ** 2 = strength * t - |strength| * t ** 2; None without one."""
    scale, linear = 1 + abs(strength), 2 * center + strength
    root = linear**2 - 4 * scale * center**2
    return (linear + sqrt(root)) / (2 * scale) if root >= 0 else None


def sign_flips(sums: NDArray[Any], *, seed: int = _SEED) -> tuple[float, float, float, bool]:
    """Return the p values (two-sided, greater, less) of a permutation test on cluster sums, and whether it is exact.

    `sums` has shape (clusters,). If the two systems do not differ, each cluster's difference is as likely to have the
    other sign, whatever the dependence inside the cluster. Up to 13 clusters that differ, all sign patterns are tried;
    beyond that 9,999 random ones, drawn with `seed`.
    """
    differing = sums[np.abs(sums) > 1e-12]
    count = len(differing)
    if count == 0:
        return 1.0, 1.0, 1.0, True
    exact = count <= _EXACT_CLUSTERS
    flipped = _all_sums(differing) if exact else _random_sums(differing, seed)
    observed, slack = float(differing.sum()), 1e-9 * float(np.abs(differing).sum())
    # Among random patterns the one observed counts as well, so that no p value is 0.
    extra = 0 if exact else 1
    patterns = len(flipped) + extra
    greater = (int((flipped >= observed - slack).sum()) + extra) / patterns
    less = (int((flipped <= observed + slack).sum()) + extra) / patterns
    return min(1.0, 2 * min(greater, less)), greater, less, exact


def _all_sums(sums: NDArray[Any]) -> Floats:
    """Return the sum under every pattern of signs, shape (2 ** clusters,)."""
    bits = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
    total: Floats = (bits * 2.0 - 1) @ sums
    return total


def _random_sums(sums: NDArray[Any], seed: int) -> Floats:
    """Return the sum under random patterns of signs, shape (`_SIGN_PATTERNS`,). Takes some 10 MB, however many."""
    rng = np.random.default_rng(seed)
    rows = max(1, _SIGNS_AT_ONCE // len(sums))
    total = np.empty(_SIGN_PATTERNS)
    for begin in range(0, _SIGN_PATTERNS, rows):
        end = min(begin + rows, _SIGN_PATTERNS)
        bits = rng.integers(0, 2, (end - begin, len(sums)), dtype=np.int8)
        total[begin:end] = (bits * 2.0 - 1) @ sums
    return total


def _wilcoxon(means: NDArray[Any]) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test, in the normal form.

    The variance is the one that the ranks themselves give, so ties need no correction of their own.
    """
    from scipy import special

    differing = means[np.abs(means) > 1e-12]
    if len(differing) < 2:
        return 1.0
    _, group, counts = np.unique(np.round(np.abs(differing), 12), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[group]
    surplus = float((ranks * np.sign(differing)).sum())
    return float(2 * special.ndtr(-abs(surplus) / np.sqrt((ranks**2).sum())))


def _check(baseline: ArrayLike, candidate: ArrayLike, clusters: Labels | None) -> tuple[Floats, Floats, Labels]:
    first, second = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    if first.ndim == 2:
        first = first.mean(axis=1)
    if second.ndim == 2:
        second = second.mean(axis=1)
    labels: Labels = np.arange(len(first)) if clusters is None else clusters
    if not len(first) == len(second) == len(labels):
        raise ValueError(f"{len(first)} baseline, {len(second)} candidate values and {len(labels)} clusters")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a score that is not a number: leave items without an answer out, and count them apart")
    if len(first) < FEWEST_PAIRS:
        raise InsufficientData(
            f"{len(first)} pairs are too few for any verdict.", hint=f"Compare at least {FEWEST_PAIRS} items."
        )
    if len(np.unique(np.asarray(labels).astype(str))) < 2:
        raise InsufficientData(
            "All items are in one cluster, so nothing is known about another one.",
            hint="Evaluate items of several clusters (documents, users, sessions).",
        )
    return first, second, labels


def paired_comparison(
    baseline: ArrayLike,
    candidate: ArrayLike,
    clusters: Labels | None = None,
    *,
    confidence: float = 0.95,
) -> Difference:
    """Return the difference candidate - baseline over paired items, with an interval that respects clusters.

    `baseline` and `candidate` have shape (items,), or (items, repeats) to be averaged within an item, in the metric's
    unit; `clusters` has one label an item, and None means that items are independent. Raises InsufficientData under 6
    items or with one cluster, ValueError for values that are not finite or of other lengths.
    Sources: those of the module.
    """
    first, second, labels = _check(baseline, candidate, clusters)
    index, sizes = cluster_sizes(labels)
    values = second - first
    spread = _spread(values, index, sizes)
    tied = None
    if _is_mostly_tied(values):
        alike = max(intra_correlation(first, index, sizes), intra_correlation(second, index, sizes))
        tied = _mostly_tied(spread, values, design_effect(sizes, alike))
    center, effect = (tied.center, tied.design_effect) if tied else (spread.mean, spread.design_effect)
    square, worths = (tied.square, tied.worths) if tied else (None, (float(len(values)),) * 2)
    se = _score_se(square, worths, center) if square is not None else float(np.sqrt(spread.variance))
    low, high = _bounds(center, se, square, worths, _t_quantile(spread.df, 0.5 + confidence / 2))
    limit = 1.0 if _is_share(first) and _is_share(second) else np.inf
    wins, losses = int((values > 1e-12).sum()), int((values < -1e-12).sum())
    sums = np.bincount(index, weights=values)
    test, both, greater, less = _test(values, sums, wins, losses)
    return Difference(
        n_pairs=len(values),
        n_clusters=len(sizes),
        baseline_mean=float(first.mean()),
        candidate_mean=float(second.mean()),
        delta=spread.mean,
        low=max(-limit, low),
        high=min(limit, high),
        confidence=confidence,
        se=se,
        center=center,
        square=square,
        worth=worths[0],
        worth_beyond=worths[1],
        df=spread.df,
        p_value=both,
        p_greater=greater,
        p_less=less,
        test=test,
        wilcoxon_p=_wilcoxon(sums / sizes),
        effect_size=spread.mean / spread.sd if spread.sd > 0 else None,
        sd=spread.sd,
        wins=wins,
        losses=losses,
        ties=len(values) - wins - losses,
        icc=spread.icc,
        design_effect=effect,
        n_eff=min(float(len(values)), len(values) / effect) if effect > 0 else float(len(values)),
        warnings=_warnings(len(values), len(sizes)),
    )


def _is_mostly_tied(values: Floats) -> bool:
    return float(np.isclose(values, 0).mean()) >= 0.5 and float(np.abs(values).max()) <= 1


def _t_quantile(df: float, share: float) -> float:
    from scipy import special

    return float(special.stdtrit(df, share))


def _test(
    values: Floats, sums: NDArray[Any], wins: int, losses: int
) -> tuple[Literal["mcnemar_exact", "sign_flip_exact", "sign_flip"], float, float, float]:
    """Return the name of the test that fits, and its p values: two-sided, greater, less."""
    if len(sums) == len(values) and bool(np.isin(values, (-1, 0, 1)).all()):
        return "mcnemar_exact", *mcnemar(wins, losses)
    both, greater, less, exact = sign_flips(sums)
    return "sign_flip_exact" if exact else "sign_flip", both, greater, less


def _is_share(values: Floats) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _warnings(pairs: int, clusters: int) -> list[str]:
    if pairs < FEW_PAIRS:
        return [f"Only {pairs} pairs: read the interval as a hint."]
    if clusters < FEW_CLUSTERS:
        return [f"Only {clusters} clusters: {pairs} items tell little more than {clusters} would."]
    return []
