"""Verdicts on hand-made data."""

import numpy as np
import pytest

from tidemill.evals.types import MetricRule, TooFewPairs
from tidemill.evals.verdicts import judge_guardrails, judge_metric, noninferiority, overall, paired_difference
from tidemill.stats.correction import holm
from tidemill.stats.paired import bounds, paired_comparison

RNG = np.random.default_rng(0)


def _pass_fail(wins: int, losses: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.array([0] * wins + [1] * losses + [1] * ties)
    second = np.array([1] * wins + [0] * losses + [1] * ties)
    return first, second


def test_identical_answers_do_not_prove_equality_beyond_their_number() -> None:
    same = np.ones(60)
    difference = paired_comparison(same, same)
    assert (difference.delta, difference.p_value, difference.effect_size) == (0, 1, None)
    assert difference.low < -0.03 < 0.03 < difference.high
    few, many = noninferiority(same, same, margin=0.02), noninferiority(np.ones(600), np.ones(600), margin=0.02)
    assert few.outcome == "inconclusive"
    assert few.more_items is not None
    assert many.outcome == "pass"
    assert many.equivalent


def test_bounds_and_p_values_agree() -> None:
    first, second = _pass_fail(12, 30, 300)
    for margin in np.linspace(0.02, 0.15, 40):
        result = noninferiority(first, second, margin=float(margin))
        assert (result.lower > -margin) == (result.p_value <= 0.05)
    difference = paired_comparison(first, second)
    low, high = bounds(difference, 1.96)
    assert low < difference.delta < high


def test_three_verdicts_on_an_improvement() -> None:
    rule = MetricRule(metric="accuracy", minimum_effect=0.05)
    clear = judge_metric(rule, paired_comparison(*_pass_fail(60, 10, 330)))
    assert clear.outcome == "pass"
    assert clear.lower > 0
    assert "improves by more than" in clear.summary
    worse = judge_metric(rule, paired_comparison(*_pass_fail(10, 60, 330)))
    assert worse.outcome == "fail"
    unsure = judge_metric(rule, paired_comparison(*_pass_fail(10, 7, 43)))
    assert unsure.outcome == "inconclusive"
    assert unsure.more_items is not None
    assert f"{unsure.more_items} more items" in unsure.summary


def test_the_promised_number_of_items_settles_it() -> None:
    rule = MetricRule(metric="accuracy", minimum_effect=0.05)
    unsure = judge_metric(rule, paired_comparison(*_pass_fail(10, 7, 43)))
    assert unsure.more_items is not None
    times = (60 + unsure.more_items) // 60 + 1
    settled = judge_metric(rule, paired_comparison(*_pass_fail(10 * times, 7 * times, 43 * times)))
    assert settled.outcome == "pass"


def test_lower_can_be_better() -> None:
    slow, fast = RNG.normal(200, 10, 60), RNG.normal(150, 10, 60)
    rule = MetricRule(metric="latency_ms", minimum_effect=20, direction="lower")
    assert judge_metric(rule, paired_comparison(slow, fast)).outcome == "pass"
    assert judge_metric(rule, paired_comparison(fast, slow)).outcome == "fail"


def test_guardrails_are_corrected_together() -> None:
    noise = np.random.default_rng(5).normal(0, 0.05, (3, 80))
    rules = [MetricRule(metric=f"m{i}", kind="non_inferiority", margin=0.03) for i in range(3)]
    verdicts = judge_guardrails(rules, [paired_comparison(np.full(80, 0.5), 0.5 + n) for n in noise])
    assert [v.p_adjusted for v in verdicts] == pytest.approx(holm([v.p_value for v in verdicts]))
    assert overall(verdicts) == "pass"
    harmed = judge_guardrails(rules[:1], [paired_comparison(np.full(80, 0.5), 0.45 + noise[0])])
    assert overall([*verdicts, *harmed]) == "fail"
    unsure = judge_guardrails(rules[:1], [paired_comparison(np.full(80, 0.5), 0.5 + 5 * (noise[0] - noise[0].mean()))])
    assert overall([*verdicts, *unsure]) == "inconclusive"
    assert judge_guardrails([], []) == []


def test_a_margin_of_zero_is_said_to_be_beyond_proof() -> None:
    rule = MetricRule(metric="m", kind="non_inferiority", margin=0)
    unsure = judge_metric(rule, paired_comparison(*_pass_fail(5, 5, 50)))
    assert unsure.more_items is None
    assert "no number of items" in unsure.summary
    with pytest.raises(ValueError, match="margin of 0"):
        noninferiority([1] * 9, [1] * 9, margin=0)


def test_too_few_pairs_are_an_error_of_the_api() -> None:
    with pytest.raises(TooFewPairs, match="5 pairs") as refused:
        paired_difference([0] * 5, [1] * 5)
    assert refused.value.hint == "Compare at least 6 items."
    with pytest.raises(TooFewPairs, match="one cluster"):
        noninferiority([0] * 9, [1] * 9, ["a"] * 9, margin=0.1)
