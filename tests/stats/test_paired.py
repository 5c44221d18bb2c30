"""Paired differences on hand-made data."""

import tracemalloc
from dataclasses import asdict
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tidemill.stats.paired import bounds, paired_comparison, sign_flips, standard_error
from tidemill.stats.results import InsufficientData

RNG = np.random.default_rng(0)


def _pass_fail(wins: int, losses: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.array([0] * wins + [1] * losses + [1] * ties)
    second = np.array([1] * wins + [0] * losses + [1] * ties)
    return first, second


def test_independent_differences_give_the_paired_t_interval() -> None:
    first = RNG.normal(0, 1, 40)
    second = first + RNG.normal(0.3, 1, 40)
    difference = paired_comparison(first, second)
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))
    assert difference.df == pytest.approx(39)
    assert difference.design_effect == pytest.approx(1)
    assert difference.effect_size == pytest.approx(difference.delta / difference.sd)


def test_copies_of_items_add_no_evidence() -> None:
    first = RNG.normal(0, 1, 30)
    second = first + RNG.normal(0.3, 1, 30)
    once = paired_comparison(first, second)
    copied = paired_comparison(np.repeat(first, 4), np.repeat(second, 4), np.repeat(np.arange(30), 4))
    assert copied.icc == pytest.approx(1)
    assert copied.n_eff == pytest.approx(30, rel=0.05)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_repeats_are_averaged_within_an_item() -> None:
    first, second = RNG.integers(0, 2, (50, 3)), RNG.integers(0, 2, (50, 3))
    repeated = paired_comparison(first, second)
    averaged = paired_comparison(first.mean(axis=1), second.mean(axis=1))
    assert repeated == averaged
    assert repeated.n_pairs == 50


def test_many_clusters_take_no_more_memory() -> None:
    sums = RNG.normal(0.02, size=20_000)
    tracemalloc.start()
    both, greater, less, exact = sign_flips(sums)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000, "20,000 clusters x 9,999 patterns at once are 1.6 GB"
    assert not exact
    # The normal form of the same test, which holds for so many.
    assert greater == pytest.approx(float(stats.norm.cdf(-sums.sum() / np.sqrt((sums**2).sum()))), abs=0.015)
    assert both == pytest.approx(2 * min(greater, less))


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
    with pytest.raises(InsufficientData, match="5 pairs"):
        paired_comparison([0] * 5, [1] * 5)
    with pytest.raises(InsufficientData, match="one cluster"):
        paired_comparison([0] * 9, [1] * 9, ["a"] * 9)
    assert "8 pairs" in paired_comparison([0] * 8, [1] * 8).warnings[0]
    assert "5 clusters" in paired_comparison([0] * 20, [1] * 20, np.arange(20) // 4).warnings[0]


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        paired_comparison([0, 1, np.nan, 1, 0, 1], [1] * 6)
    with pytest.raises(ValueError, match="7 baseline"):
        paired_comparison([0] * 7, [1] * 6)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 4)), min_size=8, max_size=60))
def test_every_figure_is_a_number(rows: list[tuple[int, int, int]]) -> None:
    first, second, clusters = (np.array(column) for column in zip(*rows, strict=True))
    if len(set(clusters.tolist())) < 2:
        return
    difference = paired_comparison(first, second, clusters)
    numbers = [v for v in asdict(difference).values() if isinstance(v, int | float)]
    assert len(numbers) >= 20
    assert all(np.isfinite(v) for v in numbers)
    assert difference.low <= difference.delta <= difference.high
    assert difference.wins + difference.losses + difference.ties == difference.n_pairs


@given(wins=st.integers(0, 12), losses=st.integers(0, 12), ties=st.integers(24, 200), reach=st.floats(0.1, 13))
def test_bounds_are_where_the_score_statistic_reaches_its_limit(
    wins: int, losses: int, ties: int, reach: float
) -> None:
    difference = paired_comparison(*_pass_fail(wins, losses, ties))
    low, high = bounds(difference, reach)
    assert -1 <= low <= difference.center <= high <= 1
    for bound in (low, high):
        assert abs(bound - difference.center) == pytest.approx(reach * standard_error(difference, bound), abs=1e-9)


@given(
    wins=st.integers(0, 12), losses=st.integers(0, 12), ties=st.integers(24, 100), size=st.integers(2, 8),
    reach=st.floats(0.1, 13),
)  # fmt: skip
def test_no_difference_beyond_a_bound_is_within_reach(
    wins: int, losses: int, ties: int, size: int, reach: float
) -> None:
    first, second = _pass_fail(wins, losses, ties)
    difference = paired_comparison(first, second, np.arange(len(first)) // size)
    low, high = bounds(difference, reach)
    assert low <= difference.center <= high
    for truth in np.linspace(-1, 1, 401):
        if truth < low - 1e-9 or truth > high + 1e-9:
            assert abs(truth - difference.center) >= reach * standard_error(difference, truth) - 1e-9


def test_rare_differences_do_not_say_how_clustered_further_ones_are() -> None:
    # Twelve clusters of five with scores that are alike within each, and four scattered losses.
    first = np.repeat([1.0, 0.0], 30)
    second = first.copy()
    second[[0, 6, 12, 18]] = 0.0
    difference = paired_comparison(first, second, np.arange(60) // 5)
    assert difference.square is not None
    assert standard_error(difference, -0.4) > 1.5 * sqrt((0.4 - 0.16) / 60)
    assert difference.worth_beyond is not None
    assert difference.worth_beyond == pytest.approx(14)
