"""`tidemill plan`, `apply`, `run`, `schema` and `tidemill pipelines`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, duration, terminal, waiting_for
from tidemill.pipelines import parse
from tidemill.pipelines.sdk import Pipelines, Runs
from tidemill.pipelines.types import Change, PipelineFileMissing, PipelineSpec, Plan, RunDetail, RunStep

app = typer.Typer(help="Pipeline documents: what was applied, and when.", no_args_is_help=True)

FileOption = Annotated[Path, typer.Option("--file", "-f", help="The document.")]

_MARKS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}

_STATES = {
    "pending": "dim",
    "running": "cyan",
    "waiting": "magenta",
    "succeeded": "green",
    "cached": "dim green",
    "unchanged": "dim green",
    "skipped": "yellow",
    "failed": "red",
    "cancelled": "yellow",
    "queued": "dim",
    "refused": "red",
    "rejected": "red",
    "rolled_back": "red",
}


@app.command("list")
def list_(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """Every pipeline as it was applied last."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("name", "name"),
        ("version", "number"),
        ("by", "applied_by"),
        ("at", "applied_at"),
        ("description", lambda p: p.spec.description),
    ]
    empty = "No pipelines yet. Write tidemill.yaml, then: tidemill apply"
    term.table(Pipelines(term.http).list(cursor=cursor, limit=limit), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, pipeline: Annotated[str, typer.Argument(help="name, or name@2.")]) -> None:
    """Show one pipeline with its document."""
    term = terminal(ctx)
    term.show(Pipelines(term.http).get(pipeline))


@app.command()
def remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The pipeline's name.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="End a run that is on its way, too.")] = False,
) -> None:
    """Start no run of it any more and watch nothing for it. Its documents and runs stay readable."""
    term = terminal(ctx)
    done = Pipelines(term.http).remove(name, cancel=cancel)
    if term.as_json:
        term.show(done)
        return
    for path in done.retired:
        term.print(Text(f"- {path}: watched no longer", style="red"))
    if done.cancelled is not None:
        term.print(Text(f"{done.cancelled} ends: tidemill runs show {done.cancelled}", style="yellow"))
    for trigger in done.named_by:
        text = f"The trigger {trigger}, made elsewhere, names it still: tidemill triggers remove {trigger}"
        term.print(Text(text, style="yellow"))
    term.print(Text(f"{name} is removed. Its runs: tidemill runs list -p {name}", style="green"))


def plan(ctx: typer.Context, file: FileOption = Path(parse.FILE)) -> None:
    """Show what `apply` would change and what the next run would do. Changes nothing."""
    term = terminal(ctx)
    forecast = Pipelines(term.http).plan(file)
    if term.as_json:
        term.show(forecast)
        return
    _print_changes(
        term, forecast.changes, f"{forecast.name} is applied as it stands in {file}; apply would change nothing."
    )
    _print_forecast(term, forecast)
    for warning in forecast.warnings:
        term.print(Text(warning, style="yellow"))


def apply(ctx: typer.Context, file: FileOption = Path(parse.FILE)) -> None:
    """Apply a document: upload the files it names, and let runs follow it from now on."""
    term = terminal(ctx)
    done = Pipelines(term.http).apply(file)
    if term.as_json:
        term.show(done)
        return
    _print_changes(term, done.changes, f"{done.pipeline.ref} was applied already; nothing has changed.")
    for later in done.later:
        term.print(Text(f"after the first run: {later}", style="dim"))
    if done.changes:
        term.print(Text(f"Applied as {done.pipeline.ref}. Start a run: tidemill run", style="green"))


def schema(ctx: typer.Context) -> None:
    """Print the JSON schema of tidemill.yaml, for editors."""
    sys.stdout.write(json.dumps(PipelineSpec.model_json_schema(), indent=2, ensure_ascii=False) + "\n")


def run(
    ctx: typer.Context,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", help="Default: that of ./tidemill.yaml, or the only one."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it until it ends or waits for a person.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Like --watch, and wait for people too.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every step, whatever was done before.")] = False,
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Start a run of a pipeline.

    With --watch the exit code is 0 when the run succeeded or waits for a person, 2 when a gate was inconclusive,
    else 1.
    """
    term = terminal(ctx)
    http = term.working_http if watch or wait else term.http
    started = Runs(http).start(_name(term, pipeline), note=note, fresh=fresh)
    if not (watch or wait):
        if term.as_json:
            term.show(started)
            return
        joined = started.causes[-1].joined
        term.print(Text(f"{started.ref} " + ("is on its way already." if joined else "has started."), style="green"))
        term.print(Text(f"Watch it: tidemill runs show {started.ref} --watch", style="dim"))
        return
    follow_run(term, started.id, through=wait)


def _name(term: Terminal, name: str | None) -> str:
    if name is not None:
        return name
    if Path(parse.FILE).exists():
        return parse.read(Path(parse.FILE))[0].name
    pipelines = Pipelines(term.http).list(limit=2).items
    if len(pipelines) == 1:
        return pipelines[0].name
    if not pipelines:
        raise PipelineFileMissing(
            f"There is no file {parse.FILE}, and no pipeline was applied.",
            hint="Write it (examples/tidemill.yaml shows a whole one), then: tidemill apply",
        )
    raise typer.BadParameter("say which with --pipeline: `tidemill pipelines list` shows all", param_hint="--pipeline")


def follow_run(term: Terminal, ref: str, *, through: bool) -> None:
    """Show a run until it has ended (or waits for a person, unless `through`); exits as it ended."""
    runs, pause = Runs(term.working_http), not through
    with waiting_for(term, f"The run {ref}", f"runs show {ref} --watch", f"runs cancel {ref}"):
        if term.as_json or not term.err.is_terminal:
            done = runs.wait(ref, check=False, until_waiting=pause, watch=None if term.as_json else _Lines(term).watch)
        else:
            with Live(console=term.err, transient=True, refresh_per_second=4) as live:
                done = runs.wait(ref, check=False, until_waiting=pause, watch=lambda r: live.update(run_view(r)))
    if term.as_json:
        term.show(done)
    else:
        term.out.print(run_view(done))
    if done.ended and done.exit_code:
        raise typer.Exit(done.exit_code)


class _Lines:
    """A run as plain lines for a log: one when a step changes its state."""

    def __init__(self, term: Terminal) -> None:
        self.term, self.states = term, dict[str, str]()

    def watch(self, run: RunDetail) -> None:
        """Say what has changed."""
        for step in run.steps:
            if step.state != "pending" and self.states.get(step.name) != step.state:
                self.states[step.name] = step.state
                self.term.err.print(f"{run.ref} {step.name}: {step.state} {step_detail(step)}".rstrip(), markup=False)


def step_detail(step: RunStep) -> str:
    """What a step did, does or could not do, in a few words."""
    if step.error is not None:
        return step.error.message
    if step.state == "skipped":
        return f"{step.skipped_by}: {step.note}"
    note = step.note or step.progress or ""
    return f"{note} (from {step.cached_from})" if step.cached_from else note


def run_view(run: RunDetail) -> Group:
    """A run as a table of its steps."""
    table = Table("step", "state", "took", "what", box=None, pad_edge=False, header_style="bold")
    for step in run.steps:
        took = None
        if step.started_at is not None and step.finished_at is not None and step.state not in ("cached", "skipped"):
            took = duration((step.finished_at - step.started_at).total_seconds())
        table.add_row(Text(step.name), Text(step.state, style=_STATES[step.state]), took or "", Text(step_detail(step)))
    head = Text.assemble((run.ref, "bold"), "  ", (run.state, _STATES[run.state]), "  ", run.release or "")
    if run.causes:
        first, more = run.causes[0], len(run.causes) - 1
        why = f"  started by {first.by}" + (f": {'; '.join(first.reasons)}" if first.reasons else "")
        head.append(why + (f"; {more} more joined" if more else ""), style="dim")
    parts: list[Text | Table] = [head, table]
    if run.summary:
        parts.append(Text(run.summary, style=_STATES[run.state]))
    if run.error is not None and run.error.hint:
        parts.append(Text(f"  {run.error.hint}", style="yellow"))
    return Group(*parts)


def _print_changes(term: Terminal, changes: list[Change], nothing: str) -> None:
    if not changes:
        term.print(Text(nothing, style="dim"))
        return
    for change in changes:
        mark, style = _MARKS[change.action]
        for line in _lines(change):
            # In one piece, so that a hash can be copied: the terminal breaks what is too long.
            term.out.print(Text(f"{mark} {line}", style=style), soft_wrap=True)
    counts = [sum(c.action == action for c in changes) for action in _MARKS]
    term.print(Text("{} to add, {} to change, {} to remove.".format(*counts), style="bold"))


def _lines(change: Change) -> list[str]:
    if change.action == "change":
        return [f"{change.path}: {_short(change.before)} -> {_short(change.after)}"]
    value = change.after if change.action == "add" else change.before
    if not isinstance(value, dict | list) or not value:
        return [f"{change.path}: {_short(value)}"]
    block = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)
    return [f"{change.path}:", *(f"  {line}" for line in block.splitlines())]


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 160 else text[:157] + "..."


def _print_forecast(term: Terminal, forecast: Plan) -> None:
    colours = {"run": "cyan", "cached": "dim", "ask": "magenta"}
    words = {"run": "do", "cached": "keep", "ask": "look"}
    table = Table("step", "next run", "why", box=None, pad_edge=False, header_style="bold")
    for step in forecast.steps:
        table.add_row(Text(step.name), Text(words[step.action], style=colours[step.action]), Text(step.why))
    term.print("", table)
