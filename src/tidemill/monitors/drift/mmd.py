"""Maximum mean discrepancy: how far apart the two samples lie on average, seen through a kernel.

Gretton, Borgwardt, Rasch, Schölkopf, Smola, A Kernel Two-Sample Test, 2012. It sees any difference of distribution,
also one that a linear classifier cannot use. The kernel is the sum of one of meaning and one of wording, each divided
by how much chance moves it: what moves in both counts twice, and neither drowns the other.
"""

import numpy as np
from numpy.typing import NDArray

from tidemill.monitors.drift.permutations import Labellings, Numbers

Kernel = NDArray[np.float32]
"""Likeness of each row with each (rows, rows)."""


def meaning(vectors: NDArray[np.float32]) -> Kernel:
    """The Gaussian kernel, as wide as the mean squared distance of the pooled rows: narrower ones found less."""
    lengths = (vectors * vectors).sum(axis=1)
    squared = np.maximum(lengths[:, None] + lengths[None] - 2 * (vectors @ vectors.T), 0)
    np.fill_diagonal(squared, 0)
    width = float(squared.mean(dtype=np.float64)) * len(vectors) / max(len(vectors) - 1, 1) or 1.0
    made: Kernel = np.exp(squared / np.float32(-width))
    return made


def wording(features: NDArray[np.float32]) -> Kernel:
    """The linear kernel of the shared terms."""
    made: Kernel = features @ features.T
    return made


def joint(*kernels: Kernel) -> Kernel:
    """The sum of kernels, each scaled so that chance moves it as much as the others, diagonal left out.

    Under random labels the variance of MMD squared goes with the sum of squares of the centred kernel. A kernel for
    which all rows are alike says nothing and is left out. The sum has spread 1, the mean squared distance of a row from
    the middle of all: the distance of two samples is then in units of that spread.
    """
    total = np.zeros_like(kernels[0])
    spread = 0.0
    for kernel in kernels:
        rows = len(kernel)
        sums = kernel.sum(axis=1, dtype=np.float64)
        everything = float(sums.sum())
        squares = float(np.einsum("ij,ij->", kernel, kernel, dtype=np.float64))
        moved = squares - 2 * float((sums**2).sum()) / rows + (everything / rows) ** 2
        if moved <= 1e-9 * max(squares, 1e-30):
            continue
        total += kernel / np.float32(moved**0.5)
        spread += (float(np.trace(kernel)) - everything / rows) / rows / moved**0.5
    if spread > 0:
        total /= np.float32(spread)
    np.fill_diagonal(total, 0)
    return total


def discrepancies(matrix: Kernel, labels: Labellings) -> Numbers:
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
