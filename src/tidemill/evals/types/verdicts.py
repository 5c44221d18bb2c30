"""Differences, what is asked of them, and what was found."""

from typing import Literal

from pydantic import Field, model_validator

from tidemill.core.wire import Body, Instant, Value
from tidemill.evals.types.runs import AnswerWarning
from tidemill.stats.results import Difference

Outcome = Literal["pass", "fail", "inconclusive"]
RuleKind = Literal["improvement", "non_inferiority"]
Direction = Literal["higher", "lower"]
FailurePolicy = Literal["refuse", "wrong", "drop"]


class MetricRule(Body):
    """The rule that the difference of one metric must meet."""

    metric: str = Field(description="A scorer's name, `latency_ms` or `output_tokens`.")
    kind: RuleKind = "improvement"
    minimum_effect: float | None = Field(
        default=None, gt=0, description="Improvement: the smallest difference worth finding."
    )
    margin: float | None = Field(default=None, ge=0, description="Non-inferiority: how much worse it may be.")
    direction: Direction = Field(default="higher", description="Which way is better.")

    @model_validator(mode="after")
    def _complete(self) -> "MetricRule":
        if self.kind == "improvement" and (self.minimum_effect is None or self.margin is not None):
            raise ValueError("an improvement rule needs `minimum_effect`, and no `margin`")
        if self.kind == "non_inferiority" and (self.margin is None or self.minimum_effect is not None):
            raise ValueError("a non-inferiority rule needs `margin`, and no `minimum_effect`")
        return self


class MetricVerdict(Value):
    """The verdict on one metric, with its evidence."""

    metric: str
    kind: RuleKind
    direction: Direction
    outcome: Outcome
    threshold: float = Field(description="To pass, the bound must lie above this (in the better direction).")
    ceiling: float = Field(description="It fails when the other bound lies below this.")
    lower: float = Field(description="One-sided lower bound of the gain at confidence 1 - alpha.")
    upper: float = Field(description="One-sided upper bound of the gain at confidence 1 - alpha.")
    p_value: float = Field(description="One-sided, of 'the gain is at most `threshold`'.")
    p_adjusted: float = Field(description="The same after Holm's correction over the guardrails.")
    p_harm: float = Field(description="One-sided, of 'the gain is at least `ceiling`'.")
    p_harm_adjusted: float
    more_items: int | None = Field(description="How many more items would settle it; null when it is settled.")
    difference: Difference
    summary: str


class NonInferiority(Value):
    """Whether a candidate is not worse than a baseline by more than a margin."""

    outcome: Outcome
    margin: float
    lower: float = Field(description="One-sided lower bound of the difference.")
    upper: float = Field(description="One-sided upper bound of the difference.")
    p_value: float = Field(description="One-sided, of 'worse by at least the margin'.")
    equivalent: bool = Field(description="Both one-sided tests reject: the difference lies within +/- margin (TOST).")
    p_equivalence: float
    more_items: int | None
    difference: Difference
    summary: str


class ComparisonSpec(Body):
    """Two finished runs on one eval set, and what is asked of their difference. Declare it before looking."""

    baseline_run: str
    candidate_run: str
    primary: MetricRule
    guardrails: list[MetricRule] = Field(default_factory=list, description="Each is a non-inferiority rule.")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="How often it may pass wrongly.")
    power: float = Field(default=0.8, gt=0.5, lt=1, description="How often it should find the minimum effect.")
    failures: FailurePolicy = Field(
        default="refuse",
        description="Items without an answer: refuse to compare, score them 0, or drop the pair (and say so).",
    )

    @model_validator(mode="after")
    def _guards(self) -> "ComparisonSpec":
        if any(g.kind != "non_inferiority" for g in self.guardrails):
            raise ValueError("a guardrail must be of kind `non_inferiority`")
        metrics = [self.primary.metric, *(g.metric for g in self.guardrails)]
        if len(set(metrics)) != len(metrics):
            raise ValueError("a metric may be named only once, as primary or as guardrail")
        return self


class Comparison(Value):
    """A stored verdict on two runs, with its evidence."""

    id: str
    spec: ComparisonSpec
    spec_hash: str = Field(description="Hash of the metrics, margins, alpha and power.")
    eval_set: str = Field(description="Id of the eval set.")
    outcome: Outcome
    primary: MetricVerdict
    guardrails: list[MetricVerdict]
    minimum_detectable_effect: float | None = Field(
        description="Of the primary metric at this size, alpha and power; null when nothing could be found."
    )
    more_items: int | None = Field(description="How many more items would settle it; null when it is settled.")
    dropped: int = Field(description="Pairs left out because an answer was missing.")
    summary: str
    warnings: list[str]
    run_warnings: list[AnswerWarning] = Field(
        default_factory=list, description="What makes the figures of the two runs doubtful; also among `warnings`."
    )
    created_at: Instant
    created_by: str


class EvalPlanRequest(Body):
    """What an eval set can see, asked before a run."""

    eval_set: str
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    power: float = Field(default=0.8, gt=0.5, lt=1)
    discordance: float | None = Field(
        default=None, gt=0, le=1, description="Expected share of items on which the two differ. Default 0.2."
    )
    sd: float | None = Field(default=None, gt=0, description="Instead, for other metrics: sd of the differences.")
    icc: float | None = Field(default=None, ge=0, le=1, description="Correlation within clusters. Default 0.3.")
    pilot_baseline: str | None = Field(default=None, description="Two earlier runs to take these figures from.")
    pilot_candidate: str | None = None
    metric: str | None = Field(default=None, description="The metric of the pilot runs.")
    minimum_effect: float | None = Field(default=None, gt=0, description="Also say how many items this would need.")

    @model_validator(mode="after")
    def _pilot(self) -> "EvalPlanRequest":
        if (self.pilot_baseline is None) != (self.pilot_candidate is None):
            raise ValueError("a pilot needs both `pilot_baseline` and `pilot_candidate`")
        if self.pilot_baseline is not None and self.metric is None:
            raise ValueError("a pilot needs `metric`")
        return self


class EvalPlan(Value):
    """The smallest difference an eval set can see, said before the run."""

    eval_set: str
    items: int
    clusters: int
    alpha: float
    power: float
    sd: float
    discordance: float | None
    icc: float
    design_effect: float
    n_eff: float
    minimum_detectable_effect: float | None
    items_needed: int | None = Field(description="For `minimum_effect`, at the same cluster sizes.")
    assumed: list[str] = Field(description="Which figures are assumptions, not measurements.")
    summary: str
