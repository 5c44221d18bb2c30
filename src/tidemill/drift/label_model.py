"""Labels that a small model reads off the inputs, where the reference is a dataset that has labels.

A shift of the mix of labels is then seen far sooner than by comparing all directions of the embedding at once (black
box shift detection: Lipton, Wang, Smola, 2018; Rabanser, Günnemann, Lipton, Failing Loudly, 2019). The model learns
from rows of the dataset that are in neither side, so its errors fall on both sides alike and the test stays exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHRINKAGE = 0.3
"""Added to each variance, in units of the mean variance of a dimension."""

LEARNT_FROM = 2000
"""Labelled rows at most that are learnt from."""

FEWEST = 100
"""Fewer labelled rows teach too little."""


@dataclass(frozen=True)
class Labelled:
    """Texts whose labels are known, for learning."""

    texts: Sequence[str]
    labels: Sequence[str]

    @property
    def enough(self) -> bool:
        """Whether something can be learnt."""
        return len(self.texts) >= FEWEST and len(set(self.labels)) > 1


class LabelModel:
    """Ridge regression of one column per label (0 or 1) on embeddings; the largest prediction is the label."""

    def __init__(self, vectors: NDArray[np.float32], labels: Sequence[str]) -> None:
        self.names = sorted(set(labels))
        place = {name: number for number, name in enumerate(self.names)}
        wanted = np.eye(len(self.names), dtype=np.float32)[[place[label] for label in labels]]
        self.middle = vectors.mean(axis=0)
        self.shift = wanted.mean(axis=0)
        x = vectors - self.middle
        scatter = x.T @ x
        width = scatter.shape[0]
        scatter[np.diag_indices(width)] += SHRINKAGE * np.trace(scatter) / width + 1e-6
        self.weights = np.linalg.solve(scatter, x.T @ (wanted - self.shift))

    def predict(self, vectors: NDArray[np.float32]) -> list[str]:
        """The likeliest label of each row."""
        scores = (vectors - self.middle) @ self.weights + self.shift
        return [self.names[place] for place in scores.argmax(axis=1)]
