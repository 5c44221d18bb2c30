"""Differences and verdicts on hand-made data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tidemill.evals.paired import bounds, degrees_of_freedom, intra_correlation, paired_comparison, sign_flips
from tidemill.evals.power import items_needed, items_to_settle, minimum_detectable_effect
from tidemill.evals.rates import holm, mcnemar, wilson
from tidemill.evals.types import MetricRule, TooFewPairs
from tidemill.evals.verdicts import judge_guardrails, judge_metric, noninferiority, overall

RNG = np.random.default_rng(0)


def _pass_fail(wins: int, losses: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.array([0] * wins + [1] * losses + [1] * ties)
    second = np.array([1] * wins + [0] * losses + [1] * ties)
    return first, second


def test_wilson_agrees_with_the_published_example() -> None:
    rate = wilson(81, 263)  # Newcombe 1998, table I
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20).low == 0
    assert wilson(20, 20).high == 1
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_its_share_and_stays_in_range(count: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, count))
    rate = wilson(successes, count)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1


def test_mcnemar_is_the_binomial_test() -> None:
    both, greater, less = mcnemar(15, 5)
    assert both == pytest.approx(stats.binomtest(15, 20).pvalue)
    assert greater == pytest.approx(stats.binomtest(15, 20, alternative="greater").pvalue)
    assert less == pytest.approx(stats.binomtest(15, 20, alternative="less").pvalue)
    assert mcnemar(0, 0) == (1, 1, 1)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_independent_differences_give_the_paired_t_interval() -> None:
    first = RNG.normal(0, 1, 40)
    second = first + RNG.normal(0.3, 1, 40)
    found = paired_comparison(first, second)
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.df == pytest.approx(39)
    assert found.design_effect == pytest.approx(1)
    assert found.effect_size == pytest.approx(found.delta / found.sd)


def test_copies_of_items_add_no_evidence() -> None:
    first = RNG.normal(0, 1, 30)
    second = first + RNG.normal(0.3, 1, 30)
    once = paired_comparison(first, second)
    copied = paired_comparison(np.repeat(first, 4), np.repeat(second, 4), np.repeat(np.arange(30), 4))
    assert copied.icc == pytest.approx(1)
    assert copied.n_eff == pytest.approx(30, rel=0.05)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_degrees_of_freedom_fall_when_one_cluster_dominates() -> None:
    assert degrees_of_freedom(np.full(20, 3.0)) == pytest.approx(19)
    assert degrees_of_freedom(np.array([100.0] + [1.0] * 19)) < 3
    assert degrees_of_freedom(np.array([5.0])) == 0


def test_intra_correlation_finds_what_was_put_in() -> None:
    index = np.repeat(np.arange(2000), 4)
    values = np.sqrt(0.4) * RNG.normal(size=2000)[index] + np.sqrt(0.6) * RNG.normal(size=8000)
    assert intra_correlation(values, index, np.full(2000, 4.0)) == pytest.approx(0.4, abs=0.04)


def test_repeats_are_averaged_within_an_item() -> None:
    first, second = RNG.integers(0, 2, (50, 3)), RNG.integers(0, 2, (50, 3))
    repeated = paired_comparison(first, second)
    averaged = paired_comparison(first.mean(axis=1), second.mean(axis=1))
    assert repeated == averaged
    assert repeated.n_pairs == 50


def test_sign_flips_are_exact_for_few_clusters() -> None:
    both, greater, less, exact = sign_flips(np.array([1.0, 2.0, 3.0, 0.0]))
    assert exact
    assert (greater, less, both) == (1 / 8, 1.0, 2 / 8)
    assert sign_flips(np.zeros(5)) == (1, 1, 1, True)


def test_the_test_fits_the_data() -> None:
    assert paired_comparison(*_pass_fail(10, 2, 60)).test == "mcnemar_exact"
    assert paired_comparison(*_pass_fail(10, 2, 60), np.arange(72) // 2).test == "sign_flip_exact"
    graded = RNG.normal(size=200)
    assert paired_comparison(graded, graded + RNG.normal(size=200)).test == "sign_flip"


def test_wilcoxon_agrees_with_the_library() -> None:
    first, second = RNG.normal(0, 1, 60).round(1), RNG.normal(0.2, 1, 60).round(1)
    expected = stats.wilcoxon(np.round(second - first, 9), zero_method="wilcox", method="approx").pvalue
    assert paired_comparison(first, second).wilcoxon_p == pytest.approx(expected)


def test_too_little_evidence_is_refused_and_little_is_warned_about() -> None:
    with pytest.raises(TooFewPairs, match="5 pairs"):
        paired_comparison([0] * 5, [1] * 5)
    with pytest.raises(TooFewPairs, match="one cluster"):
        paired_comparison([0] * 9, [1] * 9, ["a"] * 9)
    assert "8 pairs" in paired_comparison([0] * 8, [1] * 8).warnings[0]
    assert "5 clusters" in paired_comparison([0] * 20, [1] * 20, np.arange(20) // 4).warnings[0]


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        paired_comparison([0, 1, np.nan, 1, 0, 1], [1] * 6)
    with pytest.raises(ValueError, match="7 baseline"):
        paired_comparison([0] * 7, [1] * 6)


def test_identical_answers_do_not_prove_equality_beyond_their_number() -> None:
    same = np.ones(60)
    found = paired_comparison(same, same)
    assert (found.delta, found.p_value, found.effect_size) == (0, 1, None)
    assert found.low < -0.03 < 0.03 < found.high
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
    found = judge_guardrails(rules, [paired_comparison(np.full(80, 0.5), 0.5 + n) for n in noise])
    assert [v.p_adjusted for v in found] == pytest.approx(holm([v.p_value for v in found]))
    assert overall(found) == "pass"
    harmed = judge_guardrails(rules[:1], [paired_comparison(np.full(80, 0.5), 0.45 + noise[0])])
    assert overall([*found, *harmed]) == "fail"
    unsure = judge_guardrails(rules[:1], [paired_comparison(np.full(80, 0.5), 0.5 + 5 * (noise[0] - noise[0].mean()))])
    assert overall([*found, *unsure]) == "inconclusive"
    assert judge_guardrails([], []) == []


def test_a_margin_of_zero_is_said_to_be_beyond_proof() -> None:
    rule = MetricRule(metric="m", kind="non_inferiority", margin=0)
    unsure = judge_metric(rule, paired_comparison(*_pass_fail(5, 5, 50)))
    assert unsure.more_items is None
    assert "no number of items" in unsure.summary
    with pytest.raises(ValueError, match="margin of 0"):
        noninferiority([1] * 9, [1] * 9, margin=0)


def test_eighty_items_see_eleven_points() -> None:
    seen = minimum_detectable_effect(np.ones(80), discordance=0.16)
    assert seen == pytest.approx(0.115, abs=0.01)
    clustered = minimum_detectable_effect(np.full(20, 4.0), discordance=0.16, icc=0.5)
    assert clustered is not None
    assert clustered > seen
    assert minimum_detectable_effect(np.ones(80), sd=0.4) == pytest.approx(2.5 * 0.4 / np.sqrt(80), rel=0.02)
    assert minimum_detectable_effect(np.array([80.0]), sd=0.4) is None
    assert minimum_detectable_effect(np.ones(3), discordance=0.5) is None
    with pytest.raises(ValueError, match="either"):
        minimum_detectable_effect(np.ones(80))


def test_items_needed_and_the_detectable_effect_agree() -> None:
    needed = items_needed(0.05, np.ones(10), discordance=0.2)
    assert minimum_detectable_effect(np.ones(needed), discordance=0.2) == pytest.approx(0.05, rel=0.05)
    with pytest.raises(ValueError, match="gap"):
        items_to_settle(100, 0.1, 1.6, 0)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 4)), min_size=8, max_size=60))
def test_every_figure_is_a_number(rows: list[tuple[int, int, int]]) -> None:
    first, second, clusters = (np.array(column) for column in zip(*rows, strict=True))
    if len(set(clusters.tolist())) < 2:
        return
    found = paired_comparison(first, second, clusters)
    figures = found.model_dump(exclude={"effect_size", "square", "test", "warnings"}).values()
    assert all(np.isfinite(v) for v in figures)
    assert found.low <= found.delta <= found.high
    assert found.wins + found.losses + found.ties == found.n_pairs
