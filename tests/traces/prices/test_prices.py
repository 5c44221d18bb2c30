"""What calls cost: by rules, by what senders say, by the public list, and by the hour."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.traces.dialects.recorded import span
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core.actors import OWNER
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.traces.dialects import map_span
from tidemill.traces.prices import service
from tidemill.traces.prices.book import ENGINE_SECONDS, PriceBook
from tidemill.traces.prices.price_list import PriceList, Tokens
from tidemill.traces.types import SpanPayload, SpanRecord
from tidemill.traces.types.prices import PriceCreate, PriceEnded, PriceNotFound, QuoteRequest

NOW = datetime.now(UTC)
NOW_NS = int(NOW.timestamp() * 1e9)


def call(model: str = "gpt-4o", provider: str | None = "openai", **more: object) -> SpanRecord:
    values = {"kind": "llm", "input_tokens": 1000, "output_tokens": 100} | more
    return SpanRecord(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        name="chat",
        start_ns=NOW_NS + 10**9,
        duration_ns=36 * 10**8,
        model=model,
        provider=provider,
        **values,
    )


def priced(kernel: Kernel, record: SpanRecord) -> tuple[float | None, str | None, str | None]:
    kernel.get(PriceBook).price([record])
    return record.cost_usd, record.cost_source, record.price_version


def rule(kernel: Kernel, model: str, **more: object) -> str:
    with kernel.write(OWNER) as ctx:
        return service.create(ctx, PriceCreate.model_validate({"model": model, "since": NOW, **more})).id


def test_the_public_list_gives_cost_and_its_version(kernel: Kernel) -> None:
    cost, source, version = priced(kernel, call(cached_tokens=400))
    assert cost == pytest.approx((600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)
    assert source == "list"
    assert version.startswith("genai-prices ")


def test_what_no_price_is_known_for_has_none(kernel: Kernel) -> None:
    unknown = [
        call("nobody-knows-this"),
        call("support@3", "tidemill"),
        call("gpt-4o", "tidemill"),
        call(kind="chain"),
        call(input_tokens=None, output_tokens=None),
        call(model=None),
    ]
    assert [priced(kernel, record) for record in unknown] == [(None, None, None)] * 6


def test_the_sender_goes_before_the_list_and_a_rule_before_the_sender(kernel: Kernel) -> None:
    stated = call(cost_usd=0.5, cost_source="sender")
    assert priced(kernel, stated) == (0.5, "sender", None)
    ours = rule(kernel, "gpt-4*", input_per_million=1.0, output_per_million=2.0)
    cost, source, version = priced(kernel, stated)
    assert (cost, source, version) == (pytest.approx(0.0012), "rule", ours)


def test_the_most_particular_rule_holds(kernel: Kernel) -> None:
    rule(kernel, "*", per_call=1.0)
    rule(kernel, "gpt-*", per_call=2.0)
    rule(kernel, "gpt-4o", per_call=3.0)
    rule(kernel, "gpt-4o", provider="azure.ai.openai", per_call=4.0)
    newest = rule(kernel, "gpt-4o", per_call=5.0)
    assert priced(kernel, call("other", None))[0] == 1.0
    assert priced(kernel, call("gpt-5"))[0] == 2.0
    assert priced(kernel, call("gpt-4o", "azure.ai.openai"))[0] == 4.0
    assert priced(kernel, call("gpt-4o"))[::2] == (5.0, newest)
    with kernel.write(OWNER) as ctx:
        service.end(ctx, newest)
    late = call("gpt-4o")
    late.start_ns += 3600 * 10**9
    assert priced(kernel, late)[0] == 3.0


def test_a_rule_holds_from_its_time_on(kernel: Kernel) -> None:
    rule(kernel, "mine", per_call=1.0, since=NOW + timedelta(days=1))
    assert priced(kernel, call("mine"))[0] is None
    later = call("mine")
    later.start_ns += 2 * 86_400 * 10**9
    assert priced(kernel, later)[0] == 1.0


def test_an_hour_of_a_machine_is_shared_by_its_calls(kernel: Kernel) -> None:
    rule(kernel, "*", provider="tidemill", per_hour=3.6)
    whole = call("support@3", "tidemill")
    assert priced(kernel, whole)[:2] == (pytest.approx(0.0036), "hours")
    share = call("support@3", "tidemill", payload=SpanPayload(attributes={ENGINE_SECONDS: 0.5}))
    assert priced(kernel, share)[0] == pytest.approx(0.0005)


MODELS = {
    "openai": ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "o3-mini", "text-embedding-3-small"],
    "anthropic": ["claude-sonnet-4-5", "claude-3-opus-latest"],
    "google": ["gemini-2.5-pro", "gemini-1.5-flash"],
    "mistral": ["mistral-large-latest"],
    "deepseek": ["deepseek-chat"],
}


@pytest.mark.parametrize("tokens", [Tokens(1000, 200), Tokens(300_000, 9000, 1000, 500), Tokens(5, 0, 5)])
def test_short_ways_to_a_price_agree_with_the_package(tokens: Tokens) -> None:
    usage = Usage(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cached,
        cache_write_tokens=tokens.written,
    )
    prices = PriceList()
    for provider, models in MODELS.items():
        for model in models:
            found = calc_price(usage, model, provider_id=provider, genai_request_timestamp=NOW)
            for _ in range(2):
                cost = prices.cost(provider, model, tokens, NOW_NS)
                assert cost == pytest.approx(float(found.total_price), rel=1e-9), model


def test_rules_are_listed_ended_and_quoted(ctx: Context) -> None:
    made = service.create(ctx, PriceCreate(model="mine", input_per_million=2, note="contract"))
    assert service.get(ctx, made.id) == made
    assert service.list_prices(ctx).items == [made]
    ended = service.end(ctx, made.id)
    assert ended.until == ctx.now
    assert service.list_prices(ctx).items == []
    assert service.list_prices(ctx, ended=True).items == [ended]
    with pytest.raises(PriceEnded):
        service.end(ctx, made.id)
    with pytest.raises(PriceNotFound, match="prc_none"):
        service.end(ctx, "prc_none")
    quote = service.quote(ctx, QuoteRequest(model="gpt-4o", provider="openai", input_tokens=10**6))
    assert (quote.cost_usd, quote.source) == (2.5, "list")
    assert service.quote(ctx, QuoteRequest(model="nobody")).cost_usd is None


@pytest.mark.parametrize("body", [{"model": "x"}, {"model": "", "per_call": 1}, {"model": "x", "per_hour": -1}])
def test_a_rule_without_a_price_is_refused(body: dict) -> None:
    with pytest.raises(ValidationError):
        PriceCreate.model_validate(body)


def test_the_command_line_and_the_sdk(home: Path) -> None:
    with Client() as client:
        made = client.prices.create("support@*", provider="tidemill", per_hour=3.6)
        assert client.prices.get(made.id) == made
        assert client.prices.list().items == [made]
        assert client.prices.quote("support@1", provider="tidemill", seconds=1800).cost_usd == pytest.approx(1.8)

    def run(*argv: str) -> str:
        return CliRunner().invoke(app, argv, catch_exceptions=False).stdout

    assert "$3.6/h" in run("prices", "list")
    assert json.loads(run("--json", "prices", "quote", "gpt-4o", "--provider", "openai"))["source"] == "list"
    added = json.loads(run("--json", "prices", "add", "mine", "--input-per-million", "2", "--note", "contract"))
    assert "until" in run("prices", "end", added["id"])
    error = CliRunner().invoke(app, ["prices", "end", "prc_none"]).exception
    assert isinstance(error, TidemillError)
    assert error.hint


def test_tokens_written_to_a_cache_cost_the_same_under_every_name(kernel: Kernel) -> None:
    names = ("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.details.cache_write_tokens")
    usage = {"gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 101_000}
    records = [map_span(span(usage | {"gen_ai.usage.output_tokens": 0, name: 100_000})) for name in names]
    costs = [priced(kernel, record)[0] for record in records]
    assert costs[0] == costs[1] == pytest.approx((1000 * 3 + 100_000 * 3.75) / 1e6)


@pytest.mark.parametrize("written", [-(10**9), 10**9, "many", True, 0.5])
def test_counts_that_cannot_be_never_make_a_cost_that_cannot_be(kernel: Kernel, written: object) -> None:
    payload = SpanPayload(attributes={"gen_ai.usage.cache_creation.input_tokens": written})
    cost, _, _ = priced(kernel, call("claude-sonnet-4-5", "anthropic", cached_tokens=-5, payload=payload))
    assert cost is not None
    assert (1000 * 3 + 100 * 15) / 1e6 <= cost + 1e-12 <= (1000 * 3.75 + 100 * 15) / 1e6 + 1e-9
