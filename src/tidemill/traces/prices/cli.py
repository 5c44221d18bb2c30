"""`tidemill prices`."""

from typing import Annotated, Any

import typer

from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.traces.prices.sdk import Prices

app = typer.Typer(help="What model calls cost: rules of your own before the public list.", no_args_is_help=True)

ProviderOption = Annotated[str | None, typer.Option(help="Only calls of this provider; tidemill is the gateway.")]
Rate = Annotated[float | None, typer.Option(min=0, help="US dollars.")]


def _rates(price: Any) -> str:
    parts = (
        (price.input_per_million, "/M in"),
        (price.cached_per_million, "/M cached"),
        (price.output_per_million, "/M out"),
        (price.per_call, "/call"),
        (price.per_hour, "/h"),
    )
    return ", ".join(f"${rate:g}{unit}" for rate, unit in parts if rate is not None)


_COLUMNS: list[Column] = [
    ("id", "id"),
    ("model", "model"),
    ("provider", "provider"),
    ("price", _rates),
    ("since", "since"),
    ("until", "until"),
    ("by", "created_by"),
    ("note", "note"),
]


@app.command()
def add(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="A model's name, or a pattern such as 'support@*'.")],
    provider: ProviderOption = None,
    input_per_million: Rate = None,
    output_per_million: Rate = None,
    cached_per_million: Rate = None,
    per_call: Rate = None,
    per_hour: Annotated[float | None, typer.Option(min=0, help="US dollars for an hour of its machine.")] = None,
    note: Annotated[str, typer.Option(help="Where the price comes from.")] = "",
) -> None:
    """Add a price rule: what calls of a model cost from now on."""
    term = terminal(ctx)
    price = Prices(term.http).create(
        model,
        provider=provider,
        input_per_million=input_per_million,
        output_per_million=output_per_million,
        cached_per_million=cached_per_million,
        per_call=per_call,
        per_hour=per_hour,
        note=note,
    )
    term.show(price, _COLUMNS)


@app.command("list")
def list_prices(
    ctx: typer.Context,
    ended: Annotated[bool, typer.Option("--ended", help="Also rules that have ended.")] = False,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """List price rules, newest first."""
    term = terminal(ctx)
    empty = "No rules of your own: the public price list holds. Add one: tidemill prices add 'support@*' --per-hour 1.2"
    term.table(Prices(term.http).list(ended=ended, cursor=cursor, limit=limit), _COLUMNS, empty=empty)


@app.command()
def end(ctx: typer.Context, price: Annotated[str, typer.Argument(help="The rule's id.")]) -> None:
    """End a price rule."""
    term = terminal(ctx)
    term.show(Prices(term.http).end(price), _COLUMNS)


@app.command()
def quote(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="A model's name.")],
    provider: ProviderOption = None,
    input_tokens: Annotated[int, typer.Option(min=0)] = 1000,
    output_tokens: Annotated[int, typer.Option(min=0)] = 1000,
    cached_tokens: Annotated[int, typer.Option(min=0, help="Part of the input tokens.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="How long the engine worked on it.")] = 0.0,
) -> None:
    """Show what a call would cost, and by which rule or list."""
    term = terminal(ctx)
    quoted = Prices(term.http).quote(
        model,
        provider=provider,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        seconds=seconds,
    )
    term.show(quoted)
