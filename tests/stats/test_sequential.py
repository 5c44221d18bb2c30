"""The canary's tests are wrong no more often than they say, however often one looks: the very code that rolls back."""

import numpy as np
import pytest

from tidemill.stats.sequential import MeanSequence, RatioTest, SequentialComparison

ALPHA = 0.05


def rolled_back(old: float, new: float, share: float, answers: int, rng: np.random.Generator) -> bool:
    """Whether a canary is rolled back at any look, one after each answer."""
    comparison, count = SequentialComparison(alpha=ALPHA, interval=False), 0
    while count < answers:
        canary = bool(rng.random() < share)
        count += canary
        comparison.add(float(rng.random() < (new if canary else old)), canary=canary)
        if comparison.worse >= 1 / ALPHA:
            return True
    return False


@pytest.mark.slow
def test_quiet_canaries_stay() -> None:
    rng = np.random.default_rng(1)
    false = sum(rolled_back(0.8, 0.8, 0.2, 150, rng) for _ in range(100))
    assert false <= 9  # 5 are expected at most; more than 9 by chance in 3 of 100 runs


def test_a_drop_of_15_points_is_caught_before_200_answers() -> None:
    rng = np.random.default_rng(2)
    caught = sum(rolled_back(0.8, 0.65, 0.1, 200, rng) for _ in range(100))
    assert caught >= 90


def test_every_block_is_a_fair_bet_whatever_the_shares() -> None:
    # The wealth's mean over all outcomes of one block is at most 1, exactly, for pass/fail scores of equal mean.
    for baseline, canary, mean in ((3, 1, 0.8), (1, 3, 0.2), (2, 2, 0.5)):
        total = 0.0
        for outcome in np.ndindex(*[2] * (baseline + canary)):
            chance = float(np.prod([mean if y else 1 - mean for y in outcome]))
            comparison = SequentialComparison(interval=False)
            comparison._bet([float(y) for y in outcome[:baseline]], [float(y) for y in outcome[baseline:]])
            total += chance * float(np.exp(comparison._against_harm.log_now()[0]))
        assert total == pytest.approx(1.0) or total < 1


def test_the_interval_holds_the_truth_and_narrows() -> None:
    rng = np.random.default_rng(3)
    missed, widths = 0, []
    for _ in range(20):
        comparison = SequentialComparison(alpha=ALPHA)
        for _ in range(300):
            canary = bool(rng.random() < 0.5)
            comparison.add(float(rng.beta(2, 2)) * 0.8 + (0.1 if canary else 0.0), canary=canary)
        low, high = comparison.read().low, comparison.read().high
        missed += not low <= 0.1 <= high
        widths.append(high - low)
    assert missed <= 3
    assert np.mean(widths) < 0.3


def test_harm_within_the_tolerance_is_no_harm() -> None:
    rng = np.random.default_rng(7)
    comparison = SequentialComparison(margin=0.25, harm_beyond=0.25, interval=False)
    for number in range(1500):
        canary = number % 2 == 0
        comparison.add(float(rng.random() < (0.75 if canary else 0.9)), canary=canary)
    assert comparison.worse < 1 / ALPHA
    assert comparison.good_enough >= 1 / ALPHA


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_no_answer_waits_long_for_its_counterpart(share: float) -> None:
    rng = np.random.default_rng(8)
    comparison = SequentialComparison(interval=False)
    for _ in range(1000):
        comparison.add(1.0, canary=bool(rng.random() < share))
    assert sum(group.count for group in comparison._used) > 960


@pytest.mark.parametrize(("factor", "is_found"), [(1.0, False), (1.25, False), (2.0, True)])
def test_latency_beyond_its_tolerance_is_found(factor: float, is_found: bool) -> None:
    rng = np.random.default_rng(5)
    test = RatioTest(0.25)
    for _ in range(600):
        canary = bool(rng.random() < 0.2)
        test.add(float(rng.lognormal(0, 0.5)) * (factor if canary else 1), canary=canary)
    assert (test.worse >= 1 / ALPHA) is is_found


@pytest.mark.parametrize("share", [0.1, 0.33, 0.5])
@pytest.mark.parametrize(("factor", "most", "least"), [(1.0, 0.07, 0.0), (2.0, 1.0, 0.9)])
def test_a_slow_down_of_both_is_not_the_canarys(share: float, factor: float, most: float, least: float) -> None:
    rng = np.random.default_rng(9)
    rolled_back = 0
    for _ in range(60):
        test = RatioTest(0.25)
        for number in range(int(150 / share)):
            canary = bool(rng.random() < share)
            common = 3.0 if number * share > 75 else 1.0
            test.add(float(rng.lognormal(0, 0.5)) * common * (factor if canary else 1), canary=canary)
        rolled_back += test.worse >= 1 / ALPHA
    assert least <= rolled_back / 60 <= most


def test_the_medians_are_those_of_the_same_times() -> None:
    """First one in ten asks the canary, then, when both are slow, every second."""
    test = RatioTest(0.25)
    for number in range(400):
        canary = number % (10 if number < 200 else 2) == 0
        test.add(1.0 if number < 200 else 9.0, canary=canary)
    baseline, canary_median = test.medians()
    assert baseline == canary_median
    assert test.worse < 1 / ALPHA


def test_a_mean_is_found_out() -> None:
    rng = np.random.default_rng(6)
    sequence = MeanSequence(alpha=ALPHA)
    assert (sequence.mean, sequence.low, sequence.high) == (None, 0.0, 1.0)
    for _ in range(400):
        sequence.add(float(rng.random() < 0.7))
    assert sequence.low <= 0.7 <= sequence.high
    assert sequence.high - sequence.low < 0.25
