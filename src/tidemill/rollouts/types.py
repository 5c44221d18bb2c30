"""Rollouts: their steps, their state, and the evidence behind their decisions."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, computed_field, model_validator

from tidemill.core.errors import Conflict, Invalid, NotFound
from tidemill.core.wire import Body, Instant, Name, Value

Strategy = Literal["canary", "blue_green", "shadow"]
RolloutState = Literal[
    "starting", "running", "paused", "held", "promoted", "finished", "rolled_back", "aborted", "failed"
]
OPEN: tuple[RolloutState, ...] = ("starting", "running", "paused", "held")
"""The states of a rollout that has not ended."""
Move = Literal[
    "ordered", "began", "weight", "shadow", "pause", "analysis", "passed", "held", "resumed", "promoted", "finished",
    "rolled_back", "aborted", "failed",
]  # fmt: skip
Direction = Literal["higher", "lower"]
Otherwise = Literal["hold", "promote", "rollback"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*")


class RolloutNotFound(NotFound):
    """No rollout has this id or name."""

    code = "rollout_not_found"


class RolloutActive(Conflict):
    """A rollout of this name is open in the environment."""

    code = "rollout_active"


class NothingToRollOut(Conflict):
    """The release is live in the environment already."""

    code = "nothing_to_roll_out"


class RolloutNotReady(Conflict):
    """The engines of the new release do not answer yet, or the rollout is not paused."""

    code = "rollout_not_ready"


class RolloutEnded(Conflict):
    """The rollout has ended, so it cannot be changed."""

    code = "rollout_ended"


class RolloutPlanInvalid(Invalid):
    """The steps contradict each other, or a scorer in them cannot be used."""

    code = "rollout_plan_invalid"


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration such as 30s, 5m, 2h or 1d")
        return float(match[1]) * _UNITS[match[2]]
    return value


Duration = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=float | str),
    Field(ge=0, le=90 * 86400, allow_inf_nan=False, description="Seconds, or text such as `30s`, `5m`, `2h`, `1d`."),
]


class Forever(Body):
    """A pause that only a person ends."""


class WeightStep(Body):
    """Send this share of callers to the new release."""

    weight: float = Field(ge=0, le=100, description="Percent of users or sessions.")


class PauseStep(Body):
    """Wait: for a while, or with `{}` until a person resumes."""

    pause: Duration | Forever


class Shadow(Body):
    """How live calls are copied to the new release, whose answers no caller sees."""

    share: float = Field(default=10, gt=0, le=100, description="Percent of calls that are copied.")
    concurrency: int = Field(default=1, ge=1, le=64, description="Copied calls at once; further ones are skipped.")
    scorer: str = Field(
        default="agreement",
        description="Judges each pair: `agreement`, or a scorer of `tidemill.scorers` that needs no expected answer.",
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings of the scorer.")


class ShadowStep(Body):
    """Copy live calls to the new release from here on."""

    shadow: Shadow


class ScoreRule(Body):
    """A score by which the canary must not be worse."""

    name: str = Field(min_length=1, max_length=120, description="Name of a score of traces.")
    direction: Direction = Field(default="higher", description="Which way is better.")
    margin: float = Field(default=0.05, ge=0, le=1, description="How much worse it may be, in parts of its range.")
    low: float = Field(default=0.0, allow_inf_nan=False, description="The lowest value that the score can have.")
    high: float = Field(default=1.0, allow_inf_nan=False, description="The highest.")

    @model_validator(mode="after")
    def _ordered(self) -> "ScoreRule":
        if self.low >= self.high:
            raise ValueError(f"the lowest value {self.low:g} is not below the highest {self.high:g}")
        return self


class Tolerance(Body):
    """How much higher latency or cost, or how many more failures, may be."""

    tolerance: float = Field(ge=0, le=100, allow_inf_nan=False)


class Analysis(Body):
    """The conditions under which the rollout goes on. From its start they also say when to roll back."""

    scores: list[ScoreRule] = Field(default_factory=list, max_length=20)
    latency_ms: Tolerance | None = Field(default=None, description="0.25: a typical answer may be 25% slower.")
    errors: Tolerance | None = Field(
        default=Tolerance(tolerance=0.02), description="0.02: two more failures in a hundred answers are fine."
    )
    cost: Tolerance | None = Field(default=None, description="0.1: a typical answer may cost 10% more.")
    min_answers: int = Field(default=50, ge=1, le=1_000_000, description="Answers of the canary before it may pass.")
    max_duration: Duration = Field(default=3600.0, description="After so long without a verdict: `otherwise`.")
    otherwise: Otherwise = Field(default="hold", description="What to do after that. `hold` waits for a person.")
    alpha: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        description="Share of harmless releases rolled back at most, all rules together.",
    )
    restarts: int = Field(default=3, ge=1, le=100, description="Number of deaths of its engines that rolls it back.")


class AnalysisStep(Body):
    """Go on only when the analysis of the new release passes."""

    analysis: Analysis


def _kind(step: Any) -> str | None:
    names = step if isinstance(step, dict) else type(step).model_fields if isinstance(step, BaseModel) else ()
    return next((name for name in ("weight", "pause", "shadow", "analysis") if name in names), None)


Step = Annotated[
    Annotated[WeightStep, Tag("weight")]
    | Annotated[PauseStep, Tag("pause")]
    | Annotated[ShadowStep, Tag("shadow")]
    | Annotated[AnalysisStep, Tag("analysis")],
    Discriminator(
        _kind,
        custom_error_type="step_unknown",
        custom_error_message="a step is one of weight, pause, shadow and analysis, such as {'weight': 10}",
    ),
]


class RolloutCreate(Body):
    """Move an environment to a release step by step. Without `steps` the strategy's usual ones are taken."""

    release: str = Field(description="`name`, `name@3` or a `rel_` id.")
    environment: Name
    strategy: Strategy = "canary"
    steps: list[Step] | None = Field(default=None, min_length=1, max_length=50)
    warm: Duration = Field(default=600.0, description="Blue/green: how long the old release is kept ready.")
    replicas: int = Field(default=1, ge=1, le=64)
    note: str = Field(default="", max_length=2000)
    force_reason: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="An admin's reason to pass over order, gate and approval. The analysis is not passed over.",
    )


class RolloutMove(Body):
    """A person's reason for changing a rollout."""

    note: str = Field(default="", max_length=2000)


class ScoreEvidence(Value):
    """One score in both releases. `worse` and `good_enough` are e-values: 1/alpha and more is proof at that level."""

    name: str
    direction: Direction
    margin: float
    baseline_answers: int
    canary_answers: int
    baseline_mean: float | None
    canary_mean: float | None
    difference: float | None = Field(description="Canary less baseline, in the score's own units.")
    low: float | None = Field(description="Confidence sequence for the difference: it holds at all times together.")
    high: float | None
    worse: float = Field(description="E-value against 'the canary is not worse'.")
    good_enough: float = Field(description="E-value against 'it is worse by the margin or more'.")
    needed: float = Field(description="The e-value that decides: rules divided by alpha.")


class ToleranceEvidence(Value):
    """Latency, cost or failures in both releases."""

    name: Literal["latency_ms", "errors", "cost"]
    tolerance: float
    baseline: float | None = Field(description="Median; for errors the share of answers.")
    canary: float | None
    worse: float = Field(description="E-value against 'it is within the tolerance'.")
    needed: float


class Infrastructure(Value):
    """Faults of the infrastructure, counted apart from those of the release."""

    retried: int = Field(description="Answers of the canary that took more than one attempt.")
    incidents: int = Field(description="Failures of its engines that callers saw; those within 30 s are one.")
    deaths: int = Field(description="Deaths and failed starts of its engines.")
    fallbacks: int = Field(
        description="Calls that the old release answered because no engine of the new one was ready."
    )

    @computed_field(description="Deprecated name of `fallbacks`.", json_schema_extra={"deprecated": True})
    def spilled(self) -> int:
        """Return `fallbacks`, under the name of 0.1.0."""
        return self.fallbacks

    @model_validator(mode="before")
    @classmethod
    def _read_spilled(cls, value: Any) -> Any:
        """Accept evidence that 0.1.0 stored, and what this release sends."""
        if not isinstance(value, dict) or "spilled" not in value:
            return value
        return {"fallbacks": value["spilled"]} | {name: v for name, v in value.items() if name != "spilled"}


class ShadowEvidence(Value):
    """The copied calls of a rollout, and how far both answers agree."""

    pairs: int
    failed: int = Field(description="Copied calls that got no answer.")
    skipped: int = Field(description="Calls in the share that were not copied, as no engine was free.")
    agreement: float | None = Field(description="Mean of the verdicts on pairs, 0 to 1; 0.5 and more is no worse.")
    low: float | None = Field(description="Confidence sequence for the mean.")
    high: float | None
    live_ms: float | None = Field(description="Median latency of the live answers.")
    shadow_ms: float | None
    shadow_tokens: int
    shadow_cost_usd: float | None


class RolloutEvidence(Value):
    """The evidence of a decision about a rollout, at one time."""

    at: Instant
    baseline_answers: int
    canary_answers: int
    units: int = Field(description="Users or sessions in the canary; each counts once for a score.")
    scores: list[ScoreEvidence] = []
    tolerances: list[ToleranceEvidence] = []
    infrastructure: Infrastructure
    shadow: ShadowEvidence | None = None


class RolloutStep(Value):
    """One entry in the history of a rollout."""

    id: str
    rollout_id: str
    at: Instant
    move: Move
    step: int = Field(description="Number of the step it happened in, from 0.")
    weight: float = Field(description="Weight in percent after this entry.")
    reason: str
    actor: str = Field(description="Who did it; `system` when the analysis decided.")
    evidence: RolloutEvidence | None


class Rollout(Value):
    """The step-by-step move of an environment to a release."""

    id: str
    environment: str
    name: str
    strategy: Strategy
    state: RolloutState
    release_id: str
    release: str
    baseline_release_id: str | None = Field(description="The release that was live before; null when there was none.")
    baseline_release: str | None
    deployment_id: str = Field(description="The new release's deployment.")
    baseline_deployment_id: str | None
    steps: list[Step]
    step: int = Field(description="Number of the present step, from 0.")
    step_at: Instant | None = Field(description="When the present step began.")
    weight: float = Field(description="Percent of users or sessions that the new release answers now.")
    answers_before: int = Field(description="Answers of the new release when the present step began.")
    shadow: Shadow | None = Field(description="How calls are copied now; null when they are not.")
    note: str
    forced: str | None
    reason: str | None = Field(description="Why it is in its present state.")
    requested_by: str
    requested_at: Instant
    began_at: Instant | None
    ended_at: Instant | None


class RolloutPage(Value):
    """A rollout with its history and its newest evidence."""

    rollout: Rollout
    history: list[RolloutStep]
    now: RolloutEvidence | None


class ShadowPair(Value):
    """A live answer and the new release's answer to a copy of the call."""

    id: str
    rollout_id: str
    at: Instant
    call_id: str = Field(description="The live reply's id.")
    input: list[dict[str, Any]]
    live: str
    shadow: str | None
    verdict: float | None = Field(description="1: the new one is better, or as good; 0: it is worse.")
    live_ms: float
    shadow_ms: float | None
    tokens: int
    cost_usd: float | None
    error: str | None
