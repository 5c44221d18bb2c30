"""Triggers start a pipeline when two keys are turned: the data moved, and so did quality."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from tidemill.core.errors import Conflict, Invalid, NotFound
from tidemill.core.wire import Body, Instant, Name, Value

if TYPE_CHECKING:
    from tidemill.core.kernel import Context

MONTH_MINUTES = 31 * 24 * 60


class TriggerNotFound(NotFound):
    """No trigger of that name."""

    code = "trigger_not_found"


class TriggerIncomplete(Invalid):
    """The trigger names something that is not there."""

    code = "trigger_incomplete"


class TriggerPointless(Conflict):
    """The pipeline that the trigger starts is not there (any more)."""

    code = "trigger_pipeline_missing"


class KeysMissing(Conflict):
    """A key of the trigger is not turned."""

    code = "trigger_keys_missing"


class TriggerCooling(Conflict):
    """The trigger fired a short time ago."""

    code = "trigger_cooling"


class TriggerOverBudget(Conflict):
    """The month's compute budget does not reach for another run."""

    code = "trigger_over_budget"


class FiringNotFound(NotFound):
    """The trigger has not fired with this id."""

    code = "firing_not_found"


class TriggerPut(Body):
    """Two keys, a pause after each firing, and a budget.

    The first key is turned by an open drift alert or by data that has grown old. The second is turned by an open
    alert of a quality objective or an indicator, or by a person's hand.
    """

    pipeline: Name = Field(description="What is started.")
    drift: list[str] = Field(default_factory=list, description="First key: names of drift monitors, any of them.")
    dataset: str | None = Field(default=None, description="First key: the dataset whose age counts.")
    max_age_s: int | None = Field(default=None, ge=60, description="First key: older than this is too old, in seconds.")
    slos: list[str] = Field(default_factory=list, description="Second key: names of objectives, any of them.")
    kpis: list[str] = Field(default_factory=list, description="Second key: names of indicators, any of them.")
    cooldown_s: int = Field(default=86400, ge=1, description="Pause after it fired, in seconds.")
    expected_minutes: float = Field(default=60, gt=0, le=MONTH_MINUTES, description="What one run is thought to take.")
    monthly_minutes: float = Field(
        default=600, gt=0, le=MONTH_MINUTES, description="Compute budget in a calendar month (UTC), in minutes."
    )
    lookback_s: int = Field(default=30 * 86400, ge=60, description="Traffic handed to the first run, in seconds.")
    enabled: bool = True
    note: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _first_key(self) -> "TriggerPut":
        if (self.dataset is None) != (self.max_age_s is None):
            raise ValueError("`dataset` and `max_age_s` go together")
        if not self.drift and self.dataset is None:
            raise ValueError("the first key needs `drift`, or `dataset` with `max_age_s`")
        return self


class Trigger(Value):
    """A trigger as it is kept."""

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
class Pipelines:
    """The pipelines there are, which monitors do not know of themselves. A part of the kernel."""

    names: Callable[["Context"], list[str]]


class Key(Value):
    """One of the two keys, as it stands."""

    number: Literal[1, 2]
    turned: bool
    reasons: list[str]
    evidence: list[dict[str, Any]]


class TrafficWindow(Value):
    """The stretch of traffic that a run may learn from."""

    start: Instant
    end: Instant


class TriggerStatus(Value):
    """Where a trigger stands: its keys, and what else holds it back."""

    trigger: Trigger
    at: Instant
    keys: list[Key]
    cooling_until: Instant | None
    spent_minutes: float = Field(description="This month, runs under way with what is expected of them.")
    held_by: str | None = Field(description="What holds it back although both keys are turned.")


class Hand(Body):
    """A person turns the second key."""

    reason: str = Field(min_length=1, max_length=2000)
    both: bool = Field(default=False, description="Turn the first key too. Only an admin may.")


class Firing(Value):
    """One time that a trigger fired, with the evidence of both keys."""

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
    spent_minutes: float | None = Field(description="Null while the run is under way.")
    run_id: str | None
    error: str | None = Field(
        default=None, description="Why it started nothing. Such a firing costs neither pause nor budget."
    )


class FiringSettle(Body):
    """What the run that was started took."""

    run_id: str | None = Field(default=None, max_length=80)
    minutes: float = Field(ge=0, le=10 * MONTH_MINUTES)
