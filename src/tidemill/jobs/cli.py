"""`tidemill jobs`, and the progress display that every command shares which waits for a job."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from tidemill.core.parsing import parse_json
from tidemill.core.terminal import (
    Column,
    CursorOption,
    LimitOption,
    Terminal,
    as_lines,
    duration,
    say_it_goes_on,
    terminal,
)
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.types import Job, JobState

app = typer.Typer(help="Work in the background: progress, logs, cancel, retry.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(help="The job's id, job_...")]

_SECONDS_LEFT = ("seconds_left", "eta_s")
_COUNTED = ("rows", "failed", "answers", "texts")
"""Figures that stand before their unit: 3 failed."""

_STYLES = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "queued": "dim"}


def state_cell(job: Job) -> Text:
    """The state as a person reads it."""
    text: str = "cancelling" if job.cancel_requested and not job.ended else job.state
    if job.waiting_for is not None:
        text = f"waits for {job.waiting_for}"
    return Text(text, style=_STYLES[job.state])


def progress_cell(job: Job) -> str | None:
    """How far the job has come, in a few words."""
    if job.error is not None:
        return job.error.message
    return describe(job) if job.progress is not None else None


def describe(job: Job) -> str:
    """The newest message and figures of a job."""
    if job.state == "queued" and job.queued_behind:
        first, others = job.queued_behind[0], len(job.queued_behind) - 1
        return f"queued behind {first}" + (f" and {others} more" if others else "")
    if job.progress is None:
        return job.state
    share = ""
    if job.progress.done is not None:
        total = "" if job.progress.total is None else f"/{job.progress.total:,.15g}"
        share = f"{job.progress.done:,.15g}{total}" + (f" {job.progress.unit}" if job.progress.unit else "")
    figures = [_named_figure(name, value) for name, value in job.progress.figures.items() if value is not None]
    return "  ".join(part for part in (job.progress.message, share, *figures) if part)


def _named_figure(name: str, value: object) -> str:
    words = name.replace("_", " ")
    if name in _SECONDS_LEFT and isinstance(value, int | float):
        return f"{duration(value)} left"
    if name.endswith("_per_s"):
        return f"{_figure(value)} {words.removesuffix(' per s')}/s"
    if name in _COUNTED:
        return f"{_figure(value)} {words}"
    return f"{words} {_figure(value)}"


def _figure(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_COLUMNS: list[Column] = [
    ("id", "id"),
    ("kind", "kind"),
    ("state", state_cell),
    ("took", lambda job: duration_text(job)),
    ("progress", progress_cell),
]
"""On one line of 80 characters; the subject, an id as long as the job's own, is shown with the job."""


def duration_text(job: Job) -> str | None:
    """Return how long the job ran; None before it has ended."""
    if job.started_at is None or job.finished_at is None:
        return None
    return duration((job.finished_at - job.started_at).total_seconds())


@contextmanager
def progress_display(term: Terminal, label: str = "") -> Iterator[Callable[[Job], None]]:
    """Show the progress of a job: give the value to `Jobs.wait` as `watch`. Shows nothing with --json.

    Ctrl-C ends the command with 130 and says that the job goes on.
    """
    with interruptible(term) as remember, _progress_view(term, label) as watch:
        yield remember if watch is None else _both(remember, watch)


@contextmanager
def interruptible(term: Terminal) -> Iterator[Callable[[Job], None]]:
    """Say at Ctrl-C that the job goes on which was given to the function last, and exit with 130."""
    job_ids: list[str] = []
    try:
        yield lambda job: job_ids.__setitem__(slice(None), [job.id])
    except KeyboardInterrupt as error:
        if not job_ids:
            raise
        say_it_goes_on(term, f"The job {job_ids[0]}", f"jobs show {job_ids[0]}", f"jobs cancel {job_ids[0]}")
        raise SystemExit(130) from error


def _both(first: Callable[[Job], None], second: Callable[[Job], None]) -> Callable[[Job], None]:
    def watch(job: Job) -> None:
        first(job)
        second(job)

    return watch


@contextmanager
def _progress_view(term: Terminal, label: str) -> Iterator[Callable[[Job], None] | None]:
    if term.as_json:
        yield None
    elif not term.err.is_terminal:
        yield _Lines(term, label).watch
    else:
        columns = (
            TextColumn("{task.fields[label]}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        with Progress(*columns, console=term.err, transient=True) as display:

            def watch(job: Job) -> None:
                task = display.task_ids[0] if display.task_ids else display.add_task("", total=None, label=label)
                done = job.progress.done if job.progress is not None else None
                total = job.progress.total if job.progress is not None else None
                text = label or job.kind
                display.update(task, description=describe(job), completed=done or 0, total=total, label=text)

            yield watch


def follow(term: Terminal, job_id: str, *, label: str = "", timeout: float | None = None) -> Job:
    """Wait for a job and show its progress. Raises JobFailed, JobCancelledError, JobWaitTimeout."""
    with progress_display(term, label) as watch:
        return Jobs(term.working_http).wait(job_id, timeout=timeout, watch=watch)


class _Lines:
    """Progress as plain lines for a log, where a moving bar would only make a mess."""

    EVERY = 15.0

    def __init__(self, term: Terminal, label: str) -> None:
        self.term, self.label, self.next = term, label, 0.0

    def watch(self, job: Job) -> None:
        """Say how the job stands, now and then."""
        now = time.monotonic()
        if (job.progress is not None or job.queued_behind) and now >= self.next:
            self.next = now + self.EVERY
            self.term.err.print(f"    {self.label or job.kind}: {describe(job)}", style="dim", markup=False)


@app.command("list")
def list_(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as data.import.")] = None,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only jobs about this id.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """List jobs, newest first."""
    term = terminal(ctx)
    job_state: JobState | None = state  # type: ignore[assignment]  # the server says which there are
    page = Jobs(term.http).list(kind=kind, state=job_state, subject=subject, cursor=cursor, limit=limit)
    empty = "No jobs yet. Imports, tunings and evaluations are jobs; the first may be: tidemill data import FILE"
    empty = "No job fits." if kind or state or subject else empty
    term.table(page, _COLUMNS, empty=empty)


def _unpacked(args: dict[str, Any]) -> dict[str, Any]:
    """Return a job's arguments with those that are JSON in a text as what they say."""
    return {name: _parse_object(value) for name, value in args.items()}


def _parse_object(value: Any) -> Any:
    try:
        return parse_json(value) if isinstance(value, str) and value.startswith(("{", "[")) else value
    except ValueError:
        return value


_DETAIL: list[Column] = [
    ("id", "id"),
    ("kind", "kind"),
    ("state", state_cell),
    ("progress", lambda job: describe(job) if job.progress is not None or job.queued_behind else None),
    ("error", lambda job: job.error.message if job.error is not None else None),
    ("hint", lambda job: job.error.hint if job.error is not None else None),
    ("subject", "subject"),
    ("attempt", "attempt"),
    ("by", "actor_name"),
    ("submitted", "created_at"),
    ("started", "started_at"),
    ("ended", "finished_at"),
    ("took", lambda job: duration_text(job)),
    ("arguments", lambda job: as_lines(_unpacked(job.args))),
    ("result", lambda job: as_lines(job.result)),
]


@app.command()
def show(ctx: typer.Context, job: JobArgument) -> None:
    """Show all fields of one job."""
    term = terminal(ctx)
    term.show(Jobs(term.http).get(job), _DETAIL)


@app.command()
def logs(
    ctx: typer.Context,
    job: JobArgument,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    offset: Annotated[int, typer.Option(min=0, help="Only lines after this one.")] = 0,
) -> None:
    """Print the log of a job."""
    term = terminal(ctx)
    jobs = Jobs(term.working_http if follow_ else term.http)

    def print_new(from_line: int) -> int:
        while (piece := jobs.logs(job, offset=from_line)).lines:
            for line in piece.lines:
                stamp = line.at.astimezone().strftime("%H:%M:%S")
                data = "" if not line.data else "  " + "  ".join(f"{k} {_figure(v)}" for k, v in line.data.items())
                style = {"error": "red", "warning": "yellow"}.get(line.level, "")
                term.out.print(Text(f"{stamp} {line.message}{data}", style=style))
            from_line = piece.next_offset
        return from_line

    if term.as_json:
        term.show(jobs.logs(job, offset=offset, limit=5000))
        return
    offsets = [print_new(offset)]
    if follow_:
        jobs.wait(job, check=False, watch=lambda _: offsets.append(print_new(offsets[-1])))
        print_new(offsets[-1])


@app.command()
def cancel(ctx: typer.Context, job: JobArgument) -> None:
    """Ask for the end of a job."""
    term = terminal(ctx)
    term.show(Jobs(term.http).cancel(job), _DETAIL)


@app.command()
def retry(ctx: typer.Context, job: JobArgument) -> None:
    """Run a failed or cancelled job again, from the step that failed."""
    term = terminal(ctx)
    term.show(Jobs(term.http).retry(job), _DETAIL)


@app.command()
def wait(
    ctx: typer.Context,
    job: JobArgument,
    timeout: Annotated[float | None, typer.Option(help="Give up after so many seconds.")] = None,
) -> None:
    """Return when a job has ended; exit 1 unless it succeeded."""
    term = terminal(ctx)
    term.show(follow(term, job, timeout=timeout), _DETAIL)
