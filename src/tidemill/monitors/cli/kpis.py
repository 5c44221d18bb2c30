"""`tidemill kpi`."""

from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.core.wire import utc_now
from tidemill.monitors.cli.looks import spark, verdict
from tidemill.monitors.lengths import seconds, span
from tidemill.monitors.sdk import Kpis
from tidemill.monitors.types import Kpi, KpiPoint, KpiReport

app = typer.Typer(help="Indicators: scores and feedback by release over time.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The indicator's name.")]
SourceOption = Annotated[str | None, typer.Option(help="code, model or person.")]
EnvOption = Annotated[str | None, typer.Option("--env", help="Only this environment.")]


def asks(kpi: Kpi) -> str:
    """What an indicator calls a drop, in one line."""
    said = []
    if kpi.floor is not None:
        said.append(f"below {kpi.floor:g}")
    if kpi.drop is not None:
        said.append(f"{kpi.drop:g} less than in the {span(kpi.reference_s)} before")
    return f"{kpi.score} over {span(kpi.window_s)}" + (f"; a drop is {' or '.join(said)}" if said else "")


@app.command("set")
def set_(
    ctx: typer.Context,
    name: NameArgument,
    score: Annotated[str, typer.Option(help="Name of a score or of feedback.")],
    floor: Annotated[float | None, typer.Option(help="A mean below this is a drop.")] = None,
    drop: Annotated[float | None, typer.Option(help="A fall by this much is a drop.")] = None,
    window: Annotated[str, typer.Option(help="The newest stretch.")] = "1d",
    reference: Annotated[str, typer.Option(help="The stretch before it, for --drop.")] = "7d",
    source: SourceOption = None,
    env: EnvOption = None,
    min_scores: Annotated[int, typer.Option(min=2, help="With fewer it says nothing.")] = 20,
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Make or change an indicator."""
    spec: dict[str, Any] = {
        "score": score,
        "source": source,
        "target": {"environment": env},
        "window_s": seconds(window),
        "floor": floor,
        "drop": drop,
        "reference_s": seconds(reference),
        "min_scores": min_scores,
        "note": note,
    }
    term = terminal(ctx)
    saved = Kpis(term.http).put(name, **spec)
    if term.as_json:
        term.show(saved)
    else:
        term.print(f"{saved.name}: {asks(saved)}")


@app.command("list")
def list_(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """Every indicator."""
    term = terminal(ctx)
    columns: list[Column] = [("name", "name"), ("watches", asks), ("by", "saved_by"), ("at", "saved_at")]
    empty = "No indicators yet. Make one: tidemill kpi set thumbs --score feedback --floor 0.8"
    term.table(Kpis(term.http).list(cursor=cursor, limit=limit), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, name: NameArgument) -> None:
    """What an indicator says now."""
    term = terminal(ctx)
    show_report(term, Kpis(term.http).report(name))


@app.command()
def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Look at it no longer."""
    term = terminal(ctx)
    Kpis(term.http).remove(name)
    term.print(f"{name} is removed.")


@app.command()
def series(
    ctx: typer.Context,
    score: Annotated[str, typer.Argument(help="Name of a score or of feedback.")],
    since: Annotated[str, typer.Option(help="How far back.")] = "30d",
    step: Annotated[str, typer.Option(help="Length of a step.")] = "1d",
    source: SourceOption = None,
    env: EnvOption = None,
) -> None:
    """A score by release over time, with 95% intervals."""
    term = terminal(ctx)
    begin = utc_now() - timedelta(seconds=seconds(since))
    found = Kpis(term.http).series(score, source=source, environment=env, since=begin, step_s=seconds(step))
    if term.as_json:
        term.show(found)
        return
    columns: list[Column] = [
        ("from", "start"),
        ("release", "release_id"),
        ("mean", "mean"),
        ("95%", bounds),
        ("scores", "scores"),
        ("users", "units"),
    ]
    term.table(found.points, columns, empty=f"No scores called {score} in this time.")
    releases = sorted({p.release_id or "-" for p in found.points})
    for release in releases:
        line = spark([p.mean for p in found.points if (p.release_id or "-") == release])
        term.print(Text.assemble((f"{release}  ", "bold"), (line, "cyan")))


def bounds(point: KpiPoint) -> str | None:
    """An interval in one cell."""
    return None if point.low is None or point.high is None else f"{point.low:.3g} to {point.high:.3g}"


def show_report(term: Terminal, found: KpiReport) -> None:
    """An indicator as a person reads it."""
    rows: list[Column] = [
        ("indicator", lambda r: f"{r.kpi.name}: {asks(r.kpi)}"),
        ("verdict", lambda r: verdict(r.verdict)),
        ("why", "why"),
        ("mean", lambda r: r.now.mean),
        ("95%", lambda r: bounds(r.now)),
        ("scores", lambda r: f"{r.now.scores} from {r.now.units} users, sessions or traces"),
        ("before", lambda r: r.reference.mean if r.reference is not None else None),
        ("to settle", lambda r: f"about {r.needed:,} more" if r.needed is not None else None),
    ]
    term.show(found, rows)
