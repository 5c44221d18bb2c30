"""Retirements of model names, and their errors."""

from typing import ClassVar

from pydantic import Field

from tidemill.core.errors import Conflict, Invalid, NotFound, TidemillError
from tidemill.core.wire import Body, Instant, Value
from tidemill.traces.types import Caller


class Retired(TidemillError):
    """The name is retired; the message names its successor."""

    code = "model_retired"
    status: ClassVar[int] = 410


class RetirementNotFound(NotFound):
    """There is no retirement of this name."""

    code = "retirement_not_found"


class NothingToRetire(Conflict):
    """Nothing is served under this name."""

    code = "nothing_to_retire"


class SunsetPassed(Invalid):
    """The sunset date is in the past."""

    code = "sunset_passed"


class SuccessorUnfit(Invalid):
    """The successor is no model that callers can request after the sunset date."""

    code = "successor_unfit"


class RetirementCreate(Body):
    """Announce that a name goes out of service."""

    name: str = Field(
        min_length=1, max_length=130, description="`prod/support`, or `support` for every environment that serves it."
    )
    sunset: Instant = Field(description="When it stops answering.")
    successor: str = Field(min_length=1, max_length=200, description="The model that callers should request instead.")
    note: str = Field(default="", max_length=2000)


class Retirement(Value):
    """The retirement of a name: announced, or ended."""

    id: str
    environment: str
    name: str
    sunset: Instant
    successor: str
    note: str
    announced_by: str
    announced_at: Instant
    ended_at: Instant | None = Field(description="When its last deployment was ended.")
    cancelled_at: Instant | None

    @property
    def model(self) -> str:
        """The model name that callers request."""
        return f"{self.environment}/{self.name}"


class RetirementPage(Value):
    """A retirement and its callers."""

    retirement: Retirement
    callers: list[Caller] = Field(description="Callers since it was announced, most requests first.")
