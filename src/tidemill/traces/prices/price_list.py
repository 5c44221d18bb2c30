"""The public price list, from the package `genai-prices` as it is installed: nothing is fetched."""

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

_LARGEST = 10_000
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
    """Costs by the public list. Prices that change with the hour of the day are looked up for each hour."""

    def __init__(self) -> None:
        self.version = f"genai-prices {version('genai-prices')}"
        self._known: dict[tuple[str | None, str, int], _Rates | bool] = {}
        """True: priced in tiers, so each call is worked out by the package; False: not in the list."""

    def cost(self, provider: str | None, model: str, tokens: Tokens, at_ns: int) -> float | None:
        """Dollars for a call at a time in nanoseconds since 1970; None when the list does not know the model."""
        name = _IDS.get(provider, provider) if provider is not None else None
        key = (name, model, at_ns // _HOUR_NS)
        rates = self._known.get(key)
        if rates is None:
            if len(self._known) >= _LARGEST:
                self._known.clear()
            rates = self._known[key] = self._rates(name, model, at_ns)
        if rates is False:
            return None
        if rates is True:
            return self._worked_out(name, model, tokens, at_ns)
        plain = max(tokens.input - tokens.cached - tokens.written, 0)
        return (
            plain * rates.input
            + tokens.cached * rates.cached
            + tokens.written * rates.written
            + tokens.output * rates.output
        )

    def _rates(self, provider: str | None, model: str, at_ns: int) -> _Rates | bool:
        from genai_prices import Usage, calc_price

        at = datetime.fromtimestamp(at_ns / 1e9, UTC)
        try:
            found = calc_price(Usage(input_tokens=0), model, provider_id=provider, genai_request_timestamp=at)
        except LookupError:
            return False
        said = vars(found.model_price)
        given = [said.get(name) for name in ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")]
        if any(hasattr(rate, "tiers") for rate in given) or said.get("requests_kcount") is not None:
            return True
        into, out, cached, written = (float(rate) / 1e6 if rate is not None else None for rate in given)
        into = into or 0.0
        return _Rates(into, out or 0.0, into if cached is None else cached, into if written is None else written)

    def _worked_out(self, provider: str | None, model: str, tokens: Tokens, at_ns: int) -> float | None:
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
