"""Service level objectives and key performance indicators."""

from typing import Literal

from pydantic import Field, model_validator

from tidemill.core.errors import Invalid, NotFound
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.monitors.drift.types import DriftReport
from tidemill.monitors.types.alerts import Severity

Verdict = Literal["pass", "fail", "inconclusive"]

MINUTE, HOUR, DAY = 60, 3600, 86400


class SloNotFound(NotFound):
    """No objective of that name."""

    code = "slo_not_found"


class SloIncomplete(Invalid):
    """The objective does not say what it needs to."""

    code = "slo_incomplete"


class KpiNotFound(NotFound):
    """No indicator of that name."""

    code = "kpi_not_found"


class MonitorNotFound(NotFound):
    """Nothing of that name is monitored."""

    code = "monitor_not_found"


class Target(Value):
    """Which traffic is looked at; what is left out does not narrow it."""

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
    target: Target = Field(default_factory=Target)
    min_events: int = Field(
        default=20, ge=1, description="With fewer calls or scores in the longer window of a rule it says nothing."
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
    target: Target
    min_events: int
    note: str
    saved_by: str
    saved_at: Instant


class Counts(Value):
    """Calls or scores in a stretch of time."""

    total: int
    bad: int

    @property
    def bad_share(self) -> float | None:
        """Share of bad ones; None of nothing."""
        return self.bad / self.total if self.total else None


class CorrectedShare(Value):
    """A model's share of passing answers, corrected by the answers that people judged too."""

    labelled: int = Field(description="Answers that a model and people judged.")
    share: float
    low: float = Field(description="Lower end of the 95% interval.")
    high: float
    bias: float = Field(description="What the model passes more often than people do.")
    agreement: float = Field(description="Share of labelled answers on which model and people agree.")


class Rectifier(Value):
    """What people's labels over the whole window say of the model that judges; it is added to every window's share."""

    labelled: int = Field(description="Answers that a model and people judged.")
    shift: float = Field(description="Share of answers that people find bad, less the share that the model does.")
    low: float = Field(description="The least that the shift may be; see `doubt`.")
    doubt: float = Field(description="Chance that it is less still.")


class BurnRule(Value):
    """One pair of windows: how fast the error budget is spent, and whether that calls somebody."""

    severity: Severity
    factor: float = Field(description="1 spends the budget exactly in the objective's window.")
    long_s: int
    short_s: int
    long: Counts = Field(description="As counted: of a corrected objective, what the model says.")
    short: Counts
    long_burn: float | None = Field(
        description="Of a corrected objective by people's word. Null when the window holds nothing."
    )
    short_burn: float | None
    p_value: float | None = Field(
        description="Chance of so many bad ones in the long window when the objective is just met (exact binomial); "
        "of a corrected objective with the chance added that the labels mislead."
    )
    verdict: Literal["burning", "quiet", "inconclusive"]
    why: str


class SloStatus(Value):
    """Where an objective stands."""

    slo: Slo
    at: Instant
    counts: Counts = Field(description="Over the whole window.")
    share: float | None = Field(description="Share of good ones over the window.")
    low: float | None = Field(description="Lower end of Wilson's 95% interval of the share.")
    high: float | None
    budget_left: float | None = Field(
        description="Share of the error budget that is left; below 0 it is overspent. Null when nothing was counted."
    )
    corrected: CorrectedShare | None = Field(
        default=None,
        description="Of a corrected objective: what its verdict and its budget rest on. Null with few labels.",
    )
    rectifier: Rectifier | None = Field(
        default=None, description="Of a corrected objective: what its burn rates are moved by. Null with few labels."
    )
    verdict: Verdict = Field(description="pass: met for sure; fail: missed for sure; else inconclusive.")
    needed: int | None = Field(description="When inconclusive: about how many more events would settle it.")
    rules: list[BurnRule]
    alerts: list[str] = Field(description="Ids of its alerts that are not resolved.")


class KpiPut(Body):
    """An indicator: the mean of a score over a window, and what counts as a drop."""

    score: str = Field(min_length=1, max_length=120, description="Name of a score or of feedback.")
    source: Literal["code", "model", "person"] | None = None
    target: Target = Field(default_factory=Target)
    window_s: int = Field(default=DAY, ge=MINUTE, le=90 * DAY, description="The newest stretch, in seconds.")
    floor: float | None = Field(default=None, description="A drop: the mean is below this.")
    drop: float | None = Field(
        default=None, gt=0, description="A drop: the mean fell by this much against the stretch before the window."
    )
    reference_s: int = Field(
        default=7 * DAY, ge=MINUTE, le=90 * DAY, description="Length of the stretch before the window, in seconds."
    )
    min_scores: int = Field(default=20, ge=2, description="With fewer scores it says nothing.")
    note: str = Field(default="", max_length=2000)


class Kpi(Value):
    """An indicator as it is kept."""

    id: str
    name: str
    score: str
    source: Literal["code", "model", "person"] | None
    target: Target
    window_s: int
    floor: float | None
    drop: float | None
    reference_s: int
    min_scores: int
    note: str
    saved_by: str
    saved_at: Instant


class KpiPoint(Value):
    """The mean of a score in one stretch of time, for one release."""

    start: Instant
    end: Instant
    release_id: str | None
    scores: int
    units: int = Field(description="Users, sessions or traces that they come from: scores of one are alike.")
    mean: float | None
    low: float | None = Field(description="Lower end of the 95% interval.")
    high: float | None
    interval: Literal["wilson", "clustered_t"] | None


class KpiReport(Value):
    """What an indicator says now."""

    kpi: Kpi
    at: Instant
    now: KpiPoint
    reference: KpiPoint | None
    difference: float | None = Field(description="Mean now minus mean of the reference.")
    low: float | None = Field(description="Lower end of the 95% interval of the difference.")
    high: float | None
    verdict: Verdict = Field(description="fail: it dropped for sure; pass: for sure it did not; else inconclusive.")
    needed: int | None = Field(description="When inconclusive: about how many more scores would settle it.")
    why: str


class KpiSeries(Value):
    """A score over time, release by release."""

    score: str
    step_s: int
    points: list[KpiPoint]


class MonitorState(Value):
    """One line of the overview: what is watched, when it was last looked at, what it said."""

    name: Name
    kind: Literal["slo", "kpi", "drift"]
    verdict: Verdict | None = Field(description="Null when it was never looked at.")
    summary: str
    checked_at: Instant | None
    next_at: Instant | None
    alerts: list[str]


class MonitorCheck(Value):
    """What a look at everything of one name found."""

    name: str
    slo: SloStatus | None
    kpi: KpiReport | None
    drift: DriftReport | None
