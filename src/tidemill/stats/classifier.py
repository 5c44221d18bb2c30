"""The classifier two-sample test: a classifier tries to tell window from reference; if it cannot, both are alike.

Ridge regression of the label on the embeddings, which is linear discriminant analysis with a shrunk covariance
(Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 4.3), cross-validated. Its predictions for held-out
rows are linear in the labels, `F = H Y`: with `H` known, all permutations of the labels are one matrix product and no
classifier is trained anew. Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017, give the test itself.
"""

import numpy as np
from numpy.typing import NDArray

from tidemill.stats.permutation import Floats, Labellings

FOLDS = 5
REPEATS = 2
SHRINKAGE = 50.0
"""Added to each variance, in units of the mean variance of a dimension. A thousand rows cannot tell 384 variances well:
of 0.1, 1, 10, 50 and 100 the two largest found most shifts of real questions."""


def prediction_matrix(vectors: NDArray[np.float32], units: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Return the matrix `H` (rows, rows) that turns labels into held-out predictions, averaged over repeats.

    Rows of one unit are held out together. The folds do not look at the labels: otherwise permuting them would not be
    fair.
    """
    _, index = np.unique(units, return_inverse=True)
    rng = np.random.default_rng(seed)
    rows, groups = len(vectors), int(index.max()) + 1
    folds = min(FOLDS, groups)
    total = np.zeros((rows, rows), dtype=np.float32)
    for _ in range(REPEATS):
        fold = rng.permutation(np.arange(groups) % folds)[index]
        for number in range(folds):
            held_out = fold == number
            total[np.ix_(held_out, ~held_out)] += _held_out(vectors[held_out], vectors[~held_out])
    total /= REPEATS
    return total


def _held_out(held_out: NDArray[np.float32], training: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return predictions for held-out rows as weights on the labels of `training` rows: ridge without intercept.

    The intercept would be the share of the window among the training rows, which is high just where it is low among the
    held-out ones, and so would pull the area below one half.
    """
    middle = training.mean(axis=0)
    x = training - middle
    scatter = x.T @ x
    size = x.shape[1]
    scatter[np.diag_indices(size)] += SHRINKAGE * np.trace(scatter) / size + 1e-6
    weights = np.linalg.solve(scatter, (held_out - middle).T).T @ x.T
    # Centring the labels of the training rows is a matrix too: subtract from each row of weights its mean.
    centred: NDArray[np.float32] = weights - weights.mean(axis=1, keepdims=True)
    return centred


def held_out_predictions(matrix: NDArray[np.float32], labellings: Labellings) -> NDArray[np.float32]:
    """Return held-out predictions (labellings, rows); larger is more like the window."""
    predicted: NDArray[np.float32] = labellings @ matrix.T
    return predicted


def roc_areas(predicted: NDArray[np.float32], labellings: Labellings) -> Floats:
    """Return the area under the ROC curve for each labelling: how often a window row is predicted above another.

    Ties count half (the Mann-Whitney statistic).
    """
    ranks = np.stack([_ranks(row) for row in predicted])
    inside = labellings.sum(axis=1, dtype=np.float64)
    outside = labellings.shape[1] - inside
    above = (ranks * labellings).sum(axis=1) - inside * (inside + 1) / 2
    pairs = inside * outside
    return np.where(pairs > 0, above / np.maximum(pairs, 1), 0.5)


def _ranks(values: NDArray[np.float32]) -> Floats:
    """Return ranks from 1; equal values share the mean of theirs."""
    ordered = np.sort(values)
    ranks: Floats = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2
    return ranks
