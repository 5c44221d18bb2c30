"""Is the canary worse? Tests that may be looked at after every answer.

Scores from 0 to 1 come in two groups of unequal size, the canary's and the baseline's. Each test keeps a wealth that
starts at 1 and bets against a null hypothesis; while the null holds, the wealth exceeds 1/alpha at any time at all with
probability at most alpha (Ville's inequality), however often one looks and whenever one stops.

Answers are taken in blocks of `n` answers of the baseline and `m` of the canary, of a composition that does not depend
on their scores. For the null "mean(canary) - mean(baseline) >= null" a block multiplies the wealth by

    prod_baseline (1 + a (y - c))  *  prod_canary (1 - b (y - c - null)),      with n a = m b, and a, b >= 0.

Its mean is at most exp(n a (mu - c) - m b (mu' - c - null)) <= exp((mu - c) (n a - m b)) = 1 for every c that was
chosen before the block, as mu' >= mu + null. For pass/fail scores and null = 0 this is the safe test of two proportions
by Turner, Ly and Grünwald ("Generic E-variables for exact sequential k-sample tests that allow for optional stopping",
2021); the form with a bet per observation extends it to any bounded score, as in Waudby-Smith and Ramdas ("Estimating
means of bounded random variables by betting", 2024). The means may change in time, as long as they do so together.
"""

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EFFECTS = np.array([0.05, 0.1, 0.15, 0.22, 0.4])
"""Distances from the null, in score points, that the bets are made for."""
WEIGHTS = np.array([0.05, 0.15, 0.55, 0.15, 0.1])
"""How the wealth is shared among them at the start."""
BOLDEST = 0.95
"""No bet may lose more than this share of the wealth on one answer."""
LARGEST_BLOCK = 50
"""Answers of the larger group in one block at most."""
LOWEST_VARIANCE = 0.01
LARGEST_LOG = 60.0
GRID = 101
"""Nulls for the confidence sequence, from -1 to 1: its ends are exact to 0.02."""
STAKES = np.array([0.3, 0.7, 1.2, 1.7])
"""Bets on a coin, as in 1 + stake (outcome - 1/2)."""


class Wealth:
    """Bets against "mean(canary) - mean(baseline) >= null", for several nulls at once."""

    def __init__(self, nulls: Array, distance: float | None = None) -> None:
        """`distance`: how far from the first null the truth is expected; its bets are made for that."""
        self._nulls = nulls[:, None]
        self._effects = EFFECTS + np.zeros((len(nulls), 1))
        if distance is not None:
            self._effects[0] = np.minimum(EFFECTS / EFFECTS[2] * distance, 0.9)
        self._log = np.log(WEIGHTS) + np.zeros((len(nulls), 1))
        self._best = np.zeros(len(nulls))

    def add(self, baseline: Sequence[float], canary: Sequence[float], centre: Array, variance: float) -> None:
        """Add one block. `centre`, one for each null, and `variance` come from the blocks before it."""
        share = len(canary) / (len(baseline) + len(canary))
        first = centre[:, None]
        second = first + self._nulls
        up, down = self._effects * (share / variance), self._effects * ((1 - share) / variance)
        # One scale for both keeps n a = m b. A factor at its worst, y = 0 or y = 1, stays above 1 - BOLDEST.
        worst = np.maximum(up * np.maximum(first, 0), down * np.maximum(1 - second, 0))
        scale = np.minimum(1.0, BOLDEST / np.maximum(worst, 1e-12))
        up, down = up * scale, down * scale
        for value, count in Counter(baseline).items():
            self._log += count * np.log1p(up * (value - first))
        for value, count in Counter(canary).items():
            self._log += count * np.log1p(down * (second - value))
        self._best = np.maximum(self._best, self.log_now())

    def log_now(self) -> Array:
        """Return the natural logarithm of the wealth against each null."""
        log_wealth: Array = np.logaddexp.reduce(self._log, axis=1)
        return log_wealth

    def log_best(self) -> Array:
        """Return the highest log wealth so far against each null: compare it with log(1/alpha) at any time."""
        return self._best


@dataclass(frozen=True)
class SequentialEstimate:
    """What is known about the difference canary - baseline after some answers. Higher scores are better."""

    baseline_answers: int
    canary_answers: int
    baseline_mean: float | None
    canary_mean: float | None
    difference: float | None
    low: float
    high: float
    """A confidence sequence for the difference: it holds at all times together with probability 1 - alpha."""
    worse: float
    """E-value against "the canary is not worse"."""
    good_enough: float
    """E-value against "the canary is worse by the margin or more"."""


class GroupSums:
    """Sums over the answers of one group."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, values: Sequence[float]) -> None:
        """Add the scores of newly arrived answers."""
        self.count += len(values)
        self.total += sum(values)
        self.squares += sum(value * value for value in values)

    @property
    def mean(self) -> float | None:
        """The mean score; None without any."""
        return self.total / self.count if self.count else None

    @property
    def spread(self) -> float:
        """Sum of the squared distances from the mean."""
        return max(self.squares - self.total**2 / self.count, 0.0) if self.count else 0.0


class SequentialComparison:
    """Two groups of scores from 0 to 1, looked at after every one. A higher score is better.

    `margin` is how much worse, in score points, the canary may be. `worse` is about any harm, or about harm beyond
    `harm_beyond` points. With `interval` False no confidence sequence is kept, which is faster.
    """

    def __init__(
        self, *, margin: float = 0.05, alpha: float = 0.05, interval: bool = True, harm_beyond: float = 0.0
    ) -> None:
        self._grid = np.linspace(-1, 1, GRID) if interval else np.array([])
        self._alpha = alpha
        # The second kind of wealth sees 1 - y: "better by at most" becomes "worse by at least".
        self._harm = _nulls(-harm_beyond, self._grid)
        self._good = _nulls(margin, -self._grid)
        self._against_harm, self._against_good = Wealth(self._harm), Wealth(self._good, margin or None)
        self._waiting: tuple[deque[float], deque[float]] = (deque(), deque())
        self._seen = (GroupSums(), GroupSums())
        self._used = (GroupSums(), GroupSums())

    def add(self, value: float, *, canary: bool) -> None:
        """Add one score; one outside 0 to 1 counts as the nearer end."""
        value = min(max(float(value), 0.0), 1.0)
        self._seen[canary].add((value,))
        self._waiting[canary].append(value)
        # The make-up of a block follows from how many answers there are, never from how good they are.
        while self._waiting[0] and self._waiting[1]:
            sizes = self._sizes()
            self._bet(_take(self._waiting[0], sizes[0]), _take(self._waiting[1], sizes[1]))

    def _sizes(self) -> tuple[int, int]:
        """Return one answer of the smaller group, and as many of the larger as keep both used up at the same rate."""
        small = int(self._seen[1].count < self._seen[0].count)
        large = 1 - small
        fair = self._seen[large].count * (self._used[small].count + 1) / self._seen[small].count
        many = min(max(round(fair) - self._used[large].count, 1), len(self._waiting[large]), LARGEST_BLOCK)
        return (many, 1) if small == 1 else (1, many)

    def _bet(self, baseline: list[float], canary: list[float]) -> None:
        first, second = self._used
        count = first.count + second.count
        # Two imagined answers half way with the spread of a pass/fail score at 0.7 keep the first bets sane.
        mean = (first.total + second.total + 1.0) / (count + 2)
        part = second.count / (count + 2)
        variance = max((first.spread + second.spread + 0.42) / (count + 2), LOWEST_VARIANCE)
        self._against_harm.add(baseline, canary, mean - part * self._harm, variance)
        lost = [1 - value for value in baseline], [1 - value for value in canary]
        self._against_good.add(*lost, 1 - mean - part * self._good, variance)
        first.add(baseline)
        second.add(canary)

    @property
    def worse(self) -> float:
        """The highest e-value so far against "the canary is not worse"."""
        return math.exp(min(self._against_harm.log_best()[0], LARGEST_LOG))

    @property
    def good_enough(self) -> float:
        """The highest e-value so far against "the canary is worse by the margin or more"."""
        return math.exp(min(self._against_good.log_best()[0], LARGEST_LOG))

    @property
    def difference(self) -> float | None:
        """Canary less baseline, as it looks now."""
        means = [group.mean for group in self._seen]
        return means[1] - means[0] if means[0] is not None and means[1] is not None else None

    def read(self) -> SequentialEstimate:
        """Return the estimate after the answers so far."""
        low, high = self._bounds()
        return SequentialEstimate(
            baseline_answers=self._seen[0].count,
            canary_answers=self._seen[1].count,
            baseline_mean=self._seen[0].mean,
            canary_mean=self._seen[1].mean,
            difference=self.difference,
            low=low,
            high=high,
            worse=self.worse,
            good_enough=self.good_enough,
        )

    def _bounds(self) -> tuple[float, float]:
        """Return the ends of what neither side rejects at alpha/2."""
        limit = math.log(2 / self._alpha)
        below = self._grid[self._against_good.log_best()[1:] >= limit]
        above = self._grid[self._against_harm.log_best()[1:] >= limit]
        low = float(below.max()) if len(below) else -1.0
        high = float(above.min()) if len(above) else 1.0
        return low, max(low, high)


class RatioTest:
    """Is a positive quantity, such as latency or cost, larger in the canary than `1 + tolerance` times the baseline's?

    Values are compared in short runs, in order of arrival: a run ends as soon as it holds values of both groups, and
    what is in it is never compared with a later one. In each the median of an odd number of the canary's meets that of
    the baseline's. While the canary's values are no larger than allowed, it wins at most every second time, whatever
    the shape of the distributions, and also when both groups slow down together: a coin is bet on. The values have to
    be independent: of several by one user, who always asks the same group, only one may be added.
    """

    def __init__(self, tolerance: float) -> None:
        self._factor = 1 + tolerance
        self._run: tuple[deque[float], deque[float]] = (deque(maxlen=LARGEST_BLOCK), deque(maxlen=LARGEST_BLOCK))
        self._compared: tuple[list[float], list[float]] = ([], [])
        self._log = np.full(len(STAKES), -math.log(len(STAKES)))
        self._best = 0.0

    def add(self, value: float, *, canary: bool) -> None:
        """Add the value of one answer to a group."""
        self._run[canary].append(value)
        if not (self._run[0] and self._run[1]):
            return
        baseline, one = (_newest_median(group) for group in self._run)
        for group, median in zip(self._compared, (baseline, one), strict=True):
            group.append(median)
        for values in self._run:
            values.clear()
        allowed = baseline * self._factor
        won = 0.5 if one == allowed else float(one > allowed)
        self._log += np.log1p(STAKES * (won - 0.5))
        self._best = max(self._best, float(np.logaddexp.reduce(self._log)))

    @property
    def worse(self) -> float:
        """The highest e-value so far against "the canary's is no larger than allowed"."""
        return math.exp(min(self._best, LARGEST_LOG))

    def medians(self) -> tuple[float | None, float | None]:
        """Return the medians of what was compared, of baseline and canary: both from the same times."""
        first, second = (float(np.median(values)) if values else None for values in self._compared)
        return first, second


class MeanSequence:
    """A confidence sequence for the mean of scores from 0 to 1: it holds at all times together.

    Each candidate mean is bet against from both sides, half of the wealth on each (Waudby-Smith and Ramdas 2024).
    """

    def __init__(self, *, alpha: float = 0.05) -> None:
        self._limit = math.log(1 / alpha)
        self._grid = np.linspace(0, 1, GRID)[:, None]
        self._above = np.zeros((GRID, len(EFFECTS))) + np.log(WEIGHTS / 2)
        self._below = self._above.copy()
        self._best = np.zeros(GRID)
        self._seen = GroupSums()

    def add(self, value: float) -> None:
        """Add one score from 0 to 1."""
        variance = max((self._seen.spread + 0.42) / (self._seen.count + 2), LOWEST_VARIANCE)
        off = min(max(value, 0.0), 1.0) - self._grid
        self._above += np.log1p(np.minimum(EFFECTS / variance, BOLDEST / np.maximum(self._grid, 1e-9)) * off)
        self._below += np.log1p(-np.minimum(EFFECTS / variance, BOLDEST / np.maximum(1 - self._grid, 1e-9)) * off)
        both = np.concatenate([self._above, self._below], axis=1)
        self._best = np.maximum(self._best, np.logaddexp.reduce(both, axis=1))
        self._seen.add((value,))

    @property
    def mean(self) -> float | None:
        """Return the mean of the scores so far."""
        return self._seen.mean

    @property
    def low(self) -> float:
        """The lowest mean that is not rejected."""
        return self._ends()[0]

    @property
    def high(self) -> float:
        """Return the upper end of the confidence sequence."""
        return self._ends()[1]

    def _ends(self) -> tuple[float, float]:
        accepted = self._grid[self._best < self._limit, 0]
        if len(accepted) == 0:
            mean = self._seen.mean or 0.0
            return mean, mean
        step = 1 / (GRID - 1)
        return max(float(accepted.min()) - step, 0.0), min(float(accepted.max()) + step, 1.0)


def _nulls(first: float, grid: Array) -> Array:
    return np.concatenate([[first], grid])


def _take(queue: deque[float], count: int) -> list[float]:
    return [queue.popleft() for _ in range(count)]


def _newest_median(values: deque[float]) -> float:
    """Return the median of the newest values, an odd number of them: half of all values lie above it."""
    return float(np.median(list(values)[1 - len(values) % 2 :]))
