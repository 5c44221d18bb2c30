"""From a difference to a verdict: pass, fail, or inconclusive with how many more examples would settle it."""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from tidemill.evals.types import MetricRule, MetricVerdict, NonInferiority, Outcome, TooFewPairs
from tidemill.stats.clusters import Labels
from tidemill.stats.correction import holm
from tidemill.stats.paired import bounds, paired_comparison, standard_error
from tidemill.stats.power import items_to_settle
from tidemill.stats.results import Difference, InsufficientData


def paired_difference(
    baseline: ArrayLike, candidate: ArrayLike, clusters: Labels | None = None, *, confidence: float = 0.95
) -> Difference:
    """Return `paired_comparison` of the same arguments. Raises TooFewPairs where that raises InsufficientData."""
    try:
        return paired_comparison(baseline, candidate, clusters, confidence=confidence)
    except InsufficientData as error:
        raise TooFewPairs(str(error), hint=error.hint) from error


@dataclass(frozen=True)
class _Gain:
    """A difference turned so that more is better, with one-sided bounds."""

    difference: Difference
    sign: float
    lower: float
    upper: float

    def p_above(self, threshold: float) -> float:
        """Return one-sided p value of "the gain is at most `threshold`"."""
        return self._tail(self.sign * self.difference.center - threshold, threshold)

    def p_below(self, ceiling: float) -> float:
        """Return one-sided p value of "the gain is at least `ceiling`"."""
        return self._tail(ceiling - self.sign * self.difference.center, ceiling)

    def _tail(self, distance: float, truth: float) -> float:
        from scipy import special

        se = standard_error(self.difference, truth)
        if se <= 0:
            return 0.0 if distance > 0 else 1.0
        return float(special.stdtr(self.difference.df, -distance / se))

    @property
    def p_better(self) -> float:
        """One-sided p value of the permutation test."""
        return self.difference.p_greater if self.sign > 0 else self.difference.p_less


def _gain(difference: Difference, rule: MetricRule, alpha: float) -> _Gain:
    from scipy import special

    low, high = bounds(difference, float(special.stdtrit(difference.df, 1 - alpha)))
    if rule.direction == "higher":
        return _Gain(difference, 1.0, low, high)
    return _Gain(difference, -1.0, -high, -low)


def thresholds(rule: MetricRule) -> tuple[float, float]:
    """Above the first a rule passes, below the second it fails; in between lies what is not settled.

    An improvement passes when a gain of 0 is ruled out, and fails when the minimum effect is ruled out. Non-
    inferiority is the same, shifted down by the margin.
    """
    if rule.kind == "improvement":
        return 0.0, float(rule.minimum_effect or 0)
    return -float(rule.margin or 0), 0.0


def judge_metric(rule: MetricRule, difference: Difference, alpha: float = 0.05) -> MetricVerdict:
    """Return the verdict on one metric.

    To pass an improvement, the one-sided bound must lie above 0 and the permutation (or McNemar) test must reject
    as well, so the stricter of the two decides.
    """
    gain = _gain(difference, rule, alpha)
    threshold, ceiling = thresholds(rule)
    p_value = gain.p_above(threshold)
    if threshold == 0:
        p_value = max(p_value, gain.p_better)
    return _settled(rule, difference, gain, alpha, p_value, gain.p_below(ceiling), None)


def judge_guardrails(
    rules: list[MetricRule], differences: list[Difference], alpha: float = 0.05
) -> list[MetricVerdict]:
    """Return the verdicts on all guardrails, with Holm's correction of both families: "not worse" and "worse"."""
    gains = [_gain(d, r, alpha) for r, d in zip(rules, differences, strict=True)]
    limits = [thresholds(r) for r in rules]
    fine = [g.p_above(t) for g, (t, _) in zip(gains, limits, strict=True)]
    harm = [g.p_below(c) for g, (_, c) in zip(gains, limits, strict=True)]
    fine_holm, harm_holm = holm(fine), holm(harm)
    return [
        _settled(rules[i], differences[i], gains[i], alpha, fine[i], harm[i], (fine_holm[i], harm_holm[i]))
        for i in range(len(rules))
    ]


def _settled(
    rule: MetricRule,
    difference: Difference,
    gain: _Gain,
    alpha: float,
    p_value: float,
    p_harm: float,
    adjusted: tuple[float, float] | None,
) -> MetricVerdict:
    from scipy import special

    threshold, ceiling = thresholds(rule)
    p_adjusted, p_harm_adjusted = adjusted or (p_value, p_harm)
    outcome: Outcome = "inconclusive"
    if p_adjusted <= alpha and gain.lower > threshold:
        outcome = "pass"
    elif p_harm_adjusted <= alpha and gain.upper < ceiling:
        outcome = "fail"
    more = None
    if outcome == "inconclusive" and ceiling > threshold:
        reach = float(special.stdtrit(difference.df, 1 - alpha))
        more = items_to_settle(difference.n_pairs, difference.se, reach, ceiling - threshold)
    return MetricVerdict(
        metric=rule.metric,
        kind=rule.kind,
        direction=rule.direction,
        outcome=outcome,
        threshold=threshold,
        ceiling=ceiling,
        lower=gain.lower,
        upper=gain.upper,
        p_value=p_value,
        p_adjusted=p_adjusted,
        p_harm=p_harm,
        p_harm_adjusted=p_harm_adjusted,
        more_items=more,
        difference=difference,
        summary=_summary(rule, difference, gain, outcome, alpha, more),
    )


def _summary(
    rule: MetricRule, difference: Difference, gain: _Gain, outcome: Outcome, alpha: float, more: int | None
) -> str:
    threshold, ceiling = thresholds(rule)
    change = (
        f"{rule.metric}: {difference.baseline_mean:.4g} -> {difference.candidate_mean:.4g} "
        f"({difference.delta:+.4g}, {difference.confidence:.0%} interval {difference.low:+.4g} to "
        f"{difference.high:+.4g}, {difference.n_pairs} pairs in {difference.n_clusters} clusters)."
    )
    sure = f"with confidence {1 - alpha:.0%}"
    if outcome == "pass" and gain.lower >= 0:
        return f"{change} It improves by more than {gain.lower:.4g} {sure}."
    if outcome == "pass":
        return f"{change} It is worse by less than {-gain.lower:.4g} {sure}, and {-threshold:.4g} is allowed."
    if outcome == "fail" and rule.kind == "improvement":
        return f"{change} An improvement by {ceiling:.4g} is ruled out {sure}."
    if outcome == "fail":
        return f"{change} It is worse {sure}, and a loss of {-threshold:.4g} is not ruled out."
    if more is not None:
        return f"{change} Not settled: about {more} more items like these would settle it."
    return f"{change} Not settled: with a margin of 0, no number of items can show that nothing was lost."


def overall(verdicts: list[MetricVerdict]) -> Outcome:
    """Fail if any fails, pass if all pass, otherwise inconclusive."""
    outcomes = {v.outcome for v in verdicts}
    if "fail" in outcomes:
        return "fail"
    return "pass" if outcomes == {"pass"} else "inconclusive"


def noninferiority(
    baseline: ArrayLike,
    candidate: ArrayLike,
    clusters: Labels | None = None,
    *,
    margin: float,
    alpha: float = 0.05,
) -> NonInferiority:
    """Return whether `candidate` is not worse than `baseline` by `margin` or more, and TOST equivalence.

    Arrays as in `paired_comparison`. `margin` is in the metric's own unit and must be positive,
    else ValueError is raised. Raises TooFewPairs as `paired_difference` does.
    """
    if margin <= 0:
        raise ValueError(f"a margin of {margin} cannot be shown by any number of items")
    difference = paired_difference(baseline, candidate, clusters, confidence=1 - alpha)
    rule = MetricRule(metric="score", kind="non_inferiority", margin=margin)
    verdict = judge_metric(rule, difference, alpha)
    p_equivalence = max(verdict.p_value, _gain(difference, rule, alpha).p_below(margin))
    return NonInferiority(
        outcome=verdict.outcome,
        margin=margin,
        lower=verdict.lower,
        upper=verdict.upper,
        p_value=verdict.p_value,
        equivalent=p_equivalence <= alpha,
        p_equivalence=p_equivalence,
        more_items=verdict.more_items,
        difference=difference,
        summary=verdict.summary,
    )
