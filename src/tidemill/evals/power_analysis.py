"""From an eval set and what is known or assumed about it to the smallest difference it can see."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.evals.types import EvalPlan, EvalPlanRequest
from tidemill.stats.clusters import Floats, cluster_sizes, design_effect
from tidemill.stats.power import items_needed, minimum_detectable_effect
from tidemill.stats.results import Difference

USUAL_DISCORDANCE = 0.2
USUAL_ICC = 0.3


@dataclass(frozen=True)
class _Spread:
    """How much two runs differ: measured in a pilot, given, or assumed."""

    discordance: float | None
    sd: float
    icc: float
    assumed: list[str]


def _pass_fail(difference: Difference) -> bool:
    """Return whether the differences are -1, 0 and 1 only: then their mean square is the share that is not tied."""
    n = difference.n_pairs
    differing = difference.wins + difference.losses
    square = difference.sd**2 * (n - 1) / n + difference.delta**2
    return abs(square - differing / n) < 1e-9


def _measured_spread(difference: Difference) -> _Spread:
    share = max(difference.wins + difference.losses, 1) / difference.n_pairs
    discordance = share if _pass_fail(difference) else None
    return _Spread(discordance=discordance, sd=difference.sd, icc=difference.icc, assumed=[])


def detectable(difference: Difference, clusters: Sequence[str], alpha: float, power: float) -> float | None:
    """Return the minimum detectable effect at the size and spread that a comparison has met."""
    spread = _measured_spread(difference)
    return _effect(spread, cluster_sizes(clusters)[1], alpha, power)


def _effect(spread: _Spread, sizes: Floats, alpha: float, power: float) -> float | None:
    if spread.discordance is not None:
        return minimum_detectable_effect(
            sizes, discordance=spread.discordance, icc=spread.icc, alpha=alpha, power=power
        )
    return minimum_detectable_effect(sizes, sd=spread.sd, icc=spread.icc, alpha=alpha, power=power)


def _declared_spread(body: EvalPlanRequest, clustered: bool) -> _Spread:
    assumed = []
    discordance = body.discordance
    if discordance is None and body.sd is None:
        discordance = USUAL_DISCORDANCE
        assumed.append(f"discordance {discordance:g}")
    icc = body.icc if body.icc is not None else USUAL_ICC if clustered else 0.0
    if body.icc is None and clustered:
        assumed.append(f"icc {icc:g}")
    sd = body.sd if body.sd is not None else float(discordance or 0) ** 0.5
    return _Spread(discordance=None if body.sd is not None else discordance, sd=sd, icc=icc, assumed=assumed)


def plan(eval_set: str, clusters: Sequence[str], body: EvalPlanRequest, pilot: Difference | None) -> EvalPlan:
    """Return what these items can see, with the pilot's figures when there is one."""
    sizes = cluster_sizes(clusters)[1]
    spread = _measured_spread(pilot) if pilot is not None else _declared_spread(body, len(sizes) < len(clusters))
    effect = _effect(spread, sizes, body.alpha, body.power)
    needed = None
    if body.minimum_effect is not None:
        needed = items_needed(
            body.minimum_effect,
            sizes,
            sd=None if spread.discordance is not None else spread.sd,
            discordance=spread.discordance,
            icc=spread.icc,
            alpha=body.alpha,
            power=body.power,
        )
    inflation = design_effect(sizes, spread.icc)
    return EvalPlan(
        eval_set=eval_set,
        items=len(clusters),
        clusters=len(sizes),
        alpha=body.alpha,
        power=body.power,
        sd=spread.sd,
        discordance=spread.discordance,
        icc=spread.icc,
        design_effect=inflation,
        n_eff=len(clusters) / inflation,
        minimum_detectable_effect=effect,
        items_needed=needed,
        assumed=spread.assumed,
        summary=_summary(len(clusters), spread, effect, body, needed),
    )


def _summary(items: int, spread: _Spread, effect: float | None, body: EvalPlanRequest, needed: int | None) -> str:
    points = spread.discordance is not None
    if effect is None:
        answer = f"Your {items} items can see no difference at all: they lie in too few clusters."
    else:
        size = f"{effect * 100:.1f} points" if points else f"{effect:.3g}"
        answer = f"Your {items} items can only see a difference of {size} or more (power {body.power:.0%})."
    if body.minimum_effect is None or needed is None:
        return answer
    effect_text = f"{body.minimum_effect * 100:.1f} points" if points else f"{body.minimum_effect:.3g}"
    enough = "which you have" if needed <= items and effect is not None else f"{max(needed - items, 1)} more"
    return f"{answer} To see {effect_text} takes about {needed}, {enough}."
