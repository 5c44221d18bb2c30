"""Labellings that chance could have made, and the p-values they give.

Under «no drift» it does not matter which rows are called window and which reference. A labelling is a row of 0
(reference) and 1 (window); the first is the true one. Every statistic is worked out for all labellings at once, and
all tests of a report use the same labellings, so that their p-values can be corrected jointly.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Labellings = NDArray[np.float32]
"""Shape (1 + permutations, rows): 1 for window, 0 for reference; the true labelling first."""


def labellings(window: NDArray[np.bool_], units: NDArray[np.int64], times: int, seed: int) -> Labellings:
    """The true labelling and `times` random ones.

    `units` (rows,) numbers the independent groups of rows: a unit changes sides as a whole. Units are drawn into the
    window in random order until it has about as many rows as the true one; with units of one row it has exactly as
    many (Good, Permutation, Parametric and Bootstrap Tests, 2005, chapter 3; Winkler et al., NeuroImage 2015, on
    exchangeability blocks).
    """
    _, index = np.unique(units, return_inverse=True)
    sizes = np.bincount(index).astype(np.float32)
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random((times, len(sizes)), dtype=np.float32), axis=1)
    drawn = sizes[order]
    # A unit is in when its middle lies before the wanted number of rows.
    inside = np.cumsum(drawn, axis=1) - drawn / 2 < float(window.sum())
    chosen = np.empty(inside.shape, dtype=np.float32)
    np.put_along_axis(chosen, order, inside.astype(np.float32), axis=1)
    return np.concatenate([window.astype(np.float32)[None], chosen[:, index]])


def weights(labels: Labellings) -> Labellings:
    """1/m for each of the m rows of the window, -1/n for each of the n of the reference: for differences of means.

    A labelling that leaves a side empty gets zeros: it shows no difference.
    """
    inside = labels.sum(axis=1, keepdims=True)
    outside = labels.shape[1] - inside
    made = labels / np.maximum(inside, 1) - (1 - labels) / np.maximum(outside, 1)
    made[((inside == 0) | (outside == 0))[:, 0]] = 0
    out: Labellings = made.astype(np.float32)
    return out


def p_value(statistics: Numbers) -> float:
    """Share of labellings whose statistic is at least the true one, the true one among them: never zero."""
    return float((statistics >= statistics[0] - 1e-9).mean())
