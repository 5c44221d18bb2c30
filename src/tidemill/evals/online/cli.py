"""`tidemill evals online`."""

from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.terminal import Column, terminal
from tidemill.core.wire import utc_now
from tidemill.evals.online.sdk import Online
from tidemill.evals.scorer_args import scorer_spec
from tidemill.evals.types import OnlineEvaluator

app = typer.Typer(help="Scorers on a share of live traffic.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The evaluator's name.")]


def _budget(evaluator: OnlineEvaluator) -> str:
    judged = f"{evaluator.judged_today:,} of {evaluator.spec.per_day:,}"
    limit = evaluator.spec.usd_per_day
    if limit is None:
        return f"{judged}, ${evaluator.spent_today:.2f}" if evaluator.spent_today else judged
    return f"{judged}, ${evaluator.spent_today:.2f} of ${limit:.2f}"


def _state(evaluator: OnlineEvaluator) -> Text:
    if evaluator.state == "active" and evaluator.resumes_at is not None and evaluator.resumes_at > utc_now():
        return Text(f"spent; goes on {evaluator.resumes_at:%Y-%m-%d %H:%M} UTC", style="yellow")
    return Text(evaluator.state, style="green" if evaluator.state == "active" else "yellow")


_COLUMNS: list[Column] = [
    ("name", "name"),
    ("state", _state),
    ("scorer", lambda e: e.spec.scorer.scorer),
    ("share", lambda e: f"{e.spec.share:.0%}"),
    ("calls", lambda e: e.counts.seen),
    ("sampled", lambda e: e.counts.sampled),
    ("scored", lambda e: e.counts.scored),
    ("over budget", lambda e: e.counts.over_budget),
    ("failed", lambda e: e.counts.failed),
    ("today", _budget),
    ("last scored", "scored_at"),
]
_WHOLE: list[Column] = [
    *_COLUMNS,
    ("unanswered", lambda e: e.counts.unanswered),
    ("expected", lambda e: e.spec.expected),
    ("waiting corrections", "waiting"),
    ("release", "release"),
    ("filter", lambda e: e.spec.filter.model_dump(mode="json", exclude_defaults=True, exclude={"release_id"})),
    ("settings", lambda e: e.spec.scorer.config),
    ("last error", "last_error"),
    ("made", "created_at"),
    ("by", "created_by"),
    ("id", "id"),
]


@app.command()
def create(
    ctx: typer.Context,
    name: NameArgument,
    scorer: Annotated[
        str, typer.Option(help="A name, or name:{JSON settings}, or metric=name:{...}, as for `evals run`.")
    ],
    share: Annotated[float, typer.Option(help="Share of the traces, above 0, at most 1.")] = 0.1,
    release: Annotated[str | None, typer.Option(help="Only answers of this release: name@3 or an id.")] = None,
    environment: Annotated[str | None, typer.Option("--env", help="Only answers of this environment.")] = None,
    model: Annotated[str | None, typer.Option(help="Only answers of this model.")] = None,
    per_day: Annotated[int, typer.Option(help="Judgements a day (UTC) at most; more are passed over.")] = 1000,
    usd_per_day: Annotated[
        float | None, typer.Option(help="USD a day (UTC) that judging may cost; then it waits for the next day.")
    ] = None,
    expected: Annotated[
        str, typer.Option(help="nothing, or correction: score calls once somebody has corrected them.")
    ] = "nothing",
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest call that is kept.")] = False,
    note: Annotated[str, typer.Option(help="What for.")] = "",
) -> None:
    """Score a share of live traffic from now on."""
    term = terminal(ctx)
    conditions = {"release_id": release, "environment": environment, "model": model}
    span_filter = {key: value for key, value in conditions.items() if value is not None}
    options: dict[str, Any] = {"share": share, "filter": span_filter, "per_day": per_day, "note": note}
    options |= {"expected": expected, "from_start": from_start, "usd_per_day": usd_per_day}
    term.show(Online(term.http).create(name, scorer_spec(scorer), **options), _WHOLE)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Every online evaluator with its counts."""
    term = terminal(ctx)
    empty = 'No online evaluators yet. Make one: tidemill evals online create valid --scorer \'regex:{"pattern": "."}\''
    term.table(Online(term.http).list(), _COLUMNS, empty=empty)


@app.command()
def show(ctx: typer.Context, name: NameArgument) -> None:
    """Show all fields of an online evaluator."""
    term = terminal(ctx)
    term.show(Online(term.http).get(name), _WHOLE)


@app.command()
def pause(ctx: typer.Context, name: NameArgument) -> None:
    """Stop scoring; it can go on later where it stopped."""
    term = terminal(ctx)
    term.show(Online(term.http).change(name, state="paused"), _WHOLE)


@app.command()
def resume(ctx: typer.Context, name: NameArgument) -> None:
    """Go on where it stopped."""
    term = terminal(ctx)
    term.show(Online(term.http).change(name, state="active"), _WHOLE)


@app.command()
def change(
    ctx: typer.Context,
    name: NameArgument,
    share: Annotated[float | None, typer.Option(help="Share of the traces.")] = None,
    per_day: Annotated[int | None, typer.Option(help="Judgements a day at most.")] = None,
    usd_per_day: Annotated[float | None, typer.Option(help="USD a day; with more it goes on at once.")] = None,
    note: Annotated[str | None, typer.Option(help="What for.")] = None,
) -> None:
    """Change the share, the budget or the note."""
    term = terminal(ctx)
    options = {"share": share, "per_day": per_day, "usd_per_day": usd_per_day, "note": note}
    changes = {key: value for key, value in options.items() if value is not None}
    term.show(Online(term.http).change(name, **changes), _WHOLE)


@app.command()
def delete(ctx: typer.Context, name: NameArgument) -> None:
    """Remove an online evaluator; the scores it gave stay."""
    term = terminal(ctx)
    Online(term.http).delete(name)
    term.print(f"{name} is removed; its scores stay.")
