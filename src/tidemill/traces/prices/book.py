"""The price book: puts a cost on every model call before it is stored, and says who said so."""

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from tidemill.core.actors import SYSTEM
from tidemill.core.kernel import Kernel
from tidemill.traces.prices import store
from tidemill.traces.prices.price_list import PriceList, Tokens
from tidemill.traces.ttl_cache import TtlCache
from tidemill.traces.types import MODEL_CALLS, SpanRecord
from tidemill.traces.types.prices import CostSource, Price

GATEWAY = "tidemill"
"""The provider of calls through our own gateway: their models are in no public list."""

ENGINE_SECONDS = "tidemill.engine_seconds"
"""A call's share of the time its engine worked; without it the whole call counts."""

WRITTEN = "gen_ai.usage.cache_creation.input_tokens"

Cost = tuple[float, CostSource, str]


class PriceBook:
    """Knows what calls cost. `price` is applied by the trace writer, in its thread."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._rules = TtlCache(self._load)
        self._list = PriceList()

    def invalidate(self) -> None:
        """Read the rules again before the next span."""
        self._rules.invalidate()

    def price(self, records: Sequence[SpanRecord]) -> None:
        """Fill in cost, who said it and the price's version. A rule of one's own goes before what a sender says."""
        rules = self._rules.get()
        for record in records:
            if record.kind not in MODEL_CALLS or record.model is None:
                continue
            seconds = record.payload.attributes.get(ENGINE_SECONDS, record.duration_ns / 1e9)
            tokens = _tokens(record)
            found = by_rule(rules, record.provider, record.model, tokens, seconds, record.start_ns)
            if found is None and record.cost_usd is None:
                found = self._by_list(record, tokens)
            if found is not None:
                record.cost_usd, record.cost_source, record.price_version = found

    def cost(self, provider: str | None, model: str, tokens: Tokens, seconds: float, at_ns: int) -> Cost | None:
        """What one call costs."""
        found = by_rule(self._rules.get(), provider, model, tokens, seconds, at_ns)
        return found or self._listed(provider, model, tokens, at_ns)

    def _by_list(self, record: SpanRecord, tokens: Tokens) -> Cost | None:
        if record.input_tokens is None and record.output_tokens is None:
            return None
        return self._listed(record.provider, record.model or "", tokens, record.start_ns)

    def _listed(self, provider: str | None, model: str, tokens: Tokens, at_ns: int) -> Cost | None:
        if provider == GATEWAY:
            return None
        cost = self._list.cost(provider, model, tokens, at_ns)
        return (cost, "list", self._list.version) if cost is not None else None

    def _load(self) -> list[Price]:
        with self._kernel.read(SYSTEM) as ctx:
            return in_order(store.every(ctx.conn))


def in_order(rules: Sequence[Price]) -> list[Price]:
    """The rules as they are tried: names before patterns, with a provider before without, newest first."""
    newest = sorted(rules, key=lambda rule: (rule.since, rule.id), reverse=True)
    return sorted(newest, key=lambda rule: (_is_pattern(rule.model), rule.provider is None, -len(rule.model)))


def by_rule(
    rules: Sequence[Price], provider: str | None, model: str, tokens: Tokens, seconds: float, at_ns: int
) -> Cost | None:
    """The cost by the first rule that fits; None when none does."""
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
    into = rule.input_per_million or 0.0
    cached = into if rule.cached_per_million is None else rule.cached_per_million
    by_tokens = (
        max(tokens.input - tokens.cached, 0) * into
        + tokens.cached * cached
        + tokens.output * (rule.output_per_million or 0.0)
    ) / 1e6
    by_hours = seconds / 3600 * (rule.per_hour or 0.0)
    only_hours = rule.per_hour is not None and rule.input_per_million is None and rule.output_per_million is None
    return by_tokens + by_hours + (rule.per_call or 0.0), "hours" if only_hours else "rule", rule.id


def _tokens(record: SpanRecord) -> Tokens:
    written = record.payload.attributes.get(WRITTEN)
    return Tokens(
        input=record.input_tokens or 0,
        output=record.output_tokens or 0,
        cached=min(record.cached_tokens or 0, record.input_tokens or 0),
        written=written if isinstance(written, int) else 0,
    )


def _is_pattern(model: str) -> bool:
    return any(sign in model for sign in "*?[")
