"""The price book: sets the cost of every model call before it is stored, and where the price comes from."""

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import NamedTuple

from tidemill.core.actors import SYSTEM
from tidemill.core.kernel import Context, Kernel
from tidemill.traces.prices import store
from tidemill.traces.prices.price_list import PriceList, Tokens
from tidemill.traces.ttl_cache import TtlCache
from tidemill.traces.types import MODEL_CALLS, SpanRecord
from tidemill.traces.types.prices import CostSource, Price

GATEWAY = "tidemill"
"""The provider of calls through our own gateway: their models are in no public list."""

ENGINE_SECONDS = "tidemill.engine_seconds"
"""The attribute with a call's share of its engine's time; without it the duration of the call counts."""

CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens"


class Cost(NamedTuple):
    """What one call costs, and by which rule or price list."""

    usd: float
    source: CostSource
    version: str
    """The id of the rule, or name and version of the list."""


class PriceBook:
    """Computes what calls cost. The trace writer calls `price` in its thread."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._rules = TtlCache(self._load)
        self._list = PriceList()

    def invalidate(self) -> None:
        """Read the rules again before the next span."""
        self._rules.invalidate()

    def price(self, records: Sequence[SpanRecord]) -> None:
        """Set cost, its source and the price's version. A price rule goes before what a sender states."""
        rules = self._rules.get()
        for record in records:
            if record.kind not in MODEL_CALLS or record.model is None:
                continue
            seconds = record.payload.attributes.get(ENGINE_SECONDS, record.duration_ns / 1e9)
            tokens = _tokens(record)
            cost = cost_by_rule(rules, record.provider, record.model, tokens, seconds, record.start_ns)
            if cost is None and record.cost_usd is None:
                cost = self._list_cost_of(record, tokens)
            if cost is not None:
                record.cost_usd, record.cost_source, record.price_version = cost

    def cost(
        self, ctx: Context, provider: str | None, model: str, tokens: Tokens, seconds: float, at_ns: int
    ) -> Cost | None:
        """Return what one call costs, by the rules as this transaction sees them; None when none and no list fits."""
        rules = sort_rules(store.list_all(ctx.conn))
        cost = cost_by_rule(rules, provider, model, tokens, seconds, at_ns)
        return cost or self._list_cost(provider, model, tokens, at_ns)

    def _list_cost_of(self, record: SpanRecord, tokens: Tokens) -> Cost | None:
        if record.input_tokens is None and record.output_tokens is None:
            return None
        return self._list_cost(record.provider, record.model or "", tokens, record.start_ns)

    def _list_cost(self, provider: str | None, model: str, tokens: Tokens, at_ns: int) -> Cost | None:
        if provider == GATEWAY:
            return None
        cost = self._list.cost(provider, model, tokens, at_ns)
        return Cost(cost, "list", self._list.version) if cost is not None else None

    def _load(self) -> list[Price]:
        with self._kernel.read(SYSTEM) as ctx:
            return sort_rules(store.list_all(ctx.conn))


def sort_rules(rules: Sequence[Price]) -> list[Price]:
    """Return the rules in the order they apply: names before patterns, with a provider before without, newest first."""
    newest = sorted(rules, key=lambda rule: (rule.since, rule.id), reverse=True)
    return sorted(newest, key=lambda rule: (_is_pattern(rule.model), rule.provider is None, -len(rule.model)))


def cost_by_rule(
    rules: Sequence[Price], provider: str | None, model: str, tokens: Tokens, seconds: float, at_ns: int
) -> Cost | None:
    """Return the cost by the first rule that fits; None when none does."""
    if not rules:
        return None
    at = datetime.fromtimestamp(at_ns / 1e9, UTC)
    for rule in rules:
        if rule.since > at or (rule.until is not None and rule.until <= at):
            continue
        if rule.provider is not None and rule.provider != provider:
            continue
        if fnmatchcase(model, rule.model):
            return _cost(rule, tokens, seconds)
    return None


def _cost(rule: Price, tokens: Tokens, seconds: float) -> Cost:
    input_rate = rule.input_per_million or 0.0
    cached_rate = input_rate if rule.cached_per_million is None else rule.cached_per_million
    by_tokens = (
        max(tokens.input - tokens.cached, 0) * input_rate
        + tokens.cached * cached_rate
        + tokens.output * (rule.output_per_million or 0.0)
    ) / 1e6
    by_hours = seconds / 3600 * (rule.per_hour or 0.0)
    only_hours = rule.per_hour is not None and rule.input_per_million is None and rule.output_per_million is None
    usd = by_tokens + by_hours + (rule.per_call or 0.0)
    return Cost(usd, "hours" if only_hours else "rule", rule.id)


def _tokens(record: SpanRecord) -> Tokens:
    written = record.payload.attributes.get(CACHE_WRITE)
    input_tokens = max(record.input_tokens or 0, 0)
    cached = min(max(record.cached_tokens or 0, 0), input_tokens)
    return Tokens(
        input=input_tokens,
        output=max(record.output_tokens or 0, 0),
        cached=cached,
        written=min(max(written, 0), input_tokens - cached) if type(written) is int else 0,
    )


def _is_pattern(model: str) -> bool:
    return any(sign in model for sign in "*?[")
