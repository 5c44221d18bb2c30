"""Single rates: the interval of a share, and the exact test of two paired ones."""

from math import sqrt

from tidemill.stats.results import Rate


def wilson(successes: float, count: float, confidence: float = 0.95) -> Rate:
    """Return Wilson's score interval of the share `successes` / `count`.

    `count` may be an effective number of items. Raises ValueError when it is under 1, or `successes` is not between
    0 and `count`. Source: Wilson 1927; Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial Proportion.
    """
    from scipy import special

    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"{successes} of {count} is not a share")
    z = float(special.ndtri(0.5 + confidence / 2))
    share = successes / count
    scale = 1 + z * z / count
    center = (share + z * z / (2 * count)) / scale
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    low = 0.0 if successes == 0 else center - half
    high = 1.0 if successes == count else center + half
    return Rate(value=share, low=low, high=high, confidence=confidence, count=round(count))


def exact_upper(successes: int, count: int, confidence: float = 0.95) -> float:
    """Return Clopper and Pearson's one-sided upper limit of the share `successes` / `count`.

    With no success it is 1 - (1 - confidence) ** (1 / count). Raises ValueError as `wilson` does.
    """
    from scipy import special

    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"{successes} of {count} is not a share")
    return 1.0 if successes == count else float(special.betaincinv(successes + 1, count - successes, confidence))


def mcnemar(wins: int, losses: int) -> tuple[float, float, float]:
    """Return the p values (two-sided, greater, less) of McNemar's exact test of discordant pairs.

    `wins` and `losses` count the pairs in which one side alone succeeds. Exact at every count, so no switch to the
    chi-square form is needed. No discordant pair gives 1, 1, 1. Source: McNemar 1947.
    """
    from scipy import special

    total = wins + losses
    if total == 0:
        return 1.0, 1.0, 1.0
    greater = float(special.bdtr(losses, total, 0.5))
    less = float(special.bdtr(wins, total, 0.5))
    return min(1.0, 2 * min(greater, less)), greater, less
