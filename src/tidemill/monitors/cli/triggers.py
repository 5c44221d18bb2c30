"""`tidemill triggers`."""

from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.monitors.lengths import seconds, span
from tidemill.monitors.sdk import Triggers
from tidemill.monitors.types import Trigger, TriggerStatus

app = typer.Typer(help="Two keys that start a pipeline.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The trigger's name.")]


def keys(trigger: Trigger) -> str:
    """What turns its keys, in one line."""
    first = [f"drift {name}" for name in trigger.drift]
    if trigger.dataset is not None and trigger.max_age_s is not None:
        first.append(f"{trigger.dataset} older than {span(trigger.max_age_s)}")
    second = [*(f"slo {n}" for n in trigger.slos), *(f"kpi {n}" for n in trigger.kpis), "a person"]
    return f"({' or '.join(first)}) and ({' or '.join(second)})"


@app.command("set")
def set_(
    ctx: typer.Context,
    name: NameArgument,
    pipeline: Annotated[str, typer.Option(help="What is started.")],
    drift: Annotated[list[str] | None, typer.Option(help="First key: a drift monitor.")] = None,
    dataset: Annotated[str | None, typer.Option(help="First key: a dataset that grows old.")] = None,
    max_age: Annotated[str | None, typer.Option(help="With --dataset: older than this is too old.")] = None,
    slo: Annotated[list[str] | None, typer.Option(help="Second key: an objective.")] = None,
    kpi: Annotated[list[str] | None, typer.Option(help="Second key: an indicator.")] = None,
    cooldown: Annotated[str, typer.Option(help="Pause after it fired.")] = "1d",
    expect: Annotated[float, typer.Option(help="Minutes that one run is thought to take.")] = 60,
    budget: Annotated[float, typer.Option(help="Minutes of compute in a calendar month.")] = 600,
    off: Annotated[bool, typer.Option("--off", help="Keep it, but let it not fire by itself.")] = False,
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Make or change a trigger."""
    spec: dict[str, Any] = {
        "pipeline": pipeline,
        "drift": drift or [],
        "dataset": dataset,
        "max_age_s": seconds(max_age) if max_age is not None else None,
        "slos": slo or [],
        "kpis": kpi or [],
        "cooldown_s": seconds(cooldown),
        "expected_minutes": expect,
        "monthly_minutes": budget,
        "enabled": not off,
        "note": note,
    }
    term = terminal(ctx)
    saved = Triggers(term.http).put(name, **spec)
    if term.as_json:
        term.show(saved)
    else:
        term.print(f"{saved.name} starts {saved.pipeline} on {keys(saved)}")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Every trigger."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("name", "name"),
        ("starts", "pipeline"),
        ("keys", keys),
        ("pause", lambda t: span(t.cooldown_s)),
        ("minutes a month", "monthly_minutes"),
        ("on", "enabled"),
    ]
    empty = "No triggers yet. `tidemill triggers set --help` says what one needs."
    term.table(Triggers(term.http).list(), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, name: NameArgument) -> None:
    """Its two keys, its pause, its budget."""
    term = terminal(ctx)
    rows: list[Column] = [
        ("trigger", lambda s: f"{s.trigger.name} starts {s.trigger.pipeline}"),
        ("first key", lambda s: _key(s, 0)),
        ("second key", lambda s: _key(s, 1)),
        ("pause until", "cooling_until"),
        ("this month", lambda s: f"{s.spent_minutes:.1f} of {s.trigger.monthly_minutes:g} minutes"),
        ("held by", "held_by"),
    ]
    term.show(Triggers(term.http).status(name), rows)


def _key(status: TriggerStatus, number: int) -> Text:
    key = status.keys[number]
    if not key.turned:
        return Text("not turned", style="dim")
    return Text.assemble(("turned", "bold red"), ": " + "; ".join(key.reasons))


@app.command()
def firings(ctx: typer.Context, name: NameArgument, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """When it fired and why, newest first."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("id", "id"),
        ("at", "at"),
        ("by", "by"),
        ("started", "pipeline"),
        ("run", "run_id"),
        ("minutes", lambda f: None if f.spent_minutes is None else f"{f.spent_minutes:.1f}"),
        ("failed", "error"),
        ("reasons", "reasons"),
    ]
    found = Triggers(term.http).firings(name, cursor=cursor, limit=limit)
    term.table(found, columns, empty=f"{name} has not fired yet.")


@app.command()
def turn(
    ctx: typer.Context,
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Why.")],
    both: Annotated[bool, typer.Option("--both", help="Turn the first key too; only an admin may.")] = False,
) -> None:
    """Turn the second key by hand."""
    term = terminal(ctx)
    fired = Triggers(term.http).turn(name, reason, both=both)
    if term.as_json:
        term.show(fired)
    else:
        term.print(f"{fired.trigger} fired: {fired.id}; it starts {fired.pipeline}.")


@app.command()
def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Fire no more."""
    term = terminal(ctx)
    Triggers(term.http).remove(name)
    term.print(f"{name} is removed.")
