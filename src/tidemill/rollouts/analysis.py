"""The analysis of one rollout: running sums of its answers and scores, each added once, in order of arrival."""

from datetime import datetime, timedelta
from typing import Literal

from tidemill.rollouts import plan
from tidemill.rollouts.observations import ObservedAnswer, ObservedScore
from tidemill.rollouts.types import (
    Infrastructure,
    Rollout,
    RolloutEvidence,
    ScoreEvidence,
    ScoreRule,
    ShadowEvidence,
    ToleranceEvidence,
)
from tidemill.stats.sequential import RatioTest, SequentialComparison

INCIDENT_GAP = timedelta(seconds=30)
"""Failures of an engine within this time are one incident: it died once, for all requests that it ran."""


class ScoreAnalysis:
    """Compares one score. Each user or session counts once for each release: its answers are not independent."""

    def __init__(self, rule: ScoreRule, alpha: float) -> None:
        self.rule = rule
        self._range = rule.high - rule.low
        self._units: set[tuple[str, bool]] = set()
        self._comparison = SequentialComparison(margin=rule.margin, alpha=alpha)

    def add(self, score: ObservedScore) -> None:
        """Add a score; a second one of the same user or session is left out."""
        if (score.unit, score.canary) in self._units:
            return
        self._units.add((score.unit, score.canary))
        scaled = (score.value - self.rule.low) / self._range
        self._comparison.add(scaled if self.rule.direction == "higher" else 1 - scaled, canary=score.canary)

    def evidence(self, needed: float) -> ScoreEvidence:
        """Return the comparison so far, in the score's own units."""
        result, rule = self._comparison.read(), self.rule
        sign = 1.0 if rule.direction == "higher" else -1.0
        ends = sorted((sign * result.low * self._range, sign * result.high * self._range))
        return ScoreEvidence(
            name=rule.name,
            direction=rule.direction,
            margin=rule.margin,
            baseline_answers=result.baseline_answers,
            canary_answers=result.canary_answers,
            baseline_mean=self._unscale(result.baseline_mean),
            canary_mean=self._unscale(result.canary_mean),
            difference=None if result.difference is None else sign * result.difference * self._range,
            low=ends[0],
            high=ends[1],
            worse=result.worse,
            good_enough=result.good_enough,
            needed=needed,
        )

    def _unscale(self, mean: float | None) -> float | None:
        if mean is None:
            return None
        return self.rule.low + (mean if self.rule.direction == "higher" else 1 - mean) * self._range


class FailureAnalysis:
    """Compares the shares of users or sessions whose first answer failed, with a tolerance from 0 to 1."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._units: set[tuple[str, bool]] = set()
        # Tested against "worse by the tolerance at least": the comparison's margin on the side of harm.
        self._comparison = SequentialComparison(margin=tolerance, interval=False, harm_beyond=tolerance)

    def add(self, answer: ObservedAnswer) -> None:
        """Add whether an answer failed; a second one of the same user or session is left out."""
        if (answer.unit, answer.canary) in self._units:
            return
        self._units.add((answer.unit, answer.canary))
        self._comparison.add(0.0 if answer.failed else 1.0, canary=answer.canary)

    def evidence(self, needed: float) -> ToleranceEvidence:
        """Return the evidence so far."""
        result = self._comparison.read()
        return ToleranceEvidence(
            name="errors",
            tolerance=self.tolerance,
            baseline=None if result.baseline_mean is None else 1 - result.baseline_mean,
            canary=None if result.canary_mean is None else 1 - result.canary_mean,
            worse=result.worse,
            needed=needed,
        )


class RatioAnalysis:
    """Compares one quantity, such as latency. Each user or session counts once for each release, with its first."""

    def __init__(self, name: Literal["latency_ms", "cost"], tolerance: float) -> None:
        self.name, self.tolerance = name, tolerance
        self._units: set[tuple[str, bool]] = set()
        self._test = RatioTest(tolerance)

    def add(self, unit: str, value: float, *, canary: bool) -> None:
        """Add the value of an answer; a second one of the same user or session is left out."""
        if (unit, canary) not in self._units:
            self._units.add((unit, canary))
            self._test.add(value, canary=canary)

    def evidence(self, needed: float) -> ToleranceEvidence:
        """Return the evidence so far."""
        baseline, canary = self._test.medians()
        return ToleranceEvidence(
            name=self.name,
            tolerance=self.tolerance,
            baseline=baseline,
            canary=canary,
            worse=self._test.worse,
            needed=needed,
        )


class RolloutAnalysis:
    """The scores, failures, latencies and costs of both releases, compared as they come in."""

    def __init__(self, rollout: Rollout) -> None:
        self.rules = rules = plan.combine_rules(rollout.steps)
        self._scores = {rule.name: ScoreAnalysis(rule, rules.alpha) for rule in rules.scores}
        self._failures = FailureAnalysis(rules.errors.tolerance) if rules.errors is not None else None
        self._latency = RatioAnalysis("latency_ms", rules.latency_ms.tolerance) if rules.latency_ms else None
        self._cost = RatioAnalysis("cost", rules.cost.tolerance) if rules.cost else None
        self._answers = [0, 0]
        self._units: set[str] = set()
        self._retried = 0
        self._incidents: list[datetime] = []

    def add_answer(self, answer: ObservedAnswer) -> None:
        """Add a call to the sums. Failures of an engine within 30 s count as one incident.

        A request that was refused for the caller's own fault says nothing about the release.
        """
        if answer.callers_fault:
            return
        if answer.infrastructure and self._is_counted_incident(answer):
            return
        self._answers[answer.canary] += 1
        if answer.canary:
            self._units.add(answer.unit)
            self._retried += answer.attempts > 1
        if self._failures is not None:
            self._failures.add(answer)
        if answer.failed or answer.attempts > 1:
            return  # how long a dead engine kept it waiting says nothing about the release
        if self._latency is not None:
            self._latency.add(answer.unit, answer.latency_ms, canary=answer.canary)
        if self._cost is not None and answer.cost_usd is not None:
            self._cost.add(answer.unit, answer.cost_usd, canary=answer.canary)

    def _is_counted_incident(self, answer: ObservedAnswer) -> bool:
        """Return whether this failure belongs to a counted incident; else count a new one."""
        if not answer.canary:
            return True
        if any(abs(answer.at - at) < INCIDENT_GAP for at in self._incidents):
            return True
        self._incidents.append(answer.at)
        return False

    def add_score(self, score: ObservedScore) -> None:
        """Add a score, if a rule of the rollout asks for it."""
        if score.name in self._scores:
            self._scores[score.name].add(score)

    def evidence(
        self, now: datetime, *, deaths: int = 0, fallbacks: int = 0, shadow: ShadowEvidence | None = None
    ) -> RolloutEvidence:
        """Return the evidence so far."""
        needed = self.rules.needed
        compared = (self._failures, self._latency, self._cost)
        tolerances = [analysis.evidence(needed) for analysis in compared if analysis is not None]
        return RolloutEvidence(
            at=now,
            baseline_answers=self._answers[0],
            canary_answers=self._answers[1],
            units=len(self._units),
            scores=[score.evidence(needed) for score in self._scores.values()],
            tolerances=tolerances,
            infrastructure=Infrastructure(
                retried=self._retried, incidents=len(self._incidents), deaths=deaths, fallbacks=fallbacks
            ),
            shadow=shadow,
        )
