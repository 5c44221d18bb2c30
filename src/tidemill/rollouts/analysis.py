"""The running sums of one rollout: every answer and every score, taken in once, in the order they came."""

from datetime import datetime, timedelta

from tidemill.rollouts import plan
from tidemill.rollouts.observations import Answer, Verdict
from tidemill.rollouts.types import (
    Evidence,
    Infrastructure,
    Rollout,
    ScoreEvidence,
    ScoreRule,
    ShadowEvidence,
    ToleranceEvidence,
)
from tidemill.stats.sequential import RatioTest, SequentialComparison

INCIDENT = timedelta(seconds=30)
"""Failures of an engine within so long are one incident: it died once, whoever was waiting."""


class ScoreWatch:
    """One score. Each user or session counts once for each release: its answers are not independent."""

    def __init__(self, rule: ScoreRule, alpha: float) -> None:
        self.rule = rule
        self._range = rule.high - rule.low
        self._units: set[tuple[str, bool]] = set()
        self._comparison = SequentialComparison(margin=rule.margin, alpha=alpha)

    def add(self, verdict: Verdict) -> None:
        """Take in a score."""
        if (verdict.unit, verdict.canary) in self._units:
            return
        self._units.add((verdict.unit, verdict.canary))
        place = (verdict.value - self.rule.low) / self._range
        self._comparison.add(place if self.rule.direction == "higher" else 1 - place, canary=verdict.canary)

    def evidence(self, needed: float) -> ScoreEvidence:
        """What is known by now, in the score's own units."""
        found, rule = self._comparison.read(), self.rule
        sign = 1.0 if rule.direction == "higher" else -1.0
        ends = sorted((sign * found.low * self._range, sign * found.high * self._range))
        return ScoreEvidence(
            name=rule.name,
            direction=rule.direction,
            margin=rule.margin,
            baseline_answers=found.baseline_answers,
            canary_answers=found.canary_answers,
            baseline_mean=self._own(found.baseline_mean),
            canary_mean=self._own(found.canary_mean),
            difference=None if found.difference is None else sign * found.difference * self._range,
            low=ends[0],
            high=ends[1],
            worse=found.worse,
            good_enough=found.good_enough,
            needed=needed,
        )

    def _own(self, mean: float | None) -> float | None:
        if mean is None:
            return None
        return self.rule.low + (mean if self.rule.direction == "higher" else 1 - mean) * self._range


class FailureWatch:
    """The share of answers that failed, with a tolerance in score points."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        # Tested against «worse by the tolerance at least»: the comparison's margin on the side of harm.
        self._comparison = SequentialComparison(margin=tolerance, interval=False, harm_beyond=tolerance)

    def add(self, failed: bool, *, canary: bool) -> None:
        """Take in an answer."""
        self._comparison.add(0.0 if failed else 1.0, canary=canary)

    def evidence(self, needed: float) -> ToleranceEvidence:
        """What is known by now."""
        found = self._comparison.read()
        return ToleranceEvidence(
            name="errors",
            tolerance=self.tolerance,
            baseline=None if found.baseline_mean is None else 1 - found.baseline_mean,
            canary=None if found.canary_mean is None else 1 - found.canary_mean,
            worse=found.worse,
            needed=needed,
        )


class Watch:
    """All that is known about a rollout."""

    def __init__(self, rollout: Rollout) -> None:
        self.rules = rules = plan.rules_of(rollout.steps)
        self._scores = {rule.name: ScoreWatch(rule, rules.alpha) for rule in rules.scores}
        self._failures = FailureWatch(rules.errors.tolerance) if rules.errors is not None else None
        self._ratios = {
            name: (rule.tolerance, RatioTest(rule.tolerance))
            for name, rule in (("latency_ms", rules.latency_ms), ("cost", rules.cost))
            if rule is not None
        }
        self._answers = [0, 0]
        self._units: set[str] = set()
        self._retried = 0
        self._incidents: list[datetime] = []

    def answer(self, found: Answer) -> None:
        """Take in a call."""
        if found.infrastructure and self._known_incident(found):
            return
        self._answers[found.canary] += 1
        if found.canary:
            self._units.add(found.unit)
            self._retried += found.attempts > 1
        if self._failures is not None:
            self._failures.add(found.failed, canary=found.canary)
        if found.failed or found.attempts > 1:
            return  # how long a dead engine kept it waiting says nothing about the release
        self._measure("latency_ms", found.latency_ms, found.canary)
        if found.cost_usd is not None:
            self._measure("cost", found.cost_usd, found.canary)

    def _known_incident(self, found: Answer) -> bool:
        """Whether this failure belongs to an incident that was counted."""
        if not found.canary:
            return True
        if any(abs(found.at - at) < INCIDENT for at in self._incidents):
            return True
        self._incidents.append(found.at)
        return False

    def _measure(self, name: str, value: float, canary: bool) -> None:
        if name in self._ratios:
            self._ratios[name][1].add(value, canary=canary)

    def verdict(self, found: Verdict) -> None:
        """Take in a score."""
        if found.name in self._scores:
            self._scores[found.name].add(found)

    def evidence(
        self, now: datetime, *, deaths: int = 0, spilled: int = 0, shadow: ShadowEvidence | None = None
    ) -> Evidence:
        """What is known by now."""
        needed = self.rules.needed
        tolerances = [] if self._failures is None else [self._failures.evidence(needed)]
        for name, (tolerance, test) in self._ratios.items():
            baseline, canary = test.medians()
            tolerances.append(
                ToleranceEvidence(
                    name="cost" if name == "cost" else "latency_ms",
                    tolerance=tolerance,
                    baseline=baseline,
                    canary=canary,
                    worse=test.worse,
                    needed=needed,
                )
            )
        return Evidence(
            at=now,
            baseline_answers=self._answers[0],
            canary_answers=self._answers[1],
            units=len(self._units),
            scores=[score.evidence(needed) for score in self._scores.values()],
            tolerances=tolerances,
            infrastructure=Infrastructure(
                retried=self._retried, incidents=len(self._incidents), deaths=deaths, spilled=spilled
            ),
            shadow=shadow,
        )
