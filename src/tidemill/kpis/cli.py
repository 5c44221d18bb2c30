"""`tidemill kpi`."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.durations import format_duration, parse_duration
from tidemill.core.state_text import state_text
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.core.times import TIME_FORMS, parse_time
from tidemill.kpis.sdk import Kpis
from tidemill.kpis.types import Kpi, KpiPoint, KpiReport

app = typer.Typer(help="KPIs: scores and feedback by release over time.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The KPI's name.")]
SourceOption = Annotated[str | None, typer.Option(help="code, model or person.")]
EnvOption = Annotated[str | None, typer.Option("--env", help="Only this environment.")]


def describe(kpi: Kpi) -> str:
    """Return what a KPI calls a drop, in one line."""
    limits = []
    if kpi.floor is not None:
        limits.append(f"below {kpi.floor:g}")
    if kpi.drop is not None:
        limits.append(f"{kpi.drop:g} less than in the {format_duration(kpi.reference_s)} before")
    return f"{kpi.score} over {format_duration(kpi.window_s)}" + (
        f"; a drop is {' or '.join(limits)}" if limits else ""
    )


@app.command("set")
def set_(
    ctx: typer.Context,
    name: NameArgument,
    score: Annotated[str, typer.Option(help="Name of a score or of feedback.")],
    floor: Annotated[float | None, typer.Option(help="A mean below this is a drop.")] = None,
    drop: Annotated[float | None, typer.Option(help="A fall by this much is a drop.")] = None,
    window: Annotated[str, typer.Option(help="Length of the window.")] = "1d",
    reference: Annotated[str, typer.Option(help="Length of the period before the window, for --drop.")] = "7d",
    source: SourceOption = None,
    env: EnvOption = None,
    min_scores: Annotated[int, typer.Option(min=2, help="With fewer it stays inconclusive.")] = 20,
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Make or change a KPI."""
    spec: dict[str, Any] = {
        "score": score,
        "source": source,
        "target": {"environment": env},
        "window_s": parse_duration(window),
        "floor": floor,
        "drop": drop,
        "reference_s": parse_duration(reference),
        "min_scores": min_scores,
        "note": note,
    }
    term = terminal(ctx)
    saved = Kpis(term.http).put(name, **spec)
    if term.as_json:
        term.show(saved)
    else:
        term.print(f"{saved.name}: {describe(saved)}")


@app.command("list")
def list_(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """Every KPI."""
    term = terminal(ctx)
    columns: list[Column] = [("name", "name"), ("definition", describe), ("by", "saved_by"), ("at", "saved_at")]
    empty = "No KPIs yet. Make one: tidemill kpi set thumbs --score feedback --floor 0.8"
    term.table(Kpis(term.http).list(cursor=cursor, limit=limit), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, name: NameArgument) -> None:
    """The value of a KPI now, and whether it dropped."""
    term = terminal(ctx)
    show_report(term, Kpis(term.http).report(name))


@app.command()
def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Delete a KPI; its alert is resolved."""
    term = terminal(ctx)
    Kpis(term.http).remove(name)
    term.print(f"{name} is removed.")


@app.command()
def series(
    ctx: typer.Context,
    score: Annotated[str, typer.Argument(help="Name of a score or of feedback.")],
    since: Annotated[str, typer.Option(help=f"From then on: {TIME_FORMS}.")] = "30d",
    step: Annotated[str, typer.Option(help="Length of a step.")] = "1d",
    source: SourceOption = None,
    env: EnvOption = None,
) -> None:
    """A score by release over time, with 95% intervals."""
    term = terminal(ctx)
    start = parse_time(since)
    kpi_series = Kpis(term.http).series(score, source=source, environment=env, since=start, step_s=parse_duration(step))
    if term.as_json:
        term.show(kpi_series)
        return
    names = term.http.release_names(point.release_id for point in kpi_series.points)
    columns: list[Column] = [
        ("from", "start"),
        ("release", lambda point: names.get(point.release_id, point.release_id)),
        ("mean", "mean"),
        ("95%", bounds),
        ("scores", "scores"),
        ("users", "units"),
    ]
    term.table(kpi_series.points, columns, empty=f"No scores called {score} in this time.")
    releases = sorted({p.release_id or "-" for p in kpi_series.points})
    for release in releases:
        line = sparkline([p.mean for p in kpi_series.points if (p.release_id or "-") == release])
        term.print(Text.assemble((f"{names.get(release, release)}  ", "bold"), (line, "cyan")))


def bounds(point: KpiPoint) -> str | None:
    """Return an interval as one cell; None when it is not known."""
    return None if point.low is None or point.high is None else f"{point.low:.3g} to {point.high:.3g}"


def show_report(term: Terminal, report: KpiReport) -> None:
    """Print the value of a KPI and whether it dropped."""
    rows: list[Column] = [
        ("KPI", lambda r: f"{r.kpi.name}: {describe(r.kpi)}"),
        ("verdict", lambda r: state_text(r.verdict)),
        ("why", "why"),
        ("mean", lambda r: r.now.mean),
        ("95%", lambda r: bounds(r.now)),
        ("scores", lambda r: f"{r.now.scores} from {r.now.units} users, sessions or traces"),
        ("before", lambda r: r.reference.mean if r.reference is not None else None),
        ("scores needed", lambda r: f"about {r.needed:,} more" if r.needed is not None else None),
    ]
    term.show(report, rows)


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None]) -> str:
    """Return a line of small bars; a gap where there is no value."""
    present = [v for v in values if v is not None]
    if not present:
        return ""
    low, high = min(present), max(present)
    scale = (high - low) or 1.0
    return "".join(" " if v is None else _BARS[round((len(_BARS) - 1) * (v - low) / scale)] for v in values)
