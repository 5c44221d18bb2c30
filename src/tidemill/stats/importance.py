"""What old scores say about a new mix of inputs: each old row counts as often as rows like it come now.

Importance weighting under covariate shift (Shimodaira, 2000; Sugiyama, Krauledat, Müller, 2007): the classifier that
tells window from reference gives the ratio of their densities. It holds as long as the answers to a given input are as
good as before, which is exactly what must be measured anew when a model changes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.stats.permutation import Floats

LARGEST_WEIGHT = 20.0
"""No row counts for more than so many average ones: it bounds the harm of a bad estimate."""

PRIOR = 4.0
"""Precision of the slope's prior around 0: sides that are told apart without error would give weights without bound."""

DRAWS = 999


@dataclass(frozen=True)
class ReweightedMean:
    """The mean score before and after weighting, and the 95% interval of the change."""

    rows: int
    effective_rows: float
    before: float
    expected: float
    low: float
    high: float


def density_ratio(predicted: NDArray[np.float32], window: NDArray[np.bool_]) -> Floats:
    """Return weights (rows of the reference,) of mean 1: how much more often such a row comes now.

    The held-out predictions are calibrated by a logistic regression of one slope (Platt, 1999). A slope below zero
    means that the classifier has learnt nothing: all weights are then 1.
    """
    from scipy import special

    spread = float(predicted.std()) or 1.0
    x = (predicted.astype(np.float64) - predicted.mean()) / spread
    slope, shift = 0.0, float(special.logit(np.clip(window.mean(), 1e-6, 1 - 1e-6)))
    for _ in range(30):
        p = special.expit(slope * x + shift)
        spare = p * (1 - p)
        gradient = np.array([((window - p) * x).sum() - PRIOR * slope, (window - p).sum()])
        curve = np.array([[(spare * x * x).sum() + PRIOR, (spare * x).sum()], [(spare * x).sum(), spare.sum() + 1e-9]])
        step = np.linalg.solve(curve, gradient)
        slope, shift = slope + float(step[0]), shift + float(step[1])
        if np.abs(step).max() < 1e-8:
            break
    ratio = np.exp(np.clip(max(slope, 0.0) * x[~window], -20, 20))
    weights: Floats = np.minimum(ratio / ratio.mean(), LARGEST_WEIGHT)
    weights /= weights.mean()
    return weights


def reweighted_mean(scores: Floats, weights: Floats, units: NDArray[np.int64], seed: int) -> ReweightedMean:
    """Return the mean of `scores` as they are and as weighted; the interval is a percentile bootstrap over `units`."""
    _, index = np.unique(units, return_inverse=True)
    count = int(index.max()) + 1
    parts = [np.bincount(index, weights=w, minlength=count) for w in (np.ones(len(scores)), scores, weights)]
    weighted = np.bincount(index, weights=weights * scores, minlength=count)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)
    before = (counts @ parts[1]) / np.maximum(counts @ parts[0], 1e-12)
    after = (counts @ weighted) / np.maximum(counts @ parts[2], 1e-12)
    low, high = np.quantile(after - before, [0.025, 0.975])
    return ReweightedMean(
        rows=len(scores),
        effective_rows=float(weights.sum() ** 2 / (weights**2).sum()),
        before=float(scores.mean()),
        expected=float((weights * scores).sum() / weights.sum()),
        low=float(low),
        high=float(high),
    )
