"""Service level objectives: definition, counts, burn rates and where an objective stands."""

from typing import Literal

from pydantic import Field, model_validator

from tidemill.core.errors import NotFound
from tidemill.core.wire import Body, Instant, Value
from tidemill.notifications.types import Severity

SloVerdict = Literal["pass", "fail", "inconclusive"]

HOUR, DAY = 3600, 86400


class SloNotFound(NotFound):
    """No SLO has this name."""

    code = "slo_not_found"


class SloTarget(Value):
    """Which traffic counts; a field that is left out does not narrow it."""

    environment: str | None = Field(default=None, description="Such as `prod`.")
    model: str | None = Field(default=None, description="As callers name it.")
    release_id: str | None = None
    service: str | None = Field(default=None, description="`service.name` of the sender.")


class SloPut(Body):
    """What an objective asks for: that so large a share of calls is good, over a sliding window."""

    kind: Literal["latency", "errors", "quality"]
    goal: float = Field(gt=0, lt=1, description="Share of good calls or scores, such as 0.99.")
    window_s: int = Field(
        default=30 * DAY, ge=HOUR, le=30 * DAY, description="Length of the sliding window in seconds: 1 h to 30 d."
    )
    threshold_ms: float | None = Field(
        default=None, gt=0, description="latency: a call is good when it took no longer."
    )
    score: str | None = Field(default=None, description="quality: the name of the score.")
    passing: float = Field(default=0.5, description="quality: a score passes from this value on.")
    source: Literal["code", "model", "person"] | None = Field(
        default=None, description="quality: count only scores from here."
    )
    corrected: bool = Field(
        default=False,
        description="quality, with the source model: correct share and burn rates by what people said, under the same "
        "name, about a random sample of the same answers. With fewer than 20 of them it says nothing.",
    )
    target: SloTarget = Field(default_factory=SloTarget)
    min_events: int = Field(
        default=20, ge=1, description="With fewer calls or scores in the longer window, a rule is inconclusive."
    )
    note: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _complete(self) -> "SloPut":
        if self.kind == "latency" and self.threshold_ms is None:
            raise ValueError("a latency objective needs `threshold_ms`, such as 2000")
        if self.kind == "quality" and self.score is None:
            raise ValueError("a quality objective needs `score`, the name of a score")
        if self.corrected and (self.kind != "quality" or self.source != "model"):
            raise ValueError("`corrected` goes with a quality objective on scores of the source `model`")
        return self


class Slo(Value):
    """A service level objective as it is kept."""

    id: str
    name: str
    kind: Literal["latency", "errors", "quality"]
    goal: float
    window_s: int
    threshold_ms: float | None
    score: str | None
    passing: float
    source: Literal["code", "model", "person"] | None
    corrected: bool = False
    target: SloTarget
    min_events: int
    note: str
    saved_by: str
    saved_at: Instant


class SloCounts(Value):
    """Calls or scores that were counted in a stretch of time."""

    total: int
    bad: int

    @property
    def bad_share(self) -> float | None:
        """Return the share of bad ones; None when nothing was counted."""
        return self.bad / self.total if self.total else None


class CorrectedShare(Value):
    """A model's share of passing answers, corrected by the answers that people judged too."""

    labelled: int = Field(description="Answers that a model and people judged.")
    share: float
    low: float = Field(description="Lower end of the 95% interval.")
    high: float
    bias: float = Field(description="The model's pass rate less that of people, on the labelled answers.")
    agreement: float = Field(description="Share of labelled answers on which model and people agree.")


class Rectifier(Value):
    """What people's labels over the whole window say of the model that judges; it is added to every window's share."""

    labelled: int = Field(description="Answers that a model and people judged.")
    shift: float = Field(description="Share of answers that people find bad, less the share that the model does.")
    low: float = Field(description="Lower bound of the shift; see `doubt`.")
    doubt: float = Field(description="Chance that the shift is below its bound.")


class BurnRule(Value):
    """One pair of windows: how fast the error budget is spent, and whether that calls somebody."""

    severity: Severity
    factor: float = Field(description="1 spends the budget exactly in the objective's window.")
    long_s: int
    short_s: int
    long: SloCounts = Field(description="Uncorrected counts: of a corrected objective, those of the model.")
    short: SloCounts
    long_burn: float | None = Field(
        description="Corrected by people's labels for a corrected objective. Null when the window is empty."
    )
    short_burn: float | None
    p_value: float | None = Field(
        description="Chance of so many bad ones in the long window when the objective is just met (exact binomial); "
        "of a corrected objective with the chance added that the labels mislead."
    )
    verdict: Literal["burning", "quiet", "inconclusive"]
    why: str


class SloStatus(Value):
    """The status of an SLO: share, error budget, burn rates and open alerts."""

    slo: Slo
    at: Instant
    counts: SloCounts = Field(description="Over the whole window.")
    share: float | None = Field(description="Share of good ones over the window.")
    low: float | None = Field(description="Lower end of Wilson's 95% interval of the share.")
    high: float | None
    budget_left: float | None = Field(
        description="Share of the error budget that is left; below 0 it is overspent. Null when nothing was counted."
    )
    corrected: CorrectedShare | None = Field(
        default=None,
        description="Of a corrected objective: the share behind its verdict and budget. Null with few labels.",
    )
    rectifier: Rectifier | None = Field(
        default=None, description="Of a corrected objective: the correction of its burn rates. Null with few labels."
    )
    verdict: SloVerdict = Field(description="pass: met for sure; fail: missed for sure; else inconclusive.")
    needed: int | None = Field(description="When inconclusive: about how many more events would settle it.")
    rules: list[BurnRule]
    alerts: list[str] = Field(description="Ids of its alerts that are not resolved.")
