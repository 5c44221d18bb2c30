"""Intervals of shares, and McNemar's test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tidemill.stats.rates import mcnemar, wilson


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
