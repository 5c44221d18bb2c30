"""Names that go out of service."""

from typing import ClassVar

from pydantic import Field

from tidemill.core.errors import Conflict, Invalid, NotFound, TidemillError
from tidemill.core.wire import Body, Instant, Value
from tidemill.traces.types import Caller


class Retired(TidemillError):
    """The name is out of service; the message names its successor."""

    code = "model_retired"
    status: ClassVar[int] = 410


class RetirementNotFound(NotFound):
    """Nothing of that name is being retired."""

    code = "retirement_not_found"


class NothingToRetire(Conflict):
    """Nothing is served under that name."""

    code = "nothing_to_retire"


class SunsetPassed(Invalid):
    """The date lies in the past."""

    code = "sunset_passed"


class RetirementCreate(Body):
    """Announce that a name goes out of service."""

    name: str = Field(
        min_length=1, max_length=130, description="`prod/support`, or `support` for every environment that serves it."
    )
    sunset: Instant = Field(description="When it stops answering.")
    successor: str = Field(min_length=1, max_length=200, description="What callers should ask instead.")
    note: str = Field(default="", max_length=2000)


class Retirement(Value):
    """A name on its way out of service, or gone."""

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
        """What callers ask for."""
        return f"{self.environment}/{self.name}"


class RetirementPage(Value):
    """A retirement and who still asks."""

    retirement: Retirement
    callers: list[Caller] = Field(description="Who asked since it was announced, most requests first.")
