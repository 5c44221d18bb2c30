"""What a set of items can see: said before the run, so that nobody reads noise as a finding."""

from math import ceil, sqrt

from tidemill.stats.clusters import Floats, degrees_of_freedom, design_effect


def minimum_detectable_effect(
    sizes: Floats,
    *,
    sd: float | None = None,
    discordance: float | None = None,
    icc: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """Return the smallest true difference that a one-sided test at `alpha` finds with probability `power`.

    `sizes` are the cluster sizes, shape (clusters,), ones for independent items. Give `discordance`, the share of
    items on which two pass/fail runs differ, or `sd`, the standard deviation of the differences of any other metric;
    the result is a share from 0 to 1, or in the unit of `sd`. Uses the same interval as the comparison itself:
    (t_alpha + t_power) * sd / sqrt(n_eff), with its adjustment for ties. None when no difference could be found, for
    instance with two clusters of pass/fail items. Raises ValueError unless exactly one of the two is given.
    """
    from scipy import special

    if (sd is None) == (discordance is None):
        raise ValueError("give either `sd` or `discordance`")
    df = degrees_of_freedom(sizes)
    if df <= 0:
        return None
    n_eff = float(sizes.sum()) / design_effect(sizes, icc)
    reach = float(special.stdtrit(df, 1 - alpha) + special.stdtrit(df, power))
    if sd is not None:
        return reach * sd / sqrt(n_eff)
    effect = _pass_fail_effect(n_eff, float(discordance or 0), reach)
    return effect if effect <= 1 else None


def _pass_fail_effect(n_eff: float, discordance: float, reach: float) -> float:
    """Return the difference d at which the centre d n / (n + 2) is `reach` score standard errors away from 0.

    Its mean square is (max(discordance, d) n + 2) / (n + 2): two systems that differ by d disagree on at least d.
    Both cases are quadratic in d.
    """
    worth, strength = n_eff + 2, reach**2
    square = (discordance * n_eff + 2) / worth
    effect = worth / n_eff * reach * sqrt(square / (worth + strength))
    if effect <= discordance:
        return effect
    quadratic, linear, constant = n_eff**2 * (worth + strength), strength * n_eff * worth, 2 * strength * worth
    return (linear + sqrt(linear**2 + 4 * quadratic * constant)) / (2 * quadratic)


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
    """Return how many items with clusters of these sizes would see `effect` with probability `power`.

    The arguments are those of `minimum_detectable_effect`; normal quantiles stand for those of t.
    """
    from scipy import special

    variance = sd**2 if sd is not None else max(float(discordance or 0), effect)
    reach = float(special.ndtri(1 - alpha) + special.ndtri(power))
    return ceil(reach**2 * variance * design_effect(sizes, icc) / effect**2)


def items_to_settle(pairs: int, se: float, reach: float, gap: float) -> int:
    """Return how many more items make the interval narrower than `gap`, so that it must lie on one side.

    `reach` is the t quantile of a one-sided bound, `se` and `gap` are in the metric's unit. Assumes that new items
    come in clusters like the old ones. Raises ValueError for a gap of 0 or less.
    """
    if gap <= 0:
        raise ValueError(f"a gap of {gap} cannot be settled by any number of items")
    needed = pairs * (2 * reach * se / gap) ** 2
    return max(1, ceil(needed) - pairs)
