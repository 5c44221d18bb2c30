"""Clusters and what they cost."""

import numpy as np
import pytest

from tidemill.stats.clusters import degrees_of_freedom, intra_correlation

RNG = np.random.default_rng(0)


def test_degrees_of_freedom_fall_when_one_cluster_dominates() -> None:
    assert degrees_of_freedom(np.full(20, 3.0)) == pytest.approx(19)
    assert degrees_of_freedom(np.array([100.0] + [1.0] * 19)) < 3
    assert degrees_of_freedom(np.array([5.0])) == 0


def test_intra_correlation_finds_what_was_put_in() -> None:
    index = np.repeat(np.arange(2000), 4)
    values = np.sqrt(0.4) * RNG.normal(size=2000)[index] + np.sqrt(0.6) * RNG.normal(size=8000)
    assert intra_correlation(values, index, np.full(2000, 4.0)) == pytest.approx(0.4, abs=0.04)
