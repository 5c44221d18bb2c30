"""`tidemill triggers`."""

from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.durations import format_duration, parse_duration
from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.triggers.sdk import Triggers
from tidemill.triggers.types import Condition, Trigger

app = typer.Typer(help="Start a pipeline when the data moved and the quality fell.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The trigger's name.")]


def describe(trigger: Trigger) -> str:
    """Return its two conditions, in one line."""
    first = [f"drift {name}" for name in trigger.drift]
    if trigger.dataset is not None and trigger.max_age_s is not None:
        first.append(f"{trigger.dataset} older than {format_duration(trigger.max_age_s)}")
    second = [*(f"slo {n}" for n in trigger.slos), *(f"kpi {n}" for n in trigger.kpis), "a person"]
    return f"({' or '.join(first)}) and ({' or '.join(second)})"


@app.command("set")
def set_(
    ctx: typer.Context,
    name: NameArgument,
    pipeline: Annotated[str, typer.Option(help="The pipeline that is started.")],
    drift: Annotated[list[str] | None, typer.Option(help="Data condition: a drift monitor.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data condition: a dataset that grows old.")] = None,
    max_age: Annotated[str | None, typer.Option(help="With --dataset: older than this is too old.")] = None,
    slo: Annotated[list[str] | None, typer.Option(help="Quality condition: an SLO.")] = None,
    kpi: Annotated[list[str] | None, typer.Option(help="Quality condition: a KPI.")] = None,
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
        "max_age_s": parse_duration(max_age) if max_age is not None else None,
        "slos": slo or [],
        "kpis": kpi or [],
        "cooldown_s": parse_duration(cooldown),
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
        term.print(f"{saved.name} starts {saved.pipeline} on {describe(saved)}")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Every trigger."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("name", "name"),
        ("starts", "pipeline"),
        ("fires on", describe),
        ("pause", lambda t: format_duration(t.cooldown_s)),
        ("minutes a month", "monthly_minutes"),
        ("on", "enabled"),
    ]
    empty = "No triggers yet. `tidemill triggers set --help` says what one needs."
    term.table(Triggers(term.http).list(), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, name: NameArgument) -> None:
    """The status of a trigger: its conditions, cooldown and budget."""
    term = terminal(ctx)
    rows: list[Column] = [
        ("trigger", lambda s: f"{s.trigger.name} starts {s.trigger.pipeline}"),
        ("data condition", lambda s: _condition(s.data_condition)),
        ("quality condition", lambda s: _condition(s.quality_condition)),
        ("pause until", "cooling_until"),
        ("this month", lambda s: f"{s.spent_minutes:.1f} of {s.trigger.monthly_minutes:g} minutes"),
        ("on hold", "held_by"),
    ]
    term.show(Triggers(term.http).status(name), rows)


def _condition(condition: Condition) -> Text:
    if not condition.met:
        return Text("not met", style="dim")
    return Text.assemble(("met", "bold red"), ": " + "; ".join(condition.reasons))


@app.command()
def firings(ctx: typer.Context, name: NameArgument, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """When a trigger fired and why, newest first."""
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
    page = Triggers(term.http).firings(name, cursor=cursor, limit=limit)
    term.table(page, columns, empty=f"{name} has not fired yet.")


ReasonOption = Annotated[str, typer.Option(help="Why.")]
BothOption = Annotated[bool, typer.Option("--both", help="Fire without the data condition too; only an admin may.")]


@app.command()
def fire(ctx: typer.Context, name: NameArgument, reason: ReasonOption, both: BothOption = False) -> None:
    """Fire a trigger by hand, which stands in for the quality condition."""
    term = terminal(ctx)
    fired = Triggers(term.http).fire(name, reason, both=both)
    if term.as_json:
        term.show(fired)
    else:
        term.print(f"{fired.trigger} fired: {fired.id}; it starts {fired.pipeline}.")


@app.command(hidden=True)
def turn(ctx: typer.Context, name: NameArgument, reason: ReasonOption, both: BothOption = False) -> None:
    """The same as `fire`, under its name of version 0.1."""
    terminal(ctx).err.print("Note: `tidemill triggers turn` is now `tidemill triggers fire`.")
    fire(ctx, name, reason, both)


@app.command()
def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Delete a trigger; its firings stay on record."""
    term = terminal(ctx)
    Triggers(term.http).remove(name)
    term.print(f"{name} is removed.")
