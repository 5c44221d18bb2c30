"""The commands of `tidemill runs`."""

from typing import Annotated

import typer
from rich.text import Text

from tidemill.core.terminal import Column, CursorOption, LimitOption, duration, terminal
from tidemill.pipelines.cli import follow_run, run_view
from tidemill.pipelines.sdk import Runs
from tidemill.pipelines.types import Run

app = typer.Typer(help="Pipeline runs: progress, retry, skip, cancel.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(help="plr_..., name#3, or name for its newest run.")]


def _duration_text(run: Run) -> str | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return duration((run.finished_at - run.started_at).total_seconds())


_COLUMNS: list[Column] = [
    ("run", "ref"),
    ("state", "state"),
    ("release", "release"),
    ("verdict", "verdict"),
    ("started by", lambda r: ", ".join(c.by for c in r.causes)),
    ("started", "started_at"),
    ("took", _duration_text),
    ("summary", "summary"),
]


@app.command("list")
def list_(
    ctx: typer.Context,
    pipeline: Annotated[str | None, typer.Option("--pipeline", "-p", help="Only runs of this one.")] = None,
    state: Annotated[str | None, typer.Option(help="Such as running, waiting, succeeded, refused, failed.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 20,
) -> None:
    """List pipeline runs, newest first."""
    term = terminal(ctx)
    page = Runs(term.http).list(pipeline=pipeline, state=state, cursor=cursor, limit=limit)
    empty = (
        "No run fits." if pipeline or state else "No runs yet. Write tidemill.yaml, then: tidemill apply, tidemill run"
    )
    term.table(page, _COLUMNS, empty=empty)


@app.command()
def show(
    ctx: typer.Context,
    run: RunArgument,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Until it has ended or waits for a person.")] = False,
) -> None:
    """One run with its steps."""
    term = terminal(ctx)
    if watch:
        follow_run(term, Runs(term.http).get(run).id, through=False)
        return
    detail = Runs(term.http).get(run)
    if term.as_json:
        term.show(detail)
    else:
        term.out.print(run_view(detail))


@app.command()
def retry(
    ctx: typer.Context,
    run: RunArgument,
    step: Annotated[str | None, typer.Option(help="Do this step and all after it again.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it until it has ended.")] = False,
) -> None:
    """Let a run that did not succeed go on from its failed step."""
    term = terminal(ctx)
    detail = Runs(term.http).retry(run, step=step)
    if watch:
        follow_run(term, detail.id, through=False)
    elif term.as_json:
        term.show(detail)
    else:
        term.print(Text(f"{detail.ref} goes on.", style="green"))


@app.command()
def skip(
    ctx: typer.Context,
    run: RunArgument,
    step: Annotated[str, typer.Argument(help="Such as parity or judge/quality.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
) -> None:
    """Leave a step out. A failed run then goes on with `tidemill runs retry`."""
    term = terminal(ctx)
    detail = Runs(term.http).skip(run, step, reason=reason)
    if term.as_json:
        term.show(detail)
        return
    term.out.print(run_view(detail))
    if detail.ended:
        term.print(Text(f"Go on: tidemill runs retry {detail.ref}", style="dim"))


@app.command()
def cancel(ctx: typer.Context, run: RunArgument) -> None:
    """End a run, the job it waits for, and the rollout it has begun."""
    term = terminal(ctx)
    detail = Runs(term.http).cancel(run)
    if term.as_json:
        term.show(detail)
    else:
        rollout_step = next((s for s in detail.steps if not s.done and s.outputs.get("rollout_id")), None)
        too = (
            f", and {rollout_step.name} is aborted: the old release answers everybody again"
            if rollout_step is not None
            else ""
        )
        if detail.ended:
            term.print(Text(f"{detail.ref}: {detail.summary}", style="yellow"))
        else:
            term.print(Text(f"{detail.ref} ends{too}. See how: tidemill runs show {detail.ref}", style="yellow"))
