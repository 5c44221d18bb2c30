"""Prediction-powered shares: honest intervals with a biased judge."""

import numpy as np
import pytest

from tidemill.stats import ppi
from tidemill.stats.ppi import PairedSums


def world(rng: np.random.Generator, total: int, labels: int, truth: float, hit: float, slip: float):
    """A judge that passes good answers with `hit` and bad ones with `slip`; people label a random sample."""
    good = rng.random(total) < truth
    model = rng.random(total) < np.where(good, hit, slip)
    y, f = good[:labels].astype(float), model[:labels].astype(float)
    pairs = PairedSums(labels, y.sum(), (y * y).sum(), f.sum(), float((y * f).sum()), float(np.abs(y - f).sum()))
    return total, int(model.sum()), pairs


@pytest.mark.parametrize(
    ("truth", "hit", "slip", "labels"), [(0.8, 0.95, 0.4, 100), (0.9, 0.99, 0.1, 50), (0.6, 0.5, 0.5, 100)]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(truth: float, hit: float, slip: float, labels: int) -> None:
    rng = np.random.default_rng(0)
    covered, widths = 0, []
    for _ in range(600):
        total, passed, pairs = world(rng, 3000, labels, truth, hit, slip)
        share = ppi.corrected_share(total, passed, pairs)
        assert share is not None
        covered += share.low <= truth <= share.high
        widths.append(share.high - share.low)
    assert covered / 600 >= 0.93
    people_alone = 2 * 1.96 * np.sqrt(truth * (1 - truth) / labels)
    assert np.mean(widths) <= people_alone * 1.12, "a useless judge costs little, a good one helps"


def test_a_good_judge_makes_few_labels_go_far() -> None:
    rng = np.random.default_rng(1)
    share = ppi.corrected_share(*world(rng, 5000, 200, 0.8, 0.98, 0.05))
    assert share is not None
    assert share.high - share.low < 0.7 * 2 * 1.96 * np.sqrt(0.16 / 200)
    assert share.agreement > 0.9


def test_few_labels_correct_nothing_and_full_agreement_is_not_taken_for_proof() -> None:
    assert ppi.corrected_share(100, 80, PairedSums(19, 15, 15, 15, 15, 0)) is None
    share = ppi.corrected_share(20, 16, PairedSums(20, 16, 16, 16, 16, 0))
    assert share is not None
    assert share.low < 0.75 < 0.85 < share.high


@pytest.mark.parametrize(("hit", "slip"), [(0.95, 0.01), (0.9, 0.3), (0.4, 0.02), (0.5, 0.5)])
def test_the_least_that_people_may_find_beyond_the_model_is_hardly_ever_too_much(hit: float, slip: float) -> None:
    rng = np.random.default_rng(3)
    truth = 0.9
    real = (1 - truth) - ((1 - truth) * (1 - slip) + truth * (1 - hit))
    for labels in (20, 100, 400):
        bounds = [ppi.shift_bound(world(rng, labels, labels, truth, hit, slip)[2]) for _ in range(500)]
        assert all(one.low <= real for one in bounds if one is not None)
        assert np.mean([one.shift for one in bounds if one is not None]) == pytest.approx(real, abs=0.02)
