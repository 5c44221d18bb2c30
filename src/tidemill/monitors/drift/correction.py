"""One p-value for each of many tests on the same rows, so that a whole report errs with probability alpha."""

import numpy as np

from tidemill.monitors.drift.permutations import Numbers


def adjusted(statistics: Numbers, weights: Numbers) -> Numbers:
    """P-values (tests,) corrected for their number, from statistics (tests, labellings), the true labelling first.

    Westfall and Young's step-down minimum-p (Resampling-Based Multiple Testing, 1993, algorithm 2.8). Like Holm it
    bounds the chance of any false alarm by alpha. Unlike Holm it knows from the shared labellings how much the tests
    say the same, so twelve tests of one text do not cost a factor of twelve. A test gets of alpha as its share of the
    `weights` (tests,): each p-value is divided by its weight, the true one and those of chance alike (Genovese, Roeder,
    Wasserman, False Discovery Control with p-Value Weighting, 2006). The weights must not depend on the data.
    """
    tests, count = statistics.shape
    if tests == 0:
        return np.zeros(0)
    chance = np.stack([_p_of_each(row) for row in statistics]) / weights[:, None]
    order = np.argsort(chance[:, 0], kind="stable")
    # For each labelling the least p among the tests from this place of the order to its end.
    least = np.minimum.accumulate(chance[order][::-1], axis=0)[::-1]
    stepped = (least <= chance[order, :1] + 1e-12).sum(axis=1) / count
    out = np.empty(tests)
    out[order] = np.maximum.accumulate(stepped)
    return out


def _p_of_each(row: Numbers) -> Numbers:
    """For each labelling the share of labellings with a statistic at least as large."""
    rounded = np.round(row, 9)
    ascending = np.sort(rounded)
    return (len(row) - np.searchsorted(ascending, rounded, side="left")) / len(row)
