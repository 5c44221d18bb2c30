"""Items that come in clusters (of one document, user or session): how much less they say than independent ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = Sequence[Any] | NDArray[Any]


def cluster_sizes(clusters: Labels) -> tuple[NDArray[np.intp], Floats]:
    """Return the cluster number of every item, shape (items,), and every cluster's size, shape (clusters,).

    Labels are compared as text.
    """
    _, index = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    return index, np.bincount(index).astype(float)


def degrees_of_freedom(sizes: Floats) -> float:
    """Return the Bell-McCaffrey degrees of freedom of a clustered mean, from the cluster sizes alone.

    With clusters of equal size it is the number of clusters less one. With one cluster it is 0.
    Source: Bell and McCaffrey 2002, Bias Reduction in Standard Errors for Linear Regression with Multi-Stage Samples.
    """
    total = sizes.sum()
    if len(sizes) < 2:
        return 0.0
    scale = 1 / (1 - sizes / total)
    # The contributions of two clusters have covariance (diag(n) - n n' / N) scaled by CR2 on both sides.
    diagonal = scale * (sizes - sizes**2 / total)
    square = np.sqrt(scale) * sizes
    trace = float(diagonal.sum())
    off = float((square @ square) ** 2 - (square**4).sum()) / total**2
    return float(trace**2 / (float((diagonal**2).sum()) + off))


def weighted_mean_size(sizes: Floats) -> float:
    """Return the cluster size that counts in a design effect: the sum of squares over the sum (Kish 1965)."""
    return float((sizes**2).sum() / sizes.sum())


def design_effect(sizes: Floats, icc: float) -> float:
    """Return how much clustering inflates a variance: 1 + (m - 1) icc, with m the size-weighted mean cluster size."""
    return 1 + (weighted_mean_size(sizes) - 1) * icc


def intra_correlation(values: Floats, index: NDArray[np.intp], sizes: Floats) -> float:
    """Return the intra-cluster correlation by analysis of variance, between 0 and 1; 0 when it cannot be seen.

    `values` and `index` have shape (items,), `sizes` (clusters,), as from `cluster_sizes`.
    """
    count, groups = len(values), len(sizes)
    if groups < 2 or groups == count:
        return 0.0
    means = np.bincount(index, weights=values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (groups - 1)
    within = float(((values - means[index]) ** 2).sum()) / (count - groups)
    usual_size = (count - float((sizes**2).sum()) / count) / (groups - 1)
    total = between + (usual_size - 1) * within
    return min(1.0, max(0.0, (between - within) / total)) if total > 0 else 0.0
