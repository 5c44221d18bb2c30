"""How often a gate is wrong: simulated comparisons with a known truth.

Run `python benchmarks/gate_errors.py [--times 1000]`. Each line is one world. Under the null two identical systems
are compared; «passes» is how often the gate passed an improvement all the same. At the minimum effect that
`tidemill evals plan` states for the world, it is how often the gate found it. The naive column is the paired t test
that takes every item for independent; the bootstrap column is the cluster bootstrap's percentile bound.
"""

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from tidemill.evals.types import MetricRule
from tidemill.evals.verdicts import judge_metric, noninferiority
from tidemill.stats.clusters import cluster_sizes
from tidemill.stats.paired import paired_comparison
from tidemill.stats.power import minimum_detectable_effect
from tidemill.stats.simulation import GradedScenario, PassFailScenario, uneven_clusters

ALPHA, POWER = 0.05, 0.8
World = PassFailScenario | GradedScenario


@dataclass(frozen=True)
class Rates:
    """Shares of simulated comparisons."""

    passed: float
    naive: float
    bootstrap: float
    covered: float
    wrong_direction: float


def clusters_of(world: World) -> np.ndarray:
    """The cluster of every item."""
    return np.repeat(np.arange(len(world.sizes)), world.sizes)


def detectable(world: World) -> float:
    """What the plan promises to find in this world."""
    spread = {"discordance": world.discordance} if isinstance(world, PassFailScenario) else {"sd": world.sd}
    effect = minimum_detectable_effect(world.sizes.astype(float), icc=world.icc, alpha=ALPHA, power=POWER, **spread)
    assert effect is not None, "this world is too small for any effect"
    return effect


def with_effect(world: World, delta: float) -> World:
    """The same world with a true difference; two systems that differ by delta disagree on at least delta."""
    if isinstance(world, PassFailScenario):
        return replace(world, delta=delta, discordance=max(world.discordance, abs(delta)))
    return replace(world, delta=delta)


def naive_passes(differences: np.ndarray) -> float:
    """Share of comparisons that an unclustered paired t test passes."""
    count = differences.shape[1]
    se = differences.std(axis=1, ddof=1) / np.sqrt(count)
    return float((differences.mean(axis=1) > special.stdtrit(count - 1, 1 - ALPHA) * se).mean())


def bootstrap_passes(differences: np.ndarray, clusters: np.ndarray, rng: np.random.Generator) -> float:
    """Share of comparisons whose cluster bootstrap lies above 0 at its lower percentile."""
    index, sizes = cluster_sizes(clusters)
    sums = np.zeros((len(differences), len(sizes)))
    for row, values in enumerate(differences):
        sums[row] = np.bincount(index, weights=values)
    weights = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=999).astype(float)
    means = (sums @ weights.T) / (weights @ sizes)
    return float((np.quantile(means, ALPHA, axis=1) > 0).mean())


def measure(world: World, minimum_effect: float, times: int, seed: int) -> Rates:
    """Run the very functions that judge a release on `times` simulated comparisons."""
    rng = np.random.default_rng(seed)
    clusters = clusters_of(world)
    baseline, candidate = world.draw(times, rng)
    rule = MetricRule(metric="score", minimum_effect=minimum_effect)
    passed = failed = covered = 0
    for first, second in zip(baseline, candidate, strict=True):
        difference = paired_comparison(first, second, clusters)
        outcome = judge_metric(rule, difference, ALPHA).outcome
        passed += outcome == "pass"
        failed += outcome == "fail"
        covered += difference.low <= world.delta <= difference.high
    differences = candidate - baseline
    return Rates(
        passed=passed / times,
        naive=naive_passes(differences),
        bootstrap=bootstrap_passes(differences, clusters, rng),
        covered=covered / times,
        wrong_direction=failed / times,
    )


def false_noninferiority(world: World, margin: float, times: int, seed: int) -> float:
    """How often a system that is worse by exactly the margin is called not worse."""
    rng = np.random.default_rng(seed)
    clusters = clusters_of(world)
    baseline, candidate = with_effect(world, -margin).draw(times, rng)
    results = [noninferiority(a, b, clusters, margin=margin) for a, b in zip(baseline, candidate, strict=True)]
    return sum(r.outcome == "pass" for r in results) / times


def worlds() -> list[tuple[str, World]]:
    """The worlds of the table: small and large sets, with and without clusters."""
    rng = np.random.default_rng(7)
    named_worlds: list[tuple[str, World]] = []
    for items in (60, 400):
        alone = np.ones(items, dtype=np.int64)
        named_worlds.append(("pass/fail, independent", PassFailScenario(alone, baseline=0.5)))
        sizes = uneven_clusters(items, rng)
        for icc in (0.3, 0.6):
            named_worlds.append(("pass/fail, clustered", PassFailScenario(sizes, baseline=0.5, icc=icc)))
            named_worlds.append(("graded, clustered", GradedScenario(sizes, icc=icc)))
    return named_worlds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    times = parser.parse_args().times
    began = time.perf_counter()
    head = f"{'world':<24}{'items':>6}{'clusters':>9}{'icc':>5} | {'passes':>7}{'naive':>7}{'boot':>7}{'cover':>7}"
    print(f"{'':<46}| under the null, alpha 0.05    | at the minimum effect, power 0.8   | worse by the margin")
    print(f"{head} | {'effect':>7}{'passes':>8}{'cover':>7}{'misses':>8}     | called not worse")
    for seed, (name, world) in enumerate(worlds()):
        effect = detectable(world)
        null = measure(world, effect, times, seed)
        power = measure(with_effect(world, effect), effect, times, seed + 1000)
        wrong = false_noninferiority(world, effect, times, seed + 2000)
        print(
            f"{name:<24}{world.sizes.sum():>6}{len(world.sizes):>9}{world.icc:>5} | "
            f"{null.passed:>7.3f}{null.naive:>7.3f}{null.bootstrap:>7.3f}{null.covered:>7.3f} | "
            f"{effect:>7.3f}{power.passed:>8.3f}{power.covered:>7.3f}{power.wrong_direction:>8.3f}     | {wrong:.3f}"
        )
    print(f"{times} comparisons a figure, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
