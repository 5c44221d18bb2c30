"""Single rates, and what to do about many tests at once."""

import numpy as np
from scipy import special

from tidemill.evals.types import Rate


def wilson(successes: float, count: float, confidence: float = 0.95) -> Rate:
    """Wilson's score interval of a share (Wilson 1927, Brown, Cai and DasGupta 2001).

    `count` may be an effective number of items. Raises ValueError under 1: a share of nothing is not a number.
    """
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"{successes} of {count} is not a share")
    z = float(special.ndtri(0.5 + confidence / 2))
    share = successes / count
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z * float(np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))) / scale
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == count else middle + half
    return Rate(value=share, low=low, high=high, confidence=confidence, count=round(count))


def mcnemar(wins: int, losses: int) -> tuple[float, float, float]:
    """McNemar's exact test: p values (two-sided, greater, less) of `wins` against `losses` discordant pairs.

    Exact at every count, so no switch to the chi-square form is needed. No discordant pair gives 1, 1, 1.
    """
    total = wins + losses
    if total == 0:
        return 1.0, 1.0, 1.0
    greater = float(special.bdtr(losses, total, 0.5))
    less = float(special.bdtr(wins, total, 0.5))
    return min(1.0, 2 * min(greater, less)), greater, less


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): reject where the adjusted value is at most alpha."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted
