"""How often an objective's alerts speak without a reason, and how soon they speak with one.

    python benchmarks/slo_errors.py [--weeks 200] [--seed 0]

Quiet weeks: calls come by a Poisson process and each fails exactly as often as the objective allows, which is the
worst there is without a fault. Every minute the rules are looked at, as the scheduler does. A false page is a week in
which a page opened. The same weeks are judged by the plain rules of the workbook, without a test of the figures.
Faults: from one minute on calls fail more often; what counts is the time until the alert opens.
Judges: a model scores every answer, people a few; objectives on its scores, as they are and corrected by the labels.
Indicators: looked at every hour over a window of a day, with the mean at its floor, which is the worst, or above it.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from tidemill.kpis.estimates import VERDICT_CONFIDENCE
from tidemill.slos.burn_rate import ALPHA, WINDOW_PAIRS
from tidemill.stats.ppi import PairedSums, PpiShift, shift_bound
from tidemill.stats.rates import wilson

WEEK, LEAST = 7 * 24 * 60, 20


@dataclass(frozen=True)
class Looks:
    """For each minute: whether a severity's rule speaks, tested and plain."""

    tested: dict[str, np.ndarray]
    plain: dict[str, np.ndarray]


def window_sums(values: np.ndarray, minutes: int) -> np.ndarray:
    """Sums over the last so many minutes, fewer at the start."""
    total = np.concatenate([[0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    return total[ends] - total[np.maximum(0, ends - minutes)]


def look(calls: np.ndarray, bad: np.ndarray, goal: float, people: PpiShift | None = None) -> Looks:
    """What the rules say in every minute."""
    budget = 1 - goal
    shift, low, doubt = (people.shift, people.low, people.doubt) if people is not None else (0.0, 0.0, 0.0)
    allowed = min(1.0, budget - low)
    tested = {"page": np.zeros(len(calls), bool), "ticket": np.zeros(len(calls), bool)}
    plain = {name: found.copy() for name, found in tested.items()}
    for pair in WINDOW_PAIRS:
        factor = min(pair.factor, 0.9 / budget)
        long_n, long_bad = window_sums(calls, pair.long_s // 60), window_sums(bad, pair.long_s // 60)
        short_n, short_bad = window_sums(calls, pair.long_s // 720), window_sums(bad, pair.long_s // 720)
        wanted = factor * budget - shift
        over = (long_bad >= wanted * long_n) & (short_bad >= wanted * short_n)
        over &= (long_n > 0) & (short_n > 0)
        plain[pair.severity] |= over
        by_chance = special.bdtrc(np.maximum(long_bad, 1) - 1, np.maximum(long_n, 1), allowed) if allowed > 0 else 0.0
        by_chance = by_chance + doubt
        tested[pair.severity] |= over & (long_n >= LEAST) & (by_chance <= ALPHA[pair.severity])
    return Looks(tested, plain)


def weeks(rng: np.random.Generator, count: int, per_hour: float, goal: float) -> Iterator[Looks]:
    """Quiet weeks."""
    for _ in range(count):
        calls = rng.poisson(per_hour / 60, WEEK)
        yield look(calls, rng.binomial(calls, 1 - goal), goal)


def quiet(rng: np.random.Generator, count: int) -> None:
    """The table of false alarms: the share of weeks with at least one."""
    print(f"{'goal':>7} {'calls/h':>8} {'false pages':>17} {'plain rules':>12} {'false tickets':>19} {'plain':>6}")
    for goal in (0.9, 0.99, 0.999):
        for per_hour in (5, 50, 500, 5000):
            found = list(weeks(rng, count, per_hour, goal))
            shares = [
                np.mean([getattr(looks, kind)[severity].any() for looks in found])
                for severity in ("page", "ticket")
                for kind in ("tested", "plain")
            ]
            print(f"{goal:>7} {per_hour:>8} {shares[0]:>17.3f} {shares[1]:>12.3f} {shares[2]:>19.3f} {shares[3]:>6.3f}")


def faults(rng: np.random.Generator, count: int) -> None:
    """The table of detection."""
    print(f"\n{'goal':>7} {'calls/h':>8} {'failing':>8} {'paged in 1 h':>13} {'median minutes':>15}")
    day = 24 * 60
    for goal, per_hour, failing in (
        (0.99, 50, 0.5),
        (0.99, 500, 0.2),
        (0.99, 5000, 0.2),
        (0.999, 500, 0.1),
        (0.8, 100, 0.95),
    ):
        delays = []
        for _ in range(count):
            calls = rng.poisson(per_hour / 60, day + 60)
            share = np.where(np.arange(day + 60) >= day, failing, (1 - goal) / 2)
            paged = np.flatnonzero(look(calls, rng.binomial(calls, share), goal).tested["page"][day:])
            delays.append(paged[0] + 1 if len(paged) else np.inf)
        print(f"{goal:>7} {per_hour:>8} {failing:>8} {np.mean(np.isfinite(delays)):>13.3f} {np.median(delays):>15}")


@dataclass(frozen=True)
class Judge:
    """A model that judges: how often it finds a bad answer bad, and a good one."""

    name: str
    hit: float
    slip: float

    def found_bad(self, share: np.ndarray | float) -> np.ndarray:
        """Share that it finds bad when so many are."""
        return np.asarray(share * self.hit + (1 - share) * self.slip)

    def labels(self, rng: np.random.Generator, count: int, share: float) -> PairedSums:
        """People and it about a random sample, as passing or not."""
        people = rng.random(count) >= share
        model = rng.random(count) >= np.where(people, self.slip, self.hit)
        both, apart = float((people & model).sum()), float((people != model).sum())
        return PairedSums(count, float(people.sum()), float(people.sum()), float(model.sum()), both, apart)


JUDGES = (Judge("fair", 0.95, 0.01), Judge("strict", 0.95, 0.3), Judge("lenient", 0.5, 0.01), Judge("coin", 0.5, 0.5))


def judges(rng: np.random.Generator, count: int) -> None:
    """The table of quality objectives: weeks that just meet the goal, and a fault that three of four answers have."""
    day = 24 * 60
    print(f"\n{'judge':>8} {'goal':>5} {'scores/h':>8} {'labels':>7} {'false pages':>12} {'as it is':>9}", end=" ")
    print(f"{'tickets':>8} {'as it is':>9} {'paged in 12 h':>14} {'as it is':>9} {'median h':>9} {'as it is':>9}")
    for judge in JUDGES:
        for goal, per_hour, labels in ((0.95, 20, 50), (0.95, 200, 200), (0.9, 200, 200)):
            alarms, delays = np.zeros(4), ([], [])
            for _ in range(count):
                people = shift_bound(judge.labels(rng, labels, 1 - goal))
                scored = rng.poisson(per_hour / 60, WEEK)
                bad = rng.binomial(scored, judge.found_bad(1 - goal))
                found = [look(scored, bad, goal, people).tested, look(scored, bad, goal).tested]
                alarms += [looks[kind].any() for kind in ("page", "ticket") for looks in found]
                scored = rng.poisson(per_hour / 60, day + 720)
                share = np.where(np.arange(day + 720) >= day, 0.75, (1 - goal) / 2)
                bad = rng.binomial(scored, judge.found_bad(share))
                for kept, corrected in zip(delays, (people, None), strict=True):
                    paged = np.flatnonzero(look(scored, bad, goal, corrected).tested["page"][day:])
                    kept.append((paged[0] + 1) / 60 if len(paged) else np.inf)
            shares = [f"{value:.3f}" for value in alarms / count]
            seen = [f"{np.mean(np.isfinite(kept)):.3f}" for kept in delays]
            hours = [f"{np.median(kept):.1f}" for kept in delays]
            line = (judge.name, goal, per_hour, labels, *shares, *seen, *hours)
            widths = (8, 5, 8, 7, 12, 9, 8, 9, 14, 9, 9, 9)
            print(*(f"{value:>{width}}" for value, width in zip(line, widths, strict=True)))


def indicators(rng: np.random.Generator, count: int) -> None:
    """The table of indicators: drops called in a week in which nothing changed, and the time until a real one is."""
    print(f"\n{'scores/day':>10} {'true mean':>10} {'floor':>6} {'false drops':>12} {'to see a fall by 0.2':>21}")
    for per_day, truth in ((50, 0.8), (50, 0.85), (500, 0.8), (500, 0.85)):
        false, hours = 0, []
        for _ in range(count):
            false += bool(drops(rng, per_day, np.full(8 * 24, truth)).size)
            seen = drops(rng, per_day, np.repeat([truth, truth - 0.2], 48))
            hours.append((seen[seen >= 48] - 48).min(initial=np.inf))
        print(f"{per_day:>10} {truth:>10} {0.8:>6} {false / count:>12.3f} {f'{np.median(hours):.0f} h':>21}")


def drops(rng: np.random.Generator, per_day: int, truth: np.ndarray) -> np.ndarray:
    """The hours at which an indicator with a window of a day and the floor 0.8 calls a drop; the mean is by hour."""
    counts = rng.poisson(per_day / 24, len(truth))
    passed = rng.binomial(counts, truth)
    total, good = window_sums(counts, 24), window_sums(passed, 24)
    found = []
    for hour in range(24, len(truth)):
        if total[hour] >= LEAST:
            high = wilson(int(good[hour]), int(total[hour]), VERDICT_CONFIDENCE).high
            if high < 0.8:
                found.append(hour + 1)
    return np.array(found, dtype=float)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--weeks", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    begun = time.monotonic()
    rng = np.random.default_rng(given.seed)
    quiet(rng, given.weeks)
    faults(rng, given.weeks)
    judges(rng, given.weeks)
    indicators(rng, given.weeks)
    print(f"\n{given.weeks} weeks and days for each line, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
