"""Maximum mean discrepancy: how far apart the two samples lie on average, seen through a Gaussian kernel.

Gretton, Borgwardt, Rasch, Schölkopf, Smola, A Kernel Two-Sample Test, 2012. It sees any difference of distribution,
also one that a linear classifier cannot use. The kernel is wide: narrower ones lost power on real questions.
"""

import numpy as np
from numpy.typing import NDArray

from tidemill.monitors.drift.permutations import Labellings, Numbers


def kernel(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The Gaussian kernel (rows, rows), as wide as the median distance of the pooled rows, diagonal left out."""
    lengths = (vectors * vectors).sum(axis=1)
    squared = np.maximum(lengths[:, None] + lengths[None] - 2 * (vectors @ vectors.T), 0)
    upper = squared[np.triu_indices(len(vectors), 1)]
    width = float(np.median(upper)) or float(upper.mean()) or 1.0
    made = np.exp(-squared / width)
    np.fill_diagonal(made, 0)
    out: NDArray[np.float32] = made.astype(np.float32)
    return out


def discrepancies(matrix: NDArray[np.float32], labels: Labellings) -> Numbers:
    """The unbiased estimate of MMD squared for each labelling. Below zero is as good as zero."""
    inside = labels.sum(axis=1, dtype=np.float64)
    outside = labels.shape[1] - inside
    seen = labels @ matrix
    total = float(matrix.sum(dtype=np.float64))
    within = (seen * labels).sum(axis=1, dtype=np.float64)
    across = seen.sum(axis=1, dtype=np.float64) - within
    beyond = total - within - 2 * across
    enough = (inside > 1) & (outside > 1)
    m, n = np.where(enough, inside, 2), np.where(enough, outside, 2)
    return np.where(enough, within / (m * (m - 1)) + beyond / (n * (n - 1)) - 2 * across / (m * n), 0.0)
