"""Triggers start a pipeline when the data condition and the quality condition are both met."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, computed_field, model_validator

from tidemill.core.errors import Conflict, Invalid, NotFound
from tidemill.core.wire import Body, Instant, Name, Value

if TYPE_CHECKING:
    from tidemill.core.kernel import Context

MONTH_MINUTES = 31 * 24 * 60


class TriggerNotFound(NotFound):
    """No trigger has this name."""

    code = "trigger_not_found"


class TriggerIncomplete(Invalid):
    """The trigger names a monitor or pipeline that does not exist."""

    code = "trigger_incomplete"


class TriggerPipelineMissing(Conflict):
    """The pipeline that the trigger starts does not exist, or was removed."""

    code = "trigger_pipeline_missing"


class ConditionsNotMet(Conflict):
    """The data condition of the trigger is not met, so a manual fire is refused."""

    code = "trigger_conditions_not_met"


class TriggerCooling(Conflict):
    """The trigger's cooldown has not ended."""

    code = "trigger_cooling"


class TriggerOverBudget(Conflict):
    """The month's compute budget is too small for another run."""

    code = "trigger_over_budget"


class FiringNotFound(NotFound):
    """No firing has this id."""

    code = "firing_not_found"


class TriggerPut(Body):
    """Two conditions, a pause after each firing, and a budget.

    The data condition is met by an open drift alert or by data that has grown old. The quality condition is met by an
    open alert of an SLO or a KPI; a person who fires the trigger stands in for it.
    """

    pipeline: Name = Field(description="The pipeline that is started.")
    drift: list[str] = Field(default_factory=list, description="Data condition: names of drift monitors, any of them.")
    dataset: str | None = Field(default=None, description="Data condition: the dataset whose age counts.")
    max_age_s: int | None = Field(
        default=None, ge=60, description="Data condition: older than this is too old, in seconds."
    )
    slos: list[str] = Field(default_factory=list, description="Quality condition: names of SLOs, any of them.")
    kpis: list[str] = Field(default_factory=list, description="Quality condition: names of KPIs, any of them.")
    cooldown_s: int = Field(default=86400, ge=1, description="Pause after it fired, in seconds.")
    expected_minutes: float = Field(default=60, gt=0, le=MONTH_MINUTES, description="Expected minutes of one run.")
    monthly_minutes: float = Field(
        default=600, gt=0, le=MONTH_MINUTES, description="Compute budget in a calendar month (UTC), in minutes."
    )
    lookback_s: int = Field(default=30 * 86400, ge=60, description="Traffic handed to the first run, in seconds.")
    enabled: bool = True
    note: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _data_condition(self) -> "TriggerPut":
        if (self.dataset is None) != (self.max_age_s is None):
            raise ValueError("`dataset` and `max_age_s` go together")
        if not self.drift and self.dataset is None:
            raise ValueError("the data condition needs `drift`, or `dataset` with `max_age_s`")
        return self


class Trigger(Value):
    """A stored trigger."""

    id: str
    name: str
    pipeline: str
    drift: list[str]
    dataset: str | None
    max_age_s: int | None
    slos: list[str]
    kpis: list[str]
    cooldown_s: int
    expected_minutes: float
    monthly_minutes: float
    lookback_s: int
    enabled: bool
    note: str
    saved_by: str
    saved_at: Instant


@dataclass(frozen=True)
class PipelineNames:
    """Lists the names of all pipelines, a feature above this one. Registered with the kernel."""

    names: Callable[["Context"], list[str]]


class Condition(Value):
    """Whether one of the two conditions of a trigger is met, and why."""

    met: bool
    reasons: list[str]
    evidence: list[dict[str, Any]]


class TrafficWindow(Value):
    """The period of traffic that a run may learn from."""

    start: Instant
    end: Instant


class TriggerKey(Value):
    """A condition as 0.1.0 showed it: key 1 is the data condition, key 2 the quality condition."""

    number: Literal[1, 2]
    turned: bool
    reasons: list[str]
    evidence: list[dict[str, Any]]


class TriggerStatus(Value):
    """The status of a trigger: its conditions, and what else keeps it from firing."""

    trigger: Trigger
    at: Instant
    data_condition: Condition
    quality_condition: Condition
    cooling_until: Instant | None
    spent_minutes: float = Field(description="This month's minutes; running runs count with their expected minutes.")
    held_by: str | None = Field(description="Why it does not fire although both conditions are met.")

    @computed_field(
        description="Deprecated form of `data_condition` and `quality_condition`.",
        json_schema_extra={"deprecated": True},
    )
    def keys(self) -> list[TriggerKey]:
        """Return both conditions in the form of 0.1.0."""
        numbered: tuple[tuple[Literal[1, 2], Condition], ...] = ((1, self.data_condition), (2, self.quality_condition))
        return [TriggerKey(number=n, turned=c.met, reasons=c.reasons, evidence=c.evidence) for n, c in numbered]

    @model_validator(mode="before")
    @classmethod
    def _drop_keys(cls, value: Any) -> Any:
        """Accept what this release sends: `keys` says nothing more."""
        return {n: v for n, v in value.items() if n != "keys"} if isinstance(value, dict) else value


class ManualFire(Body):
    """A person fires the trigger, which stands in for the quality condition."""

    reason: str = Field(min_length=1, max_length=2000)
    both: bool = Field(default=False, description="Fire although the data condition is not met. Only an admin may.")


class Firing(Value):
    """One time that a trigger fired, with the evidence of both conditions."""

    id: str
    trigger_id: str
    trigger: str
    pipeline: str
    at: Instant
    by: str
    reasons: list[str]
    evidence: list[dict[str, Any]]
    window: TrafficWindow
    expected_minutes: float
    spent_minutes: float | None = Field(description="Null while the run is running.")
    run_id: str | None
    error: str | None = Field(
        default=None, description="Why it started nothing. Such a firing costs neither pause nor budget."
    )


class FiringSettle(Body):
    """How many minutes the run that a firing started took."""

    run_id: str | None = Field(default=None, max_length=80)
    minutes: float = Field(ge=0, le=10 * MONTH_MINUTES)
