"""The verdicts are wrong no more often than they say: the very functions that judge a release, on known truths."""

import numpy as np
import pytest

from tests.evals.worlds import clusters_of, with_effect
from tidemill.evals.types import MetricRule
from tidemill.evals.verdicts import judge_metric, noninferiority
from tidemill.stats.paired import paired_comparison
from tidemill.stats.power import minimum_detectable_effect
from tidemill.stats.simulation import GradedScenario, PassFailScenario, uneven_clusters

TIMES = 1000
FEWER = 400
"""For the world whose intervals take a bootstrap each: `benchmarks/gate_errors.py` plays it 1,000 times."""
SMALL, LARGE = uneven_clusters(60, np.random.default_rng(1)), uneven_clusters(400, np.random.default_rng(2))

WORLDS = {
    "60 pass/fail, icc 0.3": PassFailScenario(SMALL, baseline=0.5, icc=0.3),
    "60 graded, icc 0.6": GradedScenario(SMALL, icc=0.6),
    "400 pass/fail, icc 0.3": PassFailScenario(LARGE, baseline=0.5, icc=0.3),
    "400 pass/fail, icc 0.6": PassFailScenario(LARGE, baseline=0.5, icc=0.6),
    "400 graded, icc 0.3": GradedScenario(LARGE, icc=0.3),
}


def _effect(world: PassFailScenario | GradedScenario) -> float:
    spread = {"discordance": world.discordance} if isinstance(world, PassFailScenario) else {"sd": world.sd}
    effect = minimum_detectable_effect(world.sizes.astype(float), icc=world.icc, **spread)
    assert effect is not None
    return effect


def _shares(world: PassFailScenario | GradedScenario, effect: float, seed: int) -> tuple[float, float, float]:
    """Shares of comparisons that pass, that fail, and whose interval holds the truth."""
    rule = MetricRule(metric="score", minimum_effect=effect)
    clusters = clusters_of(world)
    passed = failed = covered = 0
    times = FEWER if isinstance(world, GradedScenario) and world.sizes.sum() > 100 else TIMES
    for first, second in zip(*world.draw(times, np.random.default_rng(seed)), strict=True):
        difference = paired_comparison(first, second, clusters)
        outcome = judge_metric(rule, difference, 0.05).outcome
        passed += outcome == "pass"
        failed += outcome == "fail"
        covered += difference.low <= world.delta <= difference.high
    return passed / times, failed / times, covered / times


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_a_gate_is_wrong_no_more_often_than_it_says(name: str) -> None:
    world = WORLDS[name]
    effect = _effect(world)
    passed, _, covered = _shares(world, effect, seed=11)
    assert passed <= 0.07
    assert covered >= 0.93

    passed, missed, covered = _shares(with_effect(world, effect), effect, seed=12)
    assert passed >= 0.75
    assert missed <= 0.07
    assert covered >= 0.92


def test_a_test_that_ignores_clusters_would_be_wrong_far_more_often() -> None:
    world = WORLDS["400 pass/fail, icc 0.6"]
    baseline, candidate = world.draw(TIMES, np.random.default_rng(3))
    differences = candidate - baseline
    se = differences.std(axis=1, ddof=1) / np.sqrt(differences.shape[1])
    assert (differences.mean(axis=1) > 1.645 * se).mean() > 0.15


@pytest.mark.slow
@pytest.mark.parametrize("discordance", [0.05, 0.2])
def test_a_system_worse_by_the_margin_is_seldom_called_not_worse(discordance: float) -> None:
    """Rare differences are the hard case: often hardly any is seen, and none must not mean certainty."""
    world = PassFailScenario(LARGE, baseline=0.7, icc=0.3, discordance=discordance, delta=-0.05)
    clusters = clusters_of(world)
    pairs = zip(*world.draw(TIMES, np.random.default_rng(4)), strict=True)
    results = [noninferiority(first, second, clusters, margin=0.05) for first, second in pairs]
    assert sum(r.outcome == "pass" for r in results) / TIMES <= 0.07
    assert sum(r.equivalent for r in results) / TIMES <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("icc", [0.3, 0.6])
def test_a_system_worse_by_the_margin_is_seldom_called_not_worse_in_a_dozen_clusters(icc: float) -> None:
    """A loss of a third needs more differences than are seen, and those seen cannot tell how clustered the rest are."""
    world = PassFailScenario(SMALL, baseline=0.5, icc=icc)
    effect = _effect(world)
    clusters = clusters_of(world)
    pairs = zip(*with_effect(world, -effect).draw(TIMES, np.random.default_rng(6)), strict=True)
    results = [noninferiority(first, second, clusters, margin=effect) for first, second in pairs]
    assert sum(r.outcome == "pass" for r in results) / TIMES <= 0.07
    pairs = zip(*world.draw(TIMES, np.random.default_rng(7)), strict=True)
    results = [noninferiority(first, second, clusters, margin=effect) for first, second in pairs]
    assert sum(r.outcome == "pass" for r in results) / TIMES >= 0.75
