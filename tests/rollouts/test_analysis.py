"""What the analysis of a rollout counts, without a database."""

import numpy as np
import pytest

from tidemill.rollouts.analysis import RatioAnalysis
from tidemill.rollouts.comparison import word_overlap

ALPHA = 0.05


def test_an_identical_release_is_not_rolled_back_for_a_slow_user() -> None:
    """30 users of different latency ask 600 times, three of them always the canary."""
    rng = np.random.default_rng(1)
    rolled_back = 0
    for _ in range(60):
        usual = rng.normal(0, 0.8, 30)
        analysis = RatioAnalysis("latency_ms", 0.1)
        for user in rng.integers(30, size=600):
            latency = float(np.exp(usual[user] + rng.normal(0, 0.3)))
            analysis.add(f"u{user}", latency, canary=bool(user < 3))
        rolled_back += analysis.evidence(1 / ALPHA).worse >= 1 / ALPHA
    assert rolled_back / 60 <= ALPHA


def test_a_slower_release_is_found_over_many_users() -> None:
    rng = np.random.default_rng(2)
    analysis = RatioAnalysis("latency_ms", 0.1)
    for user in range(400):
        canary = user % 5 == 0
        analysis.add(f"u{user}", float(rng.lognormal(0, 0.3)) * (2 if canary else 1), canary=canary)
    evidence = analysis.evidence(20)
    assert evidence.worse >= 20
    assert evidence.canary is not None
    assert evidence.baseline is not None
    assert evidence.canary > 1.5 * evidence.baseline


def test_a_user_counts_once_in_each_release() -> None:
    analysis = RatioAnalysis("cost", 0.1)
    for value in (1.0, 50.0, 50.0):
        analysis.add("anna", value, canary=False)
        analysis.add("anna", value, canary=True)
    evidence = analysis.evidence(20)
    assert (evidence.name, evidence.baseline, evidence.canary) == ("cost", 1.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("Paris", "paris.", 1.0),
        ("答案是四", "答案是四。", 1.0),
        ("答案是四", "答案是五", 0.75),
        ("It is Paris", "It is Rome", 2 / 3),
        ("", "", 1.0),
        ("?", "!", 0.0),
        ("Paris", "", 0.0),
    ],
)
def test_words_overlap_whatever_the_script_and_the_punctuation(first: str, second: str, overlap: float) -> None:
    assert word_overlap(first, second) == pytest.approx(overlap)
