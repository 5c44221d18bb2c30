"""Maximum mean discrepancy: how far apart two samples lie on average, seen through a kernel.

Gretton, Borgwardt, Rasch, Schölkopf, Smola, A Kernel Two-Sample Test, 2012. It sees any difference of distribution,
also one that a linear classifier cannot use.
"""

import numpy as np
from numpy.typing import NDArray

from tidemill.stats.permutation import Floats, Labellings

KernelMatrix = NDArray[np.float32]
"""Similarity of each row with each (rows, rows)."""


def gaussian_kernel(vectors: NDArray[np.float32]) -> KernelMatrix:
    """Return the Gaussian kernel as wide as the mean squared distance of the pooled rows: narrower ones found less."""
    lengths = (vectors * vectors).sum(axis=1)
    squared = np.maximum(lengths[:, None] + lengths[None] - 2 * (vectors @ vectors.T), 0)
    np.fill_diagonal(squared, 0)
    width = float(squared.mean(dtype=np.float64)) * len(vectors) / max(len(vectors) - 1, 1) or 1.0
    kernel: KernelMatrix = np.exp(squared / np.float32(-width))
    return kernel


def linear_kernel(features: NDArray[np.float32]) -> KernelMatrix:
    """Return the inner product of each row with each."""
    kernel: KernelMatrix = features @ features.T
    return kernel


def combine_kernels(*kernels: KernelMatrix) -> KernelMatrix:
    """Return the sum of kernels, each scaled so that chance moves it as much as the others, diagonal left out.

    What moves in several counts several times, and none drowns the others. Under random labels the variance of MMD
    squared goes with the sum of squares of the centred kernel. A kernel for which all rows are alike says nothing and
    is left out. The sum has spread 1, the mean squared distance of a row from the middle of all: the distance of two
    samples is then in units of that spread.
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


def mmd_squared(kernel: KernelMatrix, labellings: Labellings) -> Floats:
    """Return the unbiased estimate of MMD squared for each labelling. Below zero is as good as zero."""
    inside = labellings.sum(axis=1, dtype=np.float64)
    outside = labellings.shape[1] - inside
    sums = labellings @ kernel
    total = float(kernel.sum(dtype=np.float64))
    within = (sums * labellings).sum(axis=1, dtype=np.float64)
    across = sums.sum(axis=1, dtype=np.float64) - within
    beyond = total - within - 2 * across
    enough = (inside > 1) & (outside > 1)
    m, n = np.where(enough, inside, 2), np.where(enough, outside, 2)
    return np.where(enough, within / (m * (m - 1)) + beyond / (n * (n - 1)) - 2 * across / (m * n), 0.0)
