"""Prices of model calls: price rules, and what a call would cost."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from tidemill.core.errors import Conflict, NotFound
from tidemill.core.wire import Body, Instant, Value

CostSource = Literal["rule", "hours", "sender", "list"]
"""Where a cost comes from: a price rule (by tokens or by hours), the sender of the span, the public price list."""

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Rate = Annotated[float, Field(ge=0, le=1e6)]


class PriceNotFound(NotFound):
    """There is no such price rule."""

    code = "price_not_found"


class PriceEnded(Conflict):
    """The price rule has ended already."""

    code = "price_ended"


class PriceCreate(Body):
    """What calls of some models cost, in US dollars. It holds for calls from `since` on."""

    model: Pattern = Field(description="A model's name as spans have it; `*` and `?` stand for any letters.")
    provider: Pattern | None = Field(
        default=None, description="Only calls of this provider; `tidemill` is the gateway."
    )
    input_per_million: Rate | None = Field(default=None, description="A million input tokens.")
    cached_per_million: Rate | None = Field(
        default=None, description="A million cached input tokens; without it they cost what the others cost."
    )
    output_per_million: Rate | None = Field(default=None, description="A million output tokens.")
    per_call: Rate | None = Field(default=None, description="Each call.")
    per_hour: Rate | None = Field(
        default=None,
        description="An hour of the machine that serves it; a call costs its share of the engine's time.",
    )
    since: Instant | None = Field(default=None, description="Default: now.")
    note: str = Field(default="", max_length=2000, description="Where the price comes from.")

    @model_validator(mode="after")
    def _some_price(self) -> "PriceCreate":
        rates = (self.input_per_million, self.output_per_million, self.per_call, self.per_hour)
        if all(rate is None for rate in rates):
            raise ValueError("give a price: input_per_million, output_per_million, per_call or per_hour")
        return self


class Price(Value):
    """A price rule. It is never edited: a newer one for the same models takes over, and ended ones stay."""

    id: str
    model: str
    provider: str | None
    input_per_million: float | None
    cached_per_million: float | None
    output_per_million: float | None
    per_call: float | None
    per_hour: float | None
    since: Instant
    until: Instant | None = Field(description="When it ended; null while it holds.")
    note: str
    created_by: str
    created_at: Instant


class QuoteRequest(Body):
    """A call to quote a price for."""

    model: Pattern
    provider: Pattern | None = None
    input_tokens: int = Field(default=0, ge=0, le=10**9)
    output_tokens: int = Field(default=0, ge=0, le=10**9)
    cached_tokens: int = Field(default=0, ge=0, le=10**9)
    seconds: float = Field(default=0.0, ge=0, le=1e7, description="How long the engine worked on it.")
    at: Instant | None = Field(default=None, description="When; default: now.")


class Quote(Value):
    """What a call costs, and by which rule or list."""

    cost_usd: float | None = Field(description="Null when no rule and no list knows the model.")
    source: CostSource | None
    version: str | None = Field(description="The rule's id, or the price list and its version.")
