"""Two-sample permutation tests: the labellings that chance could have made, and the p values they give.

Under the hypothesis of no change it does not matter which rows are called window and which reference. A labelling is
a row of 0 (reference) and 1 (window); the first is the true one. Every statistic is computed for all labellings at
once, and all tests of a report use the same labellings, so that their p values can be corrected jointly.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labellings = NDArray[np.float32]
"""Shape (1 + permutations, rows): 1 for window, 0 for reference; the true labelling first."""


def draw_labellings(window: NDArray[np.bool_], units: NDArray[np.int64], times: int, seed: int) -> Labellings:
    """Return the true labelling and `times` random ones, shape (1 + times, rows).

    `units` (rows,) numbers the independent groups of rows: a unit changes sides as a whole. Units are drawn into the
    window in random order until it has about as many rows as the true one; with units of one row it has exactly as
    many (Good, Permutation, Parametric and Bootstrap Tests, 2005, chapter 3; Winkler et al., NeuroImage 2015, on
    exchangeability blocks).
    """
    _, index = np.unique(units, return_inverse=True)
    sizes = np.bincount(index).astype(np.float32)
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random((times, len(sizes)), dtype=np.float32), axis=1)
    drawn_sizes = sizes[order]
    # A unit is in when its middle lies before the window's number of rows.
    inside = np.cumsum(drawn_sizes, axis=1) - drawn_sizes / 2 < float(window.sum())
    chosen = np.empty(inside.shape, dtype=np.float32)
    np.put_along_axis(chosen, order, inside.astype(np.float32), axis=1)
    return np.concatenate([window.astype(np.float32)[None], chosen[:, index]])


def mean_difference_weights(labellings: Labellings) -> Labellings:
    """Return 1/m for each of the m rows of the window and -1/n for each of the n of the reference.

    Their product with values is the difference of the two means. A labelling that leaves a side empty gets zeros: it
    shows no difference.
    """
    inside = labellings.sum(axis=1, keepdims=True)
    outside = labellings.shape[1] - inside
    weights = labellings / np.maximum(inside, 1) - (1 - labellings) / np.maximum(outside, 1)
    weights[((inside == 0) | (outside == 0))[:, 0]] = 0
    rounded: Labellings = weights.astype(np.float32)
    return rounded


def p_value(statistics: Floats) -> float:
    """Return the share of labellings whose statistic is at least the true one's, itself among them: never zero."""
    return float((statistics >= statistics[0] - 1e-9).mean())


def westfall_young(statistics: Floats, weights: Floats) -> Floats:
    """Return adjusted p values (tests,) from statistics (tests, labellings), the true labelling first.

    Westfall and Young's step-down minimum-p (Resampling-Based Multiple Testing, 1993, algorithm 2.8). Like Holm it
    bounds the chance of any false alarm by alpha. Unlike Holm it knows from the shared labellings how much the tests
    say the same, so twelve tests of one text do not cost a factor of twelve. A test gets of alpha as its share of the
    `weights` (tests,): each p value is divided by its weight, the true one and those of chance alike (Genovese, Roeder,
    Wasserman, False Discovery Control with p-Value Weighting, 2006). The weights must not depend on the data.
    """
    tests, count = statistics.shape
    if tests == 0:
        return np.zeros(0)
    p_values = np.stack([_p_of_each(row) for row in statistics]) / weights[:, None]
    order = np.argsort(p_values[:, 0], kind="stable")
    # For each labelling the least p among the tests from this place of the order to its end.
    least = np.minimum.accumulate(p_values[order][::-1], axis=0)[::-1]
    stepped = (least <= p_values[order, :1] + 1e-12).sum(axis=1) / count
    adjusted = np.empty(tests)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


def _p_of_each(row: Floats) -> Floats:
    """Return for each labelling the share of labellings with a statistic at least as large."""
    rounded = np.round(row, 9)
    ascending = np.sort(rounded)
    return (len(row) - np.searchsorted(ascending, rounded, side="left")) / len(row)
