"""What a set of items can see: said before the run, so that nobody reads noise as a finding."""

from collections.abc import Callable

import numpy as np
from scipy import special

from tidemill.evals.paired import Floats, degrees_of_freedom, unequal_size


def design_effect(sizes: Floats, icc: float) -> float:
    """1 + (m - 1) icc, with m the size-weighted mean cluster size."""
    return 1 + (unequal_size(sizes) - 1) * icc


def minimum_detectable_effect(
    sizes: Floats,
    *,
    sd: float | None = None,
    discordance: float | None = None,
    icc: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """The smallest true difference that a one-sided test at `alpha` finds with probability `power`.

    `sizes` are the cluster sizes (ones for independent items). Give `discordance`, the share of items on which two
    pass/fail runs differ, or `sd`, the standard deviation of the differences of any other metric. Uses the same
    interval as the comparison itself: (t_alpha + t_power) * sd / sqrt(n_eff), with its adjustment for ties. None
    when no difference could be found, for instance with two clusters of pass/fail items.
    """
    if (sd is None) == (discordance is None):
        raise ValueError("give either `sd` or `discordance`")
    df = degrees_of_freedom(sizes)
    if df <= 0:
        return None
    n_eff = float(sizes.sum()) / design_effect(sizes, icc)
    reach = float(special.stdtrit(df, 1 - alpha) + special.stdtrit(df, power))
    if sd is not None:
        return reach * sd / float(np.sqrt(n_eff))
    share = float(discordance or 0)

    def surplus(delta: float) -> float:
        square = (max(share, delta) * n_eff + 2) / (n_eff + 2)
        centre = delta * n_eff / (n_eff + 2)
        return centre - reach * float(np.sqrt((square - centre**2) / (n_eff + 2)))

    return _root(surplus)


def items_needed(
    effect: float,
    sizes: Floats,
    *,
    sd: float | None = None,
    discordance: float | None = None,
    icc: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> int:
    """How many items with clusters of these sizes would see `effect` with probability `power`."""
    variance = sd**2 if sd is not None else max(float(discordance or 0), effect)
    reach = float(special.ndtri(1 - alpha) + special.ndtri(power))
    return int(np.ceil(reach**2 * variance * design_effect(sizes, icc) / effect**2))


def items_to_settle(pairs: int, se: float, reach: float, gap: float) -> int:
    """How many more items make the interval narrower than `gap`, so that it must lie on one side.

    `reach` is the t quantile of a one-sided bound. Assumes that new items come in clusters like the old ones.
    """
    if gap <= 0:
        raise ValueError(f"a gap of {gap} cannot be settled by any number of items")
    needed = pairs * (2 * reach * se / gap) ** 2
    return max(1, int(np.ceil(needed)) - pairs)


def _root(surplus: Callable[[float], float]) -> float | None:
    low, high = 0.0, 1.0
    if surplus(high) < 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) < 0 else (low, middle)
    return high
