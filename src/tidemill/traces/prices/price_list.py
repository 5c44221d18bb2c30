"""The public price list of the installed package `genai-prices`; nothing is fetched."""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import NamedTuple

_IDS = {
    "azure.ai.openai": "azure",
    "aws.bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gcp.gen_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
}
"""The list's names of providers, where they differ from OpenTelemetry's."""

_MAX_CACHED = 10_000
_HOUR_NS = 3600 * 10**9


class Tokens(NamedTuple):
    """Tokens of one call; the cached and the newly cached ones are part of the input."""

    input: int
    output: int
    cached: int = 0
    written: int = 0


class _Rates(NamedTuple):
    """Dollars for one token."""

    input: float
    output: float
    cached: float
    written: float


class PriceList:
    """Costs by the public list. Rates are cached by the hour, since some change with the hour of the day."""

    def __init__(self) -> None:
        self.version = f"genai-prices {version('genai-prices')}"
        self._cache: dict[tuple[str | None, str, int], _Rates | bool] = {}
        """True: priced in tiers, so the package computes each call; False: not in the list."""

    def cost(self, provider: str | None, model: str, tokens: Tokens, at_ns: int) -> float | None:
        """Return what a call costs in dollars; None when the list has no such model. `at_ns` counts from 1970."""
        name = _IDS.get(provider, provider) if provider is not None else None
        key = (name, model, at_ns // _HOUR_NS)
        rates = self._cache.get(key)
        if rates is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            rates = self._cache[key] = self._rates(name, model, at_ns)
        if rates is False:
            return None
        if rates is True:
            return self._tiered_cost(name, model, tokens, at_ns)
        uncached = max(tokens.input - tokens.cached - tokens.written, 0)
        return (
            uncached * rates.input
            + tokens.cached * rates.cached
            + tokens.written * rates.written
            + tokens.output * rates.output
        )

    def _rates(self, provider: str | None, model: str, at_ns: int) -> _Rates | bool:
        from genai_prices import Usage, calc_price

        at = datetime.fromtimestamp(at_ns / 1e9, UTC)
        try:
            price = calc_price(Usage(input_tokens=0), model, provider_id=provider, genai_request_timestamp=at)
        except LookupError:
            return False
        prices = vars(price.model_price)
        rates = [prices.get(name) for name in ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")]
        if any(hasattr(rate, "tiers") for rate in rates) or prices.get("requests_kcount") is not None:
            return True
        input_rate, output_rate, cached_rate, written_rate = (
            float(rate) / 1e6 if rate is not None else None for rate in rates
        )
        input_rate = input_rate or 0.0
        return _Rates(
            input=input_rate,
            output=output_rate or 0.0,
            cached=input_rate if cached_rate is None else cached_rate,
            written=input_rate if written_rate is None else written_rate,
        )

    def _tiered_cost(self, provider: str | None, model: str, tokens: Tokens, at_ns: int) -> float | None:
        from genai_prices import Usage, calc_price

        cached = min(tokens.cached, tokens.input)
        usage = Usage(
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cache_read_tokens=cached,
            cache_write_tokens=min(tokens.written, tokens.input - cached),
        )
        at = datetime.fromtimestamp(at_ns / 1e9, UTC)
        return float(calc_price(usage, model, provider_id=provider, genai_request_timestamp=at).total_price)
