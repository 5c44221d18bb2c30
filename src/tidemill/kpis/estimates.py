"""The arithmetic of KPIs: means of scores with cluster-robust intervals, since one user's scores are correlated."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from tidemill.kpis.types import Kpi, KpiPoint, KpiVerdict
from tidemill.stats.rates import wilson

DISPLAY_CONFIDENCE = 0.95
"""Of the intervals in a report or a series."""

VERDICT_CONFIDENCE = 0.99
"""Of the intervals behind a verdict: higher, because a KPI is checked every minute."""


@dataclass(frozen=True)
class ScoreCluster:
    """The scores that come from one user, session or trace."""

    count: int
    total: float
    binary: bool
    """Whether every score is 0 or 1."""


@dataclass(frozen=True)
class KpiEstimate:
    """A mean with what is needed to give it an interval."""

    scores: int
    units: int
    mean: float
    se: float | None
    """Cluster-robust standard error; None for a single unit."""
    n_eff: float
    binary: bool

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """Return Wilson's interval over the effective number for scores of 0 and 1, else Student's t over units."""
        from scipy import special

        if self.binary and self.n_eff >= 1:
            rate = wilson(self.mean * self.n_eff, self.n_eff, confidence)
            return rate.low, rate.high
        if self.se is None:
            return None
        half = float(special.stdtrit(self.units - 1, 0.5 + confidence / 2)) * self.se
        return self.mean - half, self.mean + half


def estimate(units: Sequence[ScoreCluster]) -> KpiEstimate | None:
    """Return the mean over all scores; its error by the sandwich over units (Liang and Zeger 1986), times G/(G-1).

    The effective number of scores is what gives a plain share this error, and never more than there are scores; when
    all scores agree it is the number of units, for then nothing says how alike a unit's scores are. None of nothing.
    """
    counts = np.array([unit.count for unit in units], dtype=float)
    totals = np.array([unit.total for unit in units], dtype=float)
    scores, groups = float(counts.sum()), len(units)
    if scores == 0:
        return None
    mean = float(totals.sum() / scores)
    se = None
    if groups > 1:
        residuals = totals - counts * mean
        se = sqrt(groups / (groups - 1) * float((residuals**2).sum())) / scores
    binary = all(unit.binary for unit in units)
    spread = mean * (1 - mean)
    n_eff = float(groups)
    if binary and se is not None and se > 0 and spread > 0:
        n_eff = min(scores, spread / se**2)
    return KpiEstimate(scores=int(scores), units=groups, mean=mean, se=se, n_eff=n_eff, binary=binary)


def mean_difference(before: KpiEstimate, now: KpiEstimate, confidence: float) -> tuple[float, float, float] | None:
    """Return the mean now minus that before, with its interval: Newcombe's for shares (1998, method 10), else Welch's.

    The releases are answered by different calls, so the two means are independent. None when an error is not known.
    """
    from scipy import special

    delta = now.mean - before.mean
    if before.binary and now.binary:
        old, new = before.interval(confidence), now.interval(confidence)
        if old is None or new is None:
            return None
        low = delta - sqrt((now.mean - new[0]) ** 2 + (old[1] - before.mean) ** 2)
        high = delta + sqrt((new[1] - now.mean) ** 2 + (before.mean - old[0]) ** 2)
        return delta, low, high
    if before.se is None or now.se is None:
        return None
    square = before.se**2 + now.se**2
    if square == 0:
        return delta, delta, delta
    df = square**2 / (before.se**4 / (before.units - 1) + now.se**4 / (now.units - 1))
    half = float(special.stdtrit(df, 0.5 + confidence / 2)) * sqrt(square)
    return delta, delta - half, delta + half


def build_point(start: object, end: object, release_id: str | None, estimate: KpiEstimate | None) -> KpiPoint:
    """Return an estimate with its 95% interval as one point of a series."""
    interval = estimate.interval(DISPLAY_CONFIDENCE) if estimate is not None else None
    kind = None if estimate is None or interval is None else "wilson" if estimate.binary else "clustered_t"
    return KpiPoint.model_validate(
        {
            "start": start,
            "end": end,
            "release_id": release_id,
            "scores": estimate.scores if estimate is not None else 0,
            "units": estimate.units if estimate is not None else 0,
            "mean": estimate.mean if estimate is not None else None,
            "low": interval[0] if interval is not None else None,
            "high": interval[1] if interval is not None else None,
            "interval": kind,
        }
    )


def judge(
    kpi: Kpi, now: KpiEstimate | None, before: KpiEstimate | None
) -> tuple[KpiVerdict, str, tuple[float, float, float] | None, int | None]:
    """Return whether the KPI dropped: verdict, why, the difference with its 99% interval, and what would settle it."""
    change = mean_difference(before, now, VERDICT_CONFIDENCE) if now is not None and before is not None else None
    scores = now.scores if now is not None else 0
    if now is None or scores < kpi.min_scores:
        return "inconclusive", f"{scores} of at least {kpi.min_scores} scores", change, kpi.min_scores - scores
    judgements: list[tuple[KpiVerdict, str, int | None]] = []
    if kpi.floor is not None:
        judgements.append(_against_floor(kpi.floor, now))
    if kpi.drop is not None:
        judgements.append(_against_reference(kpi, now, before, change))
    if not judgements:
        return "pass", f"the mean is {now.mean:.3g}; neither a floor nor a drop is declared", change, None
    for verdict in ("fail", "inconclusive", "pass"):
        for judgement, why, needed in judgements:
            if judgement == verdict:
                return judgement, why, change, needed
    raise AssertionError("a verdict is one of three")


def _against_floor(floor: float, now: KpiEstimate) -> tuple[KpiVerdict, str, int | None]:
    bounds = now.interval(VERDICT_CONFIDENCE)
    if bounds is None:
        return "inconclusive", "all scores come from one user or session", None
    low, high = bounds
    text = f"the mean is {now.mean:.3g} (99%: {low:.3g} to {high:.3g}), the floor {floor:.3g}"
    if high < floor:
        return "fail", text, None
    if low >= floor:
        return "pass", text, None
    return "inconclusive", text, _further_scores(high - low, abs(now.mean - floor), now.scores)


def _against_reference(
    kpi: Kpi, now: KpiEstimate, before: KpiEstimate | None, change: tuple[float, float, float] | None
) -> tuple[KpiVerdict, str, int | None]:
    assert kpi.drop is not None
    reference_scores = before.scores if before is not None else 0
    if reference_scores < kpi.min_scores or change is None:
        return "inconclusive", f"{reference_scores} of at least {kpi.min_scores} scores to compare with", None
    delta, low, high = change
    text = f"it moved by {delta:+.3g} (99%: {low:+.3g} to {high:+.3g}); a drop is {kpi.drop:.3g}"
    if high < 0 and delta <= -kpi.drop:
        return "fail", text, None
    if low > -kpi.drop:
        return "pass", text, None
    return "inconclusive", text, _further_scores(high - low, max(abs(delta), abs(delta + kpi.drop)), now.scores)


def _further_scores(width: float, gap: float, scores: int) -> int | None:
    """Return how many more scores bring half the width below the gap: widths shrink with the root of the number."""
    if gap < 1e-9:
        return None
    return max(1, ceil(scores * (width / 2 / gap) ** 2) - scores)
