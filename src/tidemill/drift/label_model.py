"""A small model that predicts labels of inputs, where the reference is a dataset that has labels.

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

MAX_TRAINING_ROWS = 2000
"""The model is trained on at most this many labelled rows."""

MIN_TRAINING_ROWS = 100
"""With fewer labelled rows no model is trained."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and their labels, to train the label model on."""

    texts: Sequence[str]
    labels: Sequence[str]

    @property
    def enough(self) -> bool:
        """Whether there are enough rows and at least two labels."""
        return len(self.texts) >= MIN_TRAINING_ROWS and len(set(self.labels)) > 1


class LabelModel:
    """Ridge regression of one column per label (0 or 1) on embeddings; the largest prediction is the label."""

    def __init__(self, vectors: NDArray[np.float32], labels: Sequence[str]) -> None:
        self.names = sorted(set(labels))
        column = {name: number for number, name in enumerate(self.names)}
        targets = np.eye(len(self.names), dtype=np.float32)[[column[label] for label in labels]]
        self.mean = vectors.mean(axis=0)
        self.intercept = targets.mean(axis=0)
        x = vectors - self.mean
        scatter = x.T @ x
        dimensions = scatter.shape[0]
        scatter[np.diag_indices(dimensions)] += SHRINKAGE * np.trace(scatter) / dimensions + 1e-6
        self.weights = np.linalg.solve(scatter, x.T @ (targets - self.intercept))

    def predict(self, vectors: NDArray[np.float32]) -> list[str]:
        """Return the likeliest label of each row."""
        scores = (vectors - self.mean) @ self.weights + self.intercept
        return [self.names[column] for column in scores.argmax(axis=1)]
