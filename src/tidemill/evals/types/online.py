"""Online evaluators: scorers that run on a share of live traffic."""

from typing import Literal

from pydantic import Field

from tidemill.core.errors import Conflict, NotFound
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.evals.types.runs import ScorerSpec
from tidemill.traces.types import TraceFilter

OnlineState = Literal["active", "paused"]
ExpectedFrom = Literal["nothing", "correction"]


class OnlineNotFound(NotFound):
    """No online evaluator of that name."""

    code = "online_evaluator_not_found"


class OnlineExists(Conflict):
    """There is an online evaluator of that name."""

    code = "online_evaluator_exists"


class OnlineCreate(Body):
    """Score a share of the live model calls, as they come."""

    name: Name
    scorer: ScorerSpec
    share: float = Field(
        default=0.1, gt=0, le=1, description="Of all traces; the same ones for every evaluator, by their id."
    )
    filter: TraceFilter = Field(default_factory=TraceFilter, description="Which calls. Default: every model call.")
    expected: ExpectedFrom = Field(
        default="nothing",
        description="`correction`: score calls once somebody has said what the answer should have been.",
    )
    per_day: int = Field(default=1000, ge=1, le=10_000_000, description="Judgements a day (UTC) at most.")
    usd_per_day: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="USD a day (UTC) that judging may cost. When they are spent it waits, and goes on the next day "
        "where it stopped. Null: no limit.",
    )
    from_start: bool = Field(default=False, description="Begin with the oldest call that is kept, not with the next.")
    note: str = Field(default="", max_length=2000)


class OnlineChange(Body):
    """What to change; a field left out stays."""

    state: OnlineState | None = None
    share: float | None = Field(default=None, gt=0, le=1)
    per_day: int | None = Field(default=None, ge=1, le=10_000_000)
    usd_per_day: float | None = Field(default=None, gt=0, le=1_000_000)
    note: str | None = Field(default=None, max_length=2000)


class OnlineCounts(Value):
    """What an evaluator has done since it was made."""

    seen: int = Field(default=0, description="Calls (or corrections) that fit the filter.")
    sampled: int = Field(default=0, description="Of these, calls of traces in the share.")
    scored: int = 0
    over_budget: int = Field(default=0, description="Sampled, but the day's judgements were used up.")
    unanswered: int = Field(default=0, description="Sampled, but the call failed or its answer was not recorded.")
    failed: int = Field(default=0, description="The scorer could not score it; see `last_error`.")

    def plus(self, other: "OnlineCounts") -> "OnlineCounts":
        """Return the sum of both, count by count."""
        mine, others = self.model_dump(), other.model_dump()
        return OnlineCounts(**{name: count + others[name] for name, count in mine.items()})


class OnlineEvaluator(Value):
    """A scorer on live traffic, and how far it has come."""

    id: str
    name: str
    release: str | None = Field(
        default=None, description="The release whose answers alone it scores, as `name@3`; null for any."
    )
    spec: OnlineCreate
    state: OnlineState
    counts: OnlineCounts
    day: str | None = Field(description="The day (UTC) that `judged_today` and `spent_today` are about.")
    judged_today: int
    spent_today: float = Field(default=0.0, description="USD that the scorer has cost on that day.")
    resumes_at: Instant | None = Field(
        default=None, description="It waits until then, because the day's money is spent. Null while it goes on."
    )
    waiting: int = Field(description="Corrections that wait to be scored with.")
    last_error: str | None
    scored_at: Instant | None
    created_at: Instant
    created_by: str

    @property
    def author(self) -> str:
        """The author of its scores."""
        return f"online/{self.name}"
