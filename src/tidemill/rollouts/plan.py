"""The steps of a rollout: each strategy's defaults, their validation, and the combined rules of their analyses."""

from dataclasses import dataclass

from tidemill.rollouts.types import (
    Analysis,
    AnalysisStep,
    PauseStep,
    RolloutCreate,
    RolloutPlanInvalid,
    ScoreRule,
    Shadow,
    ShadowStep,
    Step,
    Tolerance,
    WeightStep,
)

DEFAULT_SHADOW_S = 3600.0


@dataclass(frozen=True)
class CombinedRules:
    """The rules of all analyses of a rollout together. They are tested from the first answer to the last."""

    scores: tuple[ScoreRule, ...]
    latency_ms: Tolerance | None
    errors: Tolerance | None
    cost: Tolerance | None
    alpha: float
    restarts: int

    @property
    def needed(self) -> float:
        """The e-value from which a rule rolls back: alpha is shared among the rules."""
        count = len(self.scores) + sum(rule is not None for rule in (self.latency_ms, self.errors, self.cost))
        return max(count, 1) / self.alpha


def resolve_steps(body: RolloutCreate) -> list[Step]:
    """Return the given steps, or the strategy's defaults. Raises RolloutPlanInvalid."""
    steps = list(body.steps) if body.steps is not None else _default_steps(body)
    weights = [step.weight for step in steps if isinstance(step, WeightStep)]
    if body.strategy == "shadow":
        if weights:
            raise RolloutPlanInvalid("A shadow release answers no caller, so it has no weight.", hint="Use a canary.")
        if not any(isinstance(step, ShadowStep) for step in steps):
            raise RolloutPlanInvalid("No step has a share of calls to copy.", hint='Add {"shadow": {"share": 10}}.')
    elif weights != sorted(weights):
        raise RolloutPlanInvalid(
            f"The weights go {', '.join(f'{w:g}' for w in weights)}, and a rollout only goes up.",
            hint="`tidemill rollouts abort` goes back.",
            param="steps",
        )
    if isinstance(steps[-1], WeightStep) and steps[-1].weight < 100:
        raise RolloutPlanInvalid(
            f"The last step is a weight of {steps[-1].weight:g}%, which would become 100% at once.",
            hint="Add an analysis or a pause after it.",
            param="steps",
        )
    combine_rules(steps)
    return steps


def combine_rules(steps: list[Step]) -> CombinedRules:
    """Return the rules of all analyses together. Raises RolloutPlanInvalid when two of them disagree."""
    analyses = [step.analysis for step in steps if isinstance(step, AnalysisStep)]
    scores: dict[str, ScoreRule] = {}
    for rule in (rule for analysis in analyses for rule in analysis.scores):
        if scores.setdefault(rule.name, rule) != rule:
            raise RolloutPlanInvalid(
                f"Two analyses ask for different things of the score {rule.name!r}.",
                hint="Its answers are counted over the whole rollout: give it the same rule in each analysis.",
                param="steps",
            )
    return CombinedRules(
        scores=tuple(scores.values()),
        latency_ms=_same_tolerance("latency_ms", [a.latency_ms for a in analyses]),
        errors=_same_tolerance("errors", [a.errors for a in analyses]),
        cost=_same_tolerance("cost", [a.cost for a in analyses]),
        alpha=min((a.alpha for a in analyses), default=Analysis().alpha),
        restarts=min((a.restarts for a in analyses), default=Analysis().restarts),
    )


def _same_tolerance(name: str, tolerances: list[Tolerance | None]) -> Tolerance | None:
    distinct = {rule.tolerance: rule for rule in tolerances if rule is not None}
    if len(distinct) > 1:
        raise RolloutPlanInvalid(
            f"Two analyses tolerate different things of {name}: {', '.join(f'{t:g}' for t in sorted(distinct))}.",
            hint="It is counted over the whole rollout: give it the same tolerance in each analysis.",
            param="steps",
        )
    return next(iter(distinct.values()), None)


def _default_steps(body: RolloutCreate) -> list[Step]:
    if body.strategy == "blue_green":
        return [WeightStep(weight=100), PauseStep(pause=body.warm)]
    if body.strategy == "shadow":
        return [ShadowStep(shadow=Shadow()), PauseStep(pause=DEFAULT_SHADOW_S)]
    analysis = Analysis(latency_ms=Tolerance(tolerance=0.5))
    return [
        WeightStep(weight=10),
        AnalysisStep(analysis=analysis),
        WeightStep(weight=50),
        AnalysisStep(analysis=analysis),
        WeightStep(weight=100),
    ]
