"""How far apart two samples lie in a number or in the shares of groups, for every labelling of a permutation test."""

import numpy as np
from numpy.typing import NDArray

from tidemill.stats.permutation import Floats, Labellings, mean_difference_weights


def share_changes(codes: NDArray[np.int64], groups: int, labellings: Labellings) -> Floats:
    """Return each group's share in the window less its share in the reference, shape (labellings, groups).

    `codes` (rows,) are group numbers from 0 to `groups` - 1.
    """
    belongs = np.eye(groups, dtype=np.float32)[codes]
    changes: Floats = (mean_difference_weights(labellings) @ belongs).astype(np.float64)
    return changes


def total_variations(codes: NDArray[np.int64], groups: int, labellings: Labellings) -> Floats:
    """Return the total variation distance of the two sides' shares for each labelling: rows that changed group."""
    distances: Floats = np.abs(share_changes(codes, groups, labellings)).sum(axis=1) / 2
    return distances


def ks_distances(values: Floats, labellings: Labellings) -> Floats:
    """Return the Kolmogorov-Smirnov distance for each labelling: the largest gap of the two distribution functions."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    heights = np.cumsum(mean_difference_weights(labellings)[:, order], axis=1, dtype=np.float64)
    ends = np.append(ordered[1:] != ordered[:-1], True)
    distances: Floats = np.abs(heights[:, ends]).max(axis=1)
    return distances
