"""`tidemill tune`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.errors import BadRequest
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, duration, size, terminal
from tidemill.jobs.cli import follow
from tidemill.tuning import spec_file
from tidemill.tuning.recipes import RECIPES
from tidemill.tuning.sdk import Tuning
from tidemill.tuning.types import (
    FewRows,
    Hop,
    InvalidTuningSpec,
    ParityReport,
    RunState,
    StepRecord,
    TuneSubmit,
    TuningRun,
)

app = typer.Typer(
    help="Fine-tune a model, make smaller files of it, and prove that they answer alike.", no_args_is_help=True
)

RunArgument = Annotated[str, typer.Argument(help="The run's id, tr_...")]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")]

_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}

_RUN_COLUMNS: list[Column] = [
    ("id", "id"),
    ("name", "name"),
    ("state", "state"),
    ("step", lambda r: _step(r)),
    ("loss", lambda r: r.last_step.loss if r.last_step else None),
    ("exact match", lambda r: r.summary.exact_match if r.summary else None),
    ("parity", lambda r: _parity(r)),
    ("created", "created_at"),
    ("by", "created_by"),
]

_HOP_COLUMNS: list[Column] = [
    ("hop", "name"),
    ("verdict", lambda h: Text(h.verdict, style=_STYLES[h.verdict])),
    ("prompts equal", lambda h: None if h.prompts_equal is None else f"{h.prompts_equal}/{h.n}"),
    ("same answers", lambda h: f"{h.same_share:.1%} [{h.same_low:.1%}, {h.same_high:.1%}]"),
    ("quality", lambda h: None if h.quality is None else f"{h.quality:.3f}"),
    ("delta (bounds)", lambda h: _delta(h)),
    ("why", "reason"),
]


def _step(run: TuningRun) -> str | None:
    return f"{run.last_step.step}/{run.total_steps or '?'}" if run.last_step else None


def _parity(run: TuningRun) -> str | None:
    if run.parity is None:
        return None
    if not run.parity.passed:
        return f"broken at {run.parity.broken}"
    return f"accepted: {', '.join(run.parity.accepted)} inconclusive" if run.parity.accepted else "pass"


def _delta(hop: Hop) -> str | None:
    if hop.delta is None or hop.delta_low is None:
        return None
    high = f" to {hop.delta_high:+.3f}" if hop.delta_high is not None else ""
    return f"{hop.delta:+.3f} ({hop.delta_low:+.3f}{high})"


@app.command()
def run(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="Base model version, such as smollm2.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset version, such as trec@1.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the tuned model.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt version that stands before every row.")] = None,
    answer_template: Annotated[str | None, typer.Option(help='Such as {"type": "{{label}}"}.')] = None,
    method: Annotated[str | None, typer.Option(help="lora or full.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Start from a measured recipe, such as question-types.")] = None,
    spec: Annotated[Path | None, typer.Option(help="A YAML file; keys of Axolotl, LLaMA-Factory, TRL work.")] = None,
    then: Annotated[list[str] | None, typer.Option(help="A file to make, such as gguf:q8_0.")] = None,
    keep_f16: Annotated[bool, typer.Option("--keep-f16", help="Keep the F16 file after the proof.")] = False,
    option: Annotated[list[str] | None, typer.Option("--set", help="Any key, such as learning_rate=1e-3.")] = None,
    key: Annotated[str | None, typer.Option(help="The same key gives the same run.")] = None,
    wait: WaitOption = True,
) -> None:
    """Tune a model on a dataset version."""
    term = terminal(ctx)
    keys = _recipe(recipe) | (spec_file.mapping(_read(spec)) if spec is not None else {})
    flags = {
        "model": model,
        "dataset": dataset,
        "name": name,
        "prompt": prompt,
        "answer_template": answer_template,
        "method": method,
        "then": then,
        "keep_f16": keep_f16,
        "key": key,
    }
    keys |= {k: v for k, v in flags.items() if v}
    keys = _with(keys, option or [])
    for needed in ("model", "dataset"):
        if not spec_file.has(keys, needed):
            raise InvalidTuningSpec(
                f"No {needed} was given.", hint=f"Add --{needed}, or --spec file.yaml.", param=needed
            )
    body: TuneSubmit = spec_file.build(keys)
    http = term.working_http if wait else term.http
    submitted = Tuning(http).run(body)
    term.print(f"{submitted.id} tunes {submitted.name} (job {submitted.job_id})")
    if wait:
        _follow(term, submitted)
    _print(term, Tuning(http).get(submitted.id))


def _recipe(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    if name not in RECIPES:
        raise InvalidTuningSpec(f"There is no recipe {name!r}.", hint=f"Known: {', '.join(RECIPES)}.", param="recipe")
    keys = RECIPES[name].model_dump(include={"answer_template", "lora", "training", "then", "proof"})
    return {k: v for k, v in keys.items() if v is not None}


def _with(keys: dict[str, Any], options: list[str]) -> dict[str, Any]:
    for text in options:
        key, sign, value = text.partition("=")
        if not sign:
            raise BadRequest(f"--set {text!r} has no `=`.", hint="Write --set learning_rate=1e-3.")
        keys = keys | spec_file.mapping(f"{key}: {value}")
    return keys


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} cannot be read: {error}.", hint="Check the path.") from error


def _follow(term: Terminal, run: TuningRun) -> None:
    follow(term, run.job_id, label=run.name)


def _print(term: Terminal, run: TuningRun) -> None:
    rows: list[Column] = [
        ("run", "id"),
        ("name", "name"),
        ("state", "state"),
        ("base, data, prompt", lambda r: (r.spec.model, r.spec.dataset, r.spec.prompt or "-")),
        ("memory estimate", lambda r: _estimate(r)),
        ("step", _step),
        ("training", lambda r: _summary(r)),
        ("outputs", lambda r: [f"{o.kind}: {o.ref}{' (servable)' if o.servable else ''}" for o in r.outputs]),
        ("error", lambda r: r.error["message"] if r.error else None),
    ]
    term.show(run, rows)
    if run.parity is not None and not term.as_json:
        _print_parity(term, run.parity, f"Parity: {_parity(run)}")


def _print_parity(term: Terminal, report: ParityReport, title: str) -> None:
    term.table(report.hops, _HOP_COLUMNS, empty="", title=title)
    for message in dict.fromkeys(f"{h.name}: {w.message}" for h in report.hops for w in h.warnings):
        term.print(Text(f"Warning: {message}", style="yellow"))


def _estimate(run: TuningRun) -> str | None:
    if run.estimate is None:
        return None
    bound = run.estimate.micro_batch_tokens
    in_parts = f", {bound} tokens in a pass" if bound else ""
    return f"{size(run.estimate.bytes)} of {size(run.estimate.available)} free{in_parts}"


def _summary(run: TuningRun) -> str | None:
    s = run.summary
    if s is None:
        return None
    return (
        f"{s.steps} steps in {duration(s.seconds)} ({s.tokens_per_s:.0f} tokens/s, {s.precision}, peak "
        f"{size(s.peak_memory)}); best at {s.best_step}: loss {s.eval_loss:.4f}, exact match {s.exact_match:.1%}"
    )


@app.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Tuning runs, newest first."""
    term = terminal(ctx)
    run_state: RunState | None = state  # type: ignore[assignment]  # the server says which there are
    page = Tuning(term.http).list(state=run_state, cursor=cursor, limit=limit)
    empty = "No runs yet. Start one: tidemill tune run --model smollm2 --dataset trec@1"
    term.table(page, _RUN_COLUMNS, empty=f"No run is {state}." if state else empty)


@app.command()
def show(ctx: typer.Context, run_id: RunArgument) -> None:
    """Show a run: its state, its outputs and the parity proof."""
    term = terminal(ctx)
    _print(term, Tuning(term.http).get(run_id))


@app.command()
def steps(
    ctx: typer.Context,
    run_id: RunArgument,
    after: Annotated[int, typer.Option(min=0, help="Only steps after this one.")] = 0,
) -> None:
    """Show the step log of a run: loss, speed and evaluations."""
    term = terminal(ctx)
    names = ("step", "loss", "learning_rate", "grad_norm", "tokens_per_s", "eval_loss", "exact_match")
    columns: list[Column] = [(name.replace("_", " "), name) for name in names]
    term.table(list(_list_steps(Tuning(term.http), run_id, after)), columns, empty="No step yet.")


def _list_steps(tuning: Tuning, run_id: str, after: int) -> Iterator[StepRecord]:
    """Yield the records of every step after `after`."""
    while (page := tuning.steps(run_id, after=after, limit=5000)).items:
        yield from page.items
        after = page.items[-1].step


@app.command()
def watch(ctx: typer.Context, run_id: RunArgument) -> None:
    """Follow a run: loss, tokens per second, time left."""
    term = terminal(ctx)
    tuning_run = Tuning(term.working_http).get(run_id)
    if tuning_run.state in ("queued", "running"):
        _follow(term, tuning_run)
    _print(term, Tuning(term.http).get(run_id))


@app.command()
def cancel(ctx: typer.Context, run_id: RunArgument) -> None:
    """End a run; its checkpoints stay."""
    term = terminal(ctx)
    _print(term, Tuning(term.http).cancel(run_id))


@app.command()
def resume(ctx: typer.Context, run_id: RunArgument, wait: WaitOption = True) -> None:
    """Let a failed or cancelled run go on from its newest checkpoint."""
    term = terminal(ctx)
    http = term.working_http if wait else term.http
    tuning_run = Tuning(http).resume(run_id)
    if wait:
        _follow(term, tuning_run)
    _print(term, Tuning(http).get(run_id))


@app.command()
def compress(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(help="An adapter, tuned or merged version.")],
    to: Annotated[list[str], typer.Option(help="gguf:f16, gguf:q8_0, gguf:q4_k_m, gguf:q4_0.")],
    few_rows: Annotated[
        str | None, typer.Option(help="Too few rows to tell: equal (all answers must be), refuse or accept.")
    ] = None,
    wait: WaitOption = True,
) -> None:
    """Make smaller files of a tuned version, each with its parity proof."""
    term = terminal(ctx)
    http = term.working_http if wait else term.http
    choice: FewRows | None = few_rows  # type: ignore[assignment]  # refused by the model if it is none of them
    job = Tuning(http).compress(version, to, few_rows=choice)
    if wait:
        follow(term, job.id, label=version)
        _print(term, Tuning(http).get(str(job.subject)))
    else:
        term.show(job)


@app.command()
def parity(ctx: typer.Context, run_id: RunArgument) -> None:
    """The parity proof of a run, hop by hop; exit 1 when a hop is broken."""
    term = terminal(ctx)
    tuning_run = Tuning(term.http).get(run_id)
    if tuning_run.parity is None:
        term.print(f"{run_id} has no proof yet. Make one: tidemill tune compress {tuning_run.name} --to gguf:q8_0")
        raise typer.Exit(1)
    if term.as_json:
        term.show(tuning_run.parity)
    else:
        _print_parity(term, tuning_run.parity, f"Parity of {tuning_run.name}: {_parity(tuning_run)}")
    if not tuning_run.parity.passed:
        raise typer.Exit(1)


@app.command()
def recipes(ctx: typer.Context) -> None:
    """Recipes that were measured."""
    term = terminal(ctx)
    columns: list[Column] = [("name", "name"), ("purpose", "purpose"), ("measured", "measured")]
    term.table(list(RECIPES.values()), columns, empty="")
