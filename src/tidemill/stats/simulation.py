"""Eval scores with a known truth, to measure how often a verdict is wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PassFailScenario:
    """Two systems scored 0 or 1 on clustered items.

    The intra-cluster correlation is exact: with probability sqrt(icc) an item copies the pair of scores of its
    cluster, otherwise it draws one of its own.
    """

    sizes: NDArray[np.int64]
    discordance: float = 0.2
    delta: float = 0.0
    baseline: float = 0.8
    icc: float = 0.0

    def draw(self, times: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return scores of baseline and candidate, each of shape (times, items)."""
        losses, wins = (self.discordance - self.delta) / 2, (self.discordance + self.delta) / 2
        both = self.baseline - losses
        if min(losses, wins, both, 1 - self.baseline - wins) < -1e-9:
            raise ValueError(f"no world has delta {self.delta}, discordance {self.discordance}, {self.baseline}")
        edges = np.cumsum([wins, losses, both])
        items, groups = int(self.sizes.sum()), len(self.sizes)
        index = np.repeat(np.arange(groups), self.sizes)
        own = np.searchsorted(edges, rng.random((times, items)), side="right")
        shared = np.searchsorted(edges, rng.random((times, groups)), side="right")[:, index]
        kind = np.where(rng.random((times, items)) < np.sqrt(self.icc), shared, own)
        return ((kind == 1) | (kind == 2)).astype(float), ((kind == 0) | (kind == 2)).astype(float)


@dataclass(frozen=True)
class GradedScenario:
    """Two systems with scores on a scale, each with item, cluster and own noise; `icc` is that of the difference."""

    sizes: NDArray[np.int64]
    sd: float = 0.2
    delta: float = 0.0
    icc: float = 0.0

    def draw(self, times: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of baseline and candidate, each of shape (times, items). `sd` is that of the difference."""
        items, groups = int(self.sizes.sum()), len(self.sizes)
        index = np.repeat(np.arange(groups), self.sizes)
        ease = rng.normal(0.6, 0.2, (times, items))
        cluster = rng.normal(0, np.sqrt(self.icc), (times, groups))[:, index]
        own = rng.normal(0, np.sqrt(1 - self.icc), (times, items))
        return ease, ease + self.delta + self.sd * (cluster + own)


def uneven_clusters(items: int, rng: np.random.Generator, largest: int = 8) -> NDArray[np.int64]:
    """Return cluster sizes from 1 to `largest` that add up to `items`."""
    sizes: list[int] = []
    while sum(sizes) < items:
        sizes.append(int(rng.integers(1, largest + 1)))
    sizes[-1] -= sum(sizes) - items
    return np.array(sizes, dtype=np.int64)
