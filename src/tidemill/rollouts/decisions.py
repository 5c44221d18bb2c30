"""Decide from evidence: go on, hold, roll back, or wait."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tidemill.rollouts import plan
from tidemill.rollouts.types import (
    Analysis,
    AnalysisStep,
    Forever,
    PauseStep,
    Rollout,
    RolloutEvidence,
    ScoreEvidence,
    ToleranceEvidence,
)

Action = Literal["stay", "next", "hold", "rollback"]


@dataclass(frozen=True)
class Decision:
    """What to do with a rollout, and why."""

    action: Action
    reason: str = ""


STAY = Decision("stay")


def decide(rollout: Rollout, evidence: RolloutEvidence, now: datetime) -> Decision:
    """Return the decision. Proof of harm rolls back at any time, also while the rollout is paused or held."""
    harm = _find_harm(rollout, evidence)
    if harm is not None:
        return Decision("rollback", harm)
    if rollout.state != "running" or rollout.step_at is None:
        return STAY
    step = rollout.steps[rollout.step]
    waited = (now - rollout.step_at).total_seconds()
    if isinstance(step, PauseStep):
        over = not isinstance(step.pause, Forever) and waited >= step.pause
        return Decision("next", "The pause is over.") if over else STAY
    return _judge(step.analysis, rollout, evidence, waited) if isinstance(step, AnalysisStep) else STAY


def _find_harm(rollout: Rollout, evidence: RolloutEvidence) -> str | None:
    rules = plan.combine_rules(rollout.steps)
    for score in evidence.scores:
        if score.worse >= score.needed and loss(score) > score.margin * _range(rules, score.name):
            return (
                f"{score.name} is worse: {score.canary_mean:.3g} against {score.baseline_mean:.3g} on "
                f"{score.canary_answers} and {score.baseline_answers} answers, e-value {score.worse:.3g} "
                f"(needs {score.needed:.3g}), difference between {score.low:+.3g} and {score.high:+.3g}."
            )
    for tolerance in evidence.tolerances:
        if tolerance.worse >= tolerance.needed:
            return (
                f"{tolerance.name} is beyond its tolerance of {tolerance.tolerance:g}: {tolerance.canary:.4g} against "
                f"{tolerance.baseline:.4g}, e-value {tolerance.worse:.3g} (needs {tolerance.needed:.3g})."
            )
    if evidence.infrastructure.deaths >= rules.restarts:
        return f"Its engines died or did not start {evidence.infrastructure.deaths} times ({rules.restarts} allowed)."
    return None


def _range(rules: plan.CombinedRules, name: str) -> float:
    return next((rule.high - rule.low for rule in rules.scores if rule.name == name), 1.0)


def loss(score: ScoreEvidence) -> float:
    """Return by how much the canary's mean is worse, in the score's own units; negative when it is better."""
    if score.difference is None:
        return 0.0
    return -score.difference if score.direction == "higher" else score.difference


def _judge(analysis: Analysis, rollout: Rollout, evidence: RolloutEvidence, waited: float) -> Decision:
    open_points = _open_points(analysis, rollout, evidence)
    if not open_points:
        return Decision("next", _passed_reason(analysis, evidence))
    if waited < analysis.max_duration:
        return STAY
    timeout_text = f"No verdict after {analysis.max_duration:g} s: {' '.join(open_points)}"
    if analysis.otherwise == "promote":
        return Decision("next", f"{timeout_text} Nothing speaks against it, so it goes on as the plan says.")
    return Decision("rollback" if analysis.otherwise == "rollback" else "hold", timeout_text)


def _open_points(analysis: Analysis, rollout: Rollout, evidence: RolloutEvidence) -> list[str]:
    points = []
    answers = _answers(evidence) - rollout.answers_before
    if answers < analysis.min_answers:
        points.append(f"It has given {answers} of {analysis.min_answers} answers.")
    required = {rule.name for rule in analysis.scores}
    for score in evidence.scores:
        if score.name in required and score.good_enough < 1 / analysis.alpha:
            points.append(
                f"That {score.name} is not worse by {score.margin:g} is not proven: e-value {score.good_enough:.3g} of "
                f"{1 / analysis.alpha:.3g} on {score.canary_answers} answers."
            )
    points += [f"{item.name} looks worse than tolerated." for item in evidence.tolerances if not _tolerable(item)]
    return points


def _answers(evidence: RolloutEvidence) -> int:
    return evidence.canary_answers + (evidence.shadow.pairs if evidence.shadow is not None else 0)


def _tolerable(item: ToleranceEvidence) -> bool:
    if item.canary is None or item.baseline is None:
        return True
    if item.name == "errors":
        return item.canary - item.baseline <= item.tolerance
    return item.canary <= item.baseline * (1 + item.tolerance)


def _passed_reason(analysis: Analysis, evidence: RolloutEvidence) -> str:
    required = {rule.name for rule in analysis.scores}
    scores = [
        f"{s.name} {s.canary_mean:.3g} against {s.baseline_mean:.3g} (e-value {s.good_enough:.3g})"
        for s in evidence.scores
        if s.name in required and s.canary_mean is not None and s.baseline_mean is not None
    ]
    tolerances = [f"{t.name} {t.canary:.4g} against {t.baseline:.4g}" for t in evidence.tolerances
                  if t.canary is not None and t.baseline is not None]  # fmt: skip
    findings = ", ".join(scores + tolerances) or "nothing speaks against it"
    return f"It holds its ground on {_answers(evidence)} answers: {findings}."
