"""`client.prices`: what model calls cost."""

from datetime import datetime

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.traces.types.prices import Price, PriceCreate, Quote, QuoteRequest


class Prices:
    """Price rules, in US dollars, and what a call costs by them or by the public list."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
        self,
        model: str,
        *,
        provider: str | None = None,
        input_per_million: float | None = None,
        output_per_million: float | None = None,
        cached_per_million: float | None = None,
        per_call: float | None = None,
        per_hour: float | None = None,
        since: datetime | None = None,
        note: str = "",
    ) -> Price:
        """Create a rule: what calls of `model` (a name, or a pattern such as `gpt-4o*`) cost from `since` on."""
        body = PriceCreate(
            model=model,
            provider=provider,
            input_per_million=input_per_million,
            output_per_million=output_per_million,
            cached_per_million=cached_per_million,
            per_call=per_call,
            per_hour=per_hour,
            since=since,
            note=note,
        )
        return self._http.post("/api/prices", Price, body)

    def list(self, *, ended: bool = False, cursor: str | None = None, limit: int = 50) -> Page[Price]:
        """Return rules, newest first; with `ended` also those that have ended."""
        return self._http.get("/api/prices", Page[Price], params={"ended": ended, "cursor": cursor, "limit": limit})

    def get(self, price_id: str) -> Price:
        """Return a rule. Raises PriceNotFound."""
        return self._http.get(f"/api/prices/{price_id}", Price)

    def end(self, price_id: str) -> Price:
        """End a rule now. Raises PriceNotFound, PriceEnded."""
        return self._http.post(f"/api/prices/{price_id}/end", Price)

    def quote(
        self,
        model: str,
        *,
        provider: str | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cached_tokens: int = 0,
        seconds: float = 0.0,
    ) -> Quote:
        """Return what a call would cost now, and by which rule or list."""
        body = QuoteRequest(
            model=model,
            provider=provider,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_tokens=cached_tokens,
            seconds=seconds,
        )
        return self._http.post("/api/prices/quote", Quote, body)
