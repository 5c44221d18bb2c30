"""How often a canary's analysis is wrong, and how soon it is right: simulated rollouts with a known truth.

Run `python benchmarks/canary_errors.py [--times 1000]`. Every rollout is looked at after every answer. A quiet canary
answers as well as the baseline; a rollback of it is false. In the other worlds its quality drops by 15 points; the
table says how many were caught before 200 canary answers, and after how many in the median. The naive column is what
a one-sided t test at the same level does when it is looked at as often.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tidemill.rollouts.analysis import RatioAnalysis
from tidemill.stats.sequential import RatioTest, SequentialComparison

ALPHA = 0.05
MARGIN = 0.05
NAIVE_LIMIT = 1.645
Draw = Callable[[np.random.Generator, float], float]


def pass_fail(rng: np.random.Generator, mean: float) -> float:
    """A score of 0 or 1."""
    return float(rng.random() < mean)


def graded(rng: np.random.Generator, mean: float) -> float:
    """A score such as a judge's, anywhere from 0 to 1."""
    return float(rng.beta(4 * mean, 4 * (1 - mean)))


@dataclass(frozen=True)
class World:
    """One kind of rollout: the mean scores of baseline and canary, its share of requests, and what scores look like."""

    name: str
    baseline: float
    canary: float
    share: float
    draw: Draw = pass_fail


@dataclass(frozen=True)
class Rates:
    """Shares of simulated rollouts."""

    rolled_back: float
    naive: float
    median: float | None


class Peeking:
    """A one-sided t test that is looked at after every answer, as dashboards invite to."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = [0, 0], [0.0, 0.0], [0.0, 0.0]

    def add(self, value: float, *, canary: bool) -> bool:
        """Take in a score; True when the canary looks significantly worse now."""
        self.count[canary] += 1
        self.total[canary] += value
        self.squares[canary] += value * value
        if min(self.count) < 10:
            return False
        old, new = (total / count for total, count in zip(self.total, self.count, strict=True))
        error = sum(
            (squares / count - mean * mean) / count
            for squares, count, mean in zip(self.squares, self.count, (old, new), strict=True)
        )
        return error > 0 and old - new > NAIVE_LIMIT * math.sqrt(error)


def one_rollout(world: World, answers: int, rng: np.random.Generator) -> tuple[int | None, bool]:
    """After how many canary answers it was rolled back (None: never), and whether the naive test would have."""
    found, naive, count = SequentialComparison(alpha=ALPHA, margin=MARGIN, interval=False), Peeking(), 0
    caught, naive_caught = None, False
    while count < answers and caught is None:
        canary = bool(rng.random() < world.share)
        value = world.draw(rng, world.canary if canary else world.baseline)
        count += canary
        found.add(value, canary=canary)
        naive_caught = naive_caught or naive.add(value, canary=canary)
        # As the controller decides: proof of harm, and a loss beyond the margin as it looks now.
        if found.worse >= 1 / ALPHA and -(found.difference or 0.0) > MARGIN:
            caught = count
    return caught, naive_caught


def measure(world: World, answers: int, times: int, seed: int) -> Rates:
    """Simulate `times` rollouts of `answers` canary answers each."""
    rng = np.random.default_rng(seed)
    seen = [one_rollout(world, answers, rng) for _ in range(times)]
    caught = [c for c, _ in seen if c is not None]
    return Rates(len(caught) / times, sum(n for _, n in seen) / times, float(np.median(caught)) if caught else None)


def regulars(drop: float, once: bool, times: int, seed: int) -> float:
    """Share of rollouts rolled back when 150 users of different luck ask eight times each, 10% and then 50% of them the
    canary. `once`: each counts once for each release, as in the controller."""
    rng = np.random.default_rng(seed)
    rolled_back = 0
    for _ in range(times):
        luck, place = rng.beta(1.5, 0.6, 150), rng.random(150)
        found = SequentialComparison(alpha=ALPHA, margin=MARGIN, interval=False)
        seen: set[tuple[int, bool]] = set()
        for number, user in enumerate(rng.integers(150, size=1200)):
            canary = bool(place[user] < (0.1 if number < 600 else 0.5))
            if once and (user, canary) in seen:
                continue
            seen.add((user, canary))
            found.add(float(rng.random() < luck[user] - (drop if canary else 0)), canary=canary)
            if found.worse >= 1 / ALPHA:
                rolled_back += 1
                break
    return rolled_back / times


def slow_canaries(factor: float, answers: int, times: int, seed: int, *, share: float = 0.1, common: str = "") -> float:
    """Share of rollouts rolled back for latency at a tolerance of 25%, with log-normal latencies.

    `common`: both releases slow down together, up to three times: at once half way ("step"), or all the time ("ramp").
    """
    rng = np.random.default_rng(seed)
    rolled_back = 0
    for _ in range(times):
        test, count = RatioTest(0.25), 0
        while count < answers and test.worse < 1 / ALPHA:
            canary = bool(rng.random() < share)
            count += canary
            slowed = {"step": float(count > answers / 2), "ramp": count / answers}.get(common, 0.0)
            latency = float(rng.lognormal(0, 0.5)) * (1 + 2 * slowed)
            test.add(latency * (factor if canary else 1), canary=canary)
        rolled_back += test.worse >= 1 / ALPHA
    return rolled_back / times


def uneven_users(once: bool, times: int, seed: int) -> float:
    """Share of rollouts rolled back for latency at a tolerance of 10% by an identical release, when 60 users of
    different latency ask 50 times each in the mean, a tenth of them the canary. `once`: each counts once for each
    release, as in the controller."""
    rng = np.random.default_rng(seed)
    rolled_back = 0
    for _ in range(times):
        usual, eagerness = rng.normal(0, 0.6, 60), rng.pareto(1.5, 60) + 0.1
        analysis, test = RatioAnalysis("latency_ms", 0.1), RatioTest(0.1)
        for user in rng.choice(60, 3000, p=eagerness / eagerness.sum()):
            latency, canary = float(np.exp(usual[user] + rng.normal(0, 0.3))), bool(user < 6)
            if once:
                analysis.add(str(user), latency, canary=canary)
            else:
                test.add(latency, canary=canary)
        worse = analysis.evidence(1 / ALPHA).worse if once else test.worse
        rolled_back += worse >= 1 / ALPHA
    return rolled_back / times


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    times = parser.parse_args().times
    began = time.monotonic()
    print(f"{times} rollouts in each world, alpha {ALPHA}, looked at after every answer\n")
    print(f"{'world':<44}{'rolled back':>12}{'naive test':>12}{'median answers':>16}")
    for mean, share in ((0.6, 0.1), (0.8, 0.1), (0.95, 0.1), (0.8, 0.5)):
        world = World(f"quiet, pass/fail at {mean:g}, canary {share:.0%}", mean, mean, share)
        show(world.name, measure(world, 300, times, seed=1))
    show("quiet, graded at 0.7, canary 10%", measure(World("", 0.7, 0.7, 0.1, graded), 300, times, seed=2))
    print()
    for share in (0.1, 0.2, 0.5):
        for mean in (0.6, 0.7, 0.8, 0.9):
            world = World(f"15 points worse than {mean:g}, canary {share:.0%}", mean, mean - 0.15, share)
            show(world.name, measure(world, 200, times, seed=3))
    show("graded, 15 points worse, canary 10%", measure(World("", 0.7, 0.55, 0.1, graded), 200, times, seed=4))
    print()
    for factor in (1.0, 1.25, 1.5, 2.0):
        print(f"latency x {factor:<4} (25% allowed), canary 10%{slow_canaries(factor, 200, times, 5):>17.3f}")
    for share in (0.1, 0.33, 0.5):
        for common in ("step", "ramp"):
            for factor in (1.0, 2.0):
                figure = slow_canaries(factor, 200, times, 7, share=share, common=common)
                print(f"both slow down ({common}), canary {share:.0%} x {factor:<4}{figure:>19.3f}", flush=True)
    for once in (True, False):
        name = "150 regular users, quiet, " + ("each once" if once else "every answer")
        print(f"{name:<44}{regulars(0.0, once, times, 6):>12.3f}")
    for once in (True, False):
        name = "60 users of uneven latency, " + ("each once" if once else "every answer")
        print(f"{name:<44}{uneven_users(once, min(times, 200), 8):>12.3f}", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


def show(name: str, rates: Rates) -> None:
    """One line of the table."""
    median = "-" if rates.median is None else f"{rates.median:.0f}"
    print(f"{name:<44}{rates.rolled_back:>12.3f}{rates.naive:>12.3f}{median:>16}", flush=True)


if __name__ == "__main__":
    main()
