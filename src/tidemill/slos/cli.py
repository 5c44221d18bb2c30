"""`tidemill slo`."""

from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.durations import format_duration, parse_duration
from tidemill.core.errors import BadRequest
from tidemill.core.state_text import state_text
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.slos.sdk import Slos
from tidemill.slos.types import BurnRule, Slo, SloCounts, SloStatus

app = typer.Typer(help="Objectives on latency, errors and quality, with error budgets.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The objective's name.")]


def describe(slo: Slo) -> str:
    """Return what an SLO asks for, in one line."""
    condition = {
        "latency": f"calls within {slo.threshold_ms or 0:g} ms",
        "errors": "calls without error",
        "quality": f"{slo.score} at {slo.passing:g} or more",
    }[slo.kind]
    scope = ", ".join(f"{k} {v}" for k, v in slo.target.model_dump().items() if v is not None)
    return f"{share(slo.goal)} {condition} over {format_duration(slo.window_s)}" + (f" ({scope})" if scope else "")


@app.command("set")
def set_(
    ctx: typer.Context,
    name: NameArgument,
    goal: Annotated[float, typer.Option(help="Share of good ones, such as 0.99.")],
    latency: Annotated[float | None, typer.Option(help="Calls within so many milliseconds are good.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Calls without an error are good.")] = False,
    quality: Annotated[str | None, typer.Option(help="Scores of this name that pass are good.")] = None,
    passing: Annotated[float, typer.Option(help="With --quality: a score passes from this value on.")] = 0.5,
    source: Annotated[str | None, typer.Option(help="With --quality: code, model or person.")] = None,
    corrected: Annotated[
        bool, typer.Option("--corrected", help="With --quality --source model: correct by what people said.")
    ] = False,
    window: Annotated[str, typer.Option(help="1h to 30d.")] = "30d",
    env: Annotated[str | None, typer.Option("--env", help="Only this environment.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    min_events: Annotated[int, typer.Option(min=1, help="With fewer it stays inconclusive.")] = 20,
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Make or change an objective: one of --latency, --errors, --quality."""
    if sum((latency is not None, errors, quality is not None)) != 1:
        raise BadRequest("An objective is about one thing.", hint="Give --latency MS, --errors or --quality SCORE.")
    spec: dict[str, Any] = {
        "kind": "latency" if latency is not None else "errors" if errors else "quality",
        "goal": goal,
        "window_s": parse_duration(window),
        "threshold_ms": latency,
        "score": quality,
        "passing": passing,
        "source": source,
        "corrected": corrected,
        "target": {"environment": env, "model": model},
        "min_events": min_events,
        "note": note,
    }
    term = terminal(ctx)
    saved = Slos(term.http).put(name, **spec)
    if term.as_json:
        term.show(saved)
    else:
        term.print(f"{saved.name}: {describe(saved)}")


@app.command("list")
def list_(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """Every objective."""
    term = terminal(ctx)
    columns: list[Column] = [("name", "name"), ("objective", describe), ("by", "saved_by"), ("at", "saved_at")]
    empty = "No objectives yet. Make one: tidemill slo set answers-in-time --latency 2000 --goal 0.95"
    term.table(Slos(term.http).list(cursor=cursor, limit=limit), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, name: NameArgument) -> None:
    """Where an objective stands: share, error budget, burn rates."""
    term = terminal(ctx)
    show_status(term, Slos(term.http).status(name))


@app.command()
def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Delete an objective; its alerts are resolved."""
    term = terminal(ctx)
    Slos(term.http).remove(name)
    term.print(f"{name} is removed.")


def show_status(term: Terminal, status: SloStatus) -> None:
    """Print the status of an SLO with its burn rates."""
    if term.as_json:
        term.show(status)
        return
    rows: list[Column] = [
        ("objective", lambda s: f"{s.slo.name}: {describe(s.slo)}"),
        ("verdict", lambda s: state_text(s.verdict)),
        ("good", lambda s: f"{share(s.share)} of {s.counts.total:,}  (95%: {share(s.low)} to {share(s.high)})"),
        ("corrected by people", _corrected),
        ("budget left", lambda s: budget(s.budget_left)),
        ("answers needed", lambda s: f"about {s.needed:,} more" if s.needed is not None else None),
        ("alerts", "alerts"),
    ]
    term.show(status, rows)
    columns: list[Column] = [
        ("severity", lambda r: state_text(r.severity)),
        ("burns", lambda r: state_text(r.verdict)),
        ("factor", lambda r: f"{r.factor:.3g}x"),
        ("long", lambda r: _window(r.long_s, r.long_burn, r.long)),
        ("short", lambda r: _window(r.short_s, r.short_burn, r.short)),
        ("p", lambda r: None if r.p_value is None else f"{r.p_value:.2g}"),
        ("why", "why"),
    ]
    rules: list[BurnRule] = status.rules
    rectified = ""
    if status.rectifier is not None:
        rectified = f", {status.rectifier.shift:+.1%} bad by people's word (in brackets: what the model says)"
    term.table(rules, columns, empty="No rules.", title=f"\nBurn rates{rectified}")


def share(value: float | None, digits: int = 2) -> str:
    """Return a share in per cent."""
    return "-" if value is None else f"{100 * value:.{digits}f}%"


def budget(remaining: float | None, width: int = 12) -> Text:
    """Return what is left of an error budget, as a bar of `width` signs and in words."""
    if remaining is None:
        return Text("-", style="dim")
    full = round(width * max(0.0, min(1.0, remaining)))
    colour = "green" if remaining > 0.5 else "yellow" if remaining > 0.1 else "red"
    words = f" {remaining:.0%}" if remaining >= 0 else f" overspent by {-remaining:.0%}"
    return Text.assemble(("█" * full, colour), ("░" * (width - full), "dim"), words)


def _corrected(slo_status: SloStatus) -> str | None:
    corrected = slo_status.corrected
    if corrected is None:
        return (
            "too little: 20 or more of the scored answers need a person's score" if slo_status.slo.corrected else None
        )
    interval = f"{share(corrected.share)}  (95%: {share(corrected.low)} to {share(corrected.high)})"
    return f"{interval}, from {corrected.labelled} labels; the model passes {corrected.bias:+.1%}"


def _window(length: int, burn: float | None, counts: SloCounts) -> str:
    return f"{format_duration(length)}: {'-' if burn is None else f'{burn:.3g}x'} ({counts.bad}/{counts.total})"
