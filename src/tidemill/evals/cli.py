"""`tidemill evals`."""

from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from rich.text import Text

from tidemill.core.errors import BadRequest
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.core.times import TIME_FORMS, parse_time_option
from tidemill.core.value_faults import sentence_of
from tidemill.evals import tables
from tidemill.evals.online import cli as online
from tidemill.evals.scorer_args import scorer_spec
from tidemill.evals.sdk import Evals
from tidemill.evals.types import ComparisonSpec, EvalPlanRequest, EvalRun, EvalSetCreate, MetricRule, RunCreate
from tidemill.jobs.cli import follow

B = TypeVar("B", bound=BaseModel)

app = typer.Typer(help="Eval sets, runs, comparisons.", no_args_is_help=True)
sets_app = typer.Typer(help="Eval sets.", no_args_is_help=True)
runs_app = typer.Typer(help="Eval runs.", no_args_is_help=True)
app.add_typer(sets_app, name="sets")
app.add_typer(runs_app, name="runs")
app.add_typer(online.app, name="online")

SetArgument = Annotated[str, typer.Argument(metavar="SET", help="name, name@3 or an id.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, er_...")]
ScorerOption = Annotated[
    list[str],
    typer.Option("--scorer", help="A name, or name:{JSON settings}, or metric=name:{...}. May be repeated."),
]
AlphaOption = Annotated[float, typer.Option(help="How often it may pass wrongly.")]
PowerOption = Annotated[float, typer.Option(help="How often it should find the minimum effect.")]

_SET_COLUMNS: list[Column] = [
    ("set", "ref"),
    ("items", "items"),
    ("clusters", "clusters"),
    ("dataset", "dataset"),
    ("split", "split"),
    ("made", "created_at"),
    ("by", "created_by"),
]


def _validate(kind: type[B], values: dict[str, Any]) -> B:
    try:
        return kind.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise BadRequest(f"{sentence_of(error)}.", hint="`--help` says what each option takes.") from error


@sets_app.command("create")
def create_set(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the set.")],
    dataset: Annotated[str, typer.Argument(help="Dataset version: name, name@3 or an id.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Keep so many items.")] = None,
    input: Annotated[str | None, typer.Option(help="Column of the input.")] = None,
    expected: Annotated[str | None, typer.Option(help="Column of the expected answer.")] = None,
    cluster: Annotated[str, typer.Option(help="Column of the cluster key.")] = "cluster_id",
    system: Annotated[str | None, typer.Option(help="A system message before every item.")] = None,
) -> None:
    """Make an eval set of one split of a dataset version."""
    term = terminal(ctx)
    mapping = {"input": input, "expected": expected, "cluster": cluster, "system": system}
    values = {"name": name, "dataset": dataset, "split": split, "limit": limit, "mapping": mapping}
    body = _validate(EvalSetCreate, values)
    eval_set = Evals(term.http).create_set(
        body.name, body.dataset, split=body.split, limit=body.limit, **body.mapping.model_dump()
    )
    term.show(eval_set, [*_SET_COLUMNS, ("id", "id"), ("content", "content_hash")])


@sets_app.command("list")
def list_sets(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """Eval sets, newest first."""
    term = terminal(ctx)
    empty = "No eval sets yet. Make one: tidemill evals sets create my-test my-data"
    term.table(Evals(term.http).sets(cursor=cursor, limit=limit), _SET_COLUMNS, empty=empty)


def _short(item_id: str) -> str:
    """Return an item's id, which may be a hash, short enough for a table; a cut is marked."""
    return item_id if len(item_id) <= 16 else f"{item_id[:15]}…"


@sets_app.command("show")
def show_set(ctx: typer.Context, ref: SetArgument, limit: LimitOption = 5) -> None:
    """An eval set and its first items."""
    term = terminal(ctx)
    evals = Evals(term.http)
    term.show(evals.get_set(ref))
    if term.as_json:
        return
    columns: list[Column] = [
        ("item", lambda i: _short(i.id)),
        ("cluster", lambda i: _short(i.cluster_id)),
        ("input", lambda i: i.messages[-1].content[:120]),
        ("expected", lambda i: str(i.expected)[:60]),
    ]
    term.print("")
    term.table(evals.items(ref, limit=limit), columns, empty="No items.")


@app.command("run")
def run_(
    ctx: typer.Context,
    eval_set: SetArgument,
    scorer: ScorerOption,
    release: Annotated[str | None, typer.Option(help="A release: name, name@3, an id, or prod/name.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Or any OpenAI-compatible endpoint, up to /v1.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name at that endpoint.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="The server's variable that holds its key.")] = None,
    repeats: Annotated[int, typer.Option(help="Answers per item.")] = 1,
    concurrency: Annotated[int, typer.Option(help="Requests at once.")] = 4,
    temperature: Annotated[float | None, typer.Option(help="Default: the target's own.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Default: the target's own.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the target's own.")] = None,
    cache: Annotated[bool | None, typer.Option(help="Take answers of earlier runs.")] = None,
    answers_since: Annotated[
        str | None, typer.Option(help=f"Of earlier answers only those from then on: {TIME_FORMS}.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call this run.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it has ended.")] = True,
) -> None:
    """Ask a release or an endpoint every item of a set, and score the answers."""
    if (release is None) == (base_url is None):
        raise BadRequest("Who should answer?", hint="Give either --release, or --base-url and --model.")
    target: dict[str, Any] = {"release": release}
    if base_url is not None:
        if model is None:
            raise BadRequest("An endpoint needs the model's name.", hint="Add --model.")
        target = {"base_url": base_url, "model": model, "api_key_env": api_key_env}
    sampling = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    values = {
        "eval_set": eval_set,
        "target": target,
        "scorers": [scorer_spec(text) for text in scorer],
        "repeats": repeats,
        "concurrency": concurrency,
        "sampling": sampling,
        "cache": cache,
        "answers_since": parse_time_option(answers_since),
        "name": name,
    }
    _start(terminal(ctx), values, wait)


@app.command()
def baseline(
    ctx: typer.Context,
    eval_set: SetArgument,
    dataset: Annotated[str, typer.Argument(help="Labelled texts to train on: name, name@3 or an id.")],
    scorer: ScorerOption,
    split: Annotated[str, typer.Option(help="The split to train on.")] = "train",
    wait: Annotated[bool, typer.Option(help="Wait until it has ended.")] = True,
) -> None:
    """Train Naive Bayes on a split and score it on a set: what any model must beat."""
    values = {
        "eval_set": eval_set,
        "target": {"dataset": dataset, "split": split},
        "scorers": [scorer_spec(text) for text in scorer],
        "name": "naive bayes",
    }
    _start(terminal(ctx), values, wait)


def _start(term: Terminal, values: dict[str, Any], wait: bool) -> None:
    body = _validate(RunCreate, values)
    evals = Evals(term.working_http if wait else term.http)
    run = evals.run(body.eval_set, body.target.model_dump(), list(body.scorers), **_options(body))
    if wait and run.job_id is not None:
        follow(term, run.job_id, label=run.name or run.id)
        run = evals.get_run(run.id)
    _show_run(term, run)


def _options(body: RunCreate) -> dict[str, Any]:
    return body.model_dump(exclude={"eval_set", "target", "scorers"})


def _show_run(term: Terminal, run: EvalRun) -> None:
    if term.as_json:
        term.show(run)
        return
    term.print(*tables.run(run, term.table_width))


@app.command("list")
@runs_app.command("list")
def list_runs(
    ctx: typer.Context,
    eval_set: Annotated[str | None, typer.Option("--set", help="Only runs on this set.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Eval runs, newest first."""
    term = terminal(ctx)
    page = Evals(term.http).runs(eval_set=eval_set, cursor=cursor, limit=limit)
    columns: list[Column] = [
        ("id", "id"),
        ("set", "eval_set"),
        ("target", tables.target),
        ("state", tables.state),
        ("figures", tables.means),
        ("failed", lambda r: r.figures.failures if r.figures else None),
        ("started", "created_at"),
    ]
    empty = (
        "No runs yet. Make a set: tidemill evals sets create my-test my-data\n"
        "Then run it: tidemill evals run my-test --scorer exact --release name@1"
    )
    term.table(page, columns, empty=f"No run on {eval_set} yet." if eval_set else empty)


@runs_app.command("show")
def show_run(ctx: typer.Context, run: RunArgument) -> None:
    """One run with its figures."""
    term = terminal(ctx)
    _show_run(term, Evals(term.http).get_run(run))


@runs_app.command("items")
def show_items(
    ctx: typer.Context,
    run: RunArgument,
    failed: Annotated[bool | None, typer.Option("--failed/--answered", help="Only failures, or only answers.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 20,
) -> None:
    """Answers and failures of a run."""
    term = terminal(ctx)
    page = Evals(term.http).results(run, failed=failed, cursor=cursor, limit=limit)
    columns: list[Column] = [
        ("item", lambda r: _short(r.item_id)),
        ("repeat", "repeat"),
        ("answer", lambda r: Text(r.error.message, style="red") if r.error else (r.answer or "")[:160]),
        ("scores", lambda r: "  ".join(f"{k} {v.value:.3g}" for k, v in r.scores.items())),
        ("ms", lambda r: round(r.latency_ms) if r.latency_ms is not None else None),
        ("tries", "attempts"),
    ]
    term.table(page, columns, empty="No results.")


@app.command()
def compare(
    ctx: typer.Context,
    baseline: Annotated[str, typer.Argument(help="The run to compare with, er_...")],
    candidate: Annotated[str, typer.Argument(help="The run in question, er_...")],
    metric: Annotated[str, typer.Option(help="The one primary metric.")],
    minimum_effect: Annotated[float | None, typer.Option(help="Improvement: the smallest worth finding.")] = None,
    margin: Annotated[float | None, typer.Option(help="Non-inferiority: how much worse it may be.")] = None,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="For latencies and the like.")] = False,
    guardrail: Annotated[
        list[str] | None, typer.Option(help="metric=margin, or -metric=margin where lower is better.")
    ] = None,
    alpha: AlphaOption = 0.05,
    power: PowerOption = 0.8,
    failures: Annotated[str, typer.Option(help="Missing answers: refuse, wrong or drop.")] = "refuse",
    check: Annotated[bool, typer.Option("--check", help="Exit 1 unless the verdict is pass.")] = False,
) -> None:
    """Is the candidate better, or not worse? Pass, fail, or inconclusive with how many more items would settle it."""
    if (minimum_effect is None) == (margin is None):
        raise BadRequest(
            "What is asked of the candidate?", hint="Give --minimum-effect (is it better) or --margin (is it no worse)."
        )
    primary = {
        "metric": metric,
        "kind": "improvement" if minimum_effect is not None else "non_inferiority",
        "minimum_effect": minimum_effect,
        "margin": margin,
        "direction": "lower" if lower_is_better else "higher",
    }
    values = {
        "baseline_run": baseline,
        "candidate_run": candidate,
        "primary": primary,
        "guardrails": [_guardrail(text) for text in guardrail or []],
        "alpha": alpha,
        "power": power,
        "failures": failures,
    }
    spec = _validate(ComparisonSpec, values)
    term = terminal(ctx)
    comparison = Evals(term.http).compare(
        baseline,
        candidate,
        spec.primary,
        guardrails=list(spec.guardrails),
        alpha=alpha,
        power=power,
        failures=spec.failures,
    )
    if term.as_json:
        term.show(comparison)
    else:
        term.print(*tables.comparison(comparison))
    if check and comparison.outcome != "pass":
        raise typer.Exit(1)


def _guardrail(text: str) -> MetricRule:
    name, sign, margin = text.partition("=")
    if not sign:
        raise BadRequest(f"The guardrail {text!r} has no margin.", hint="Write --guardrail metric=0.02.")
    direction = "lower" if name.startswith("-") else "higher"
    values = {"metric": name.lstrip("-"), "kind": "non_inferiority", "margin": margin, "direction": direction}
    return _validate(MetricRule, values)


@app.command()
def plan(
    ctx: typer.Context,
    eval_set: SetArgument,
    minimum_effect: Annotated[float | None, typer.Option(help="Also say how many items this would need.")] = None,
    discordance: Annotated[float | None, typer.Option(help="Share of items on which two runs differ.")] = None,
    sd: Annotated[float | None, typer.Option(help="For graded metrics: sd of the differences.")] = None,
    icc: Annotated[float | None, typer.Option(help="Correlation within clusters.")] = None,
    pilot: Annotated[tuple[str, str] | None, typer.Option(help="Two earlier runs to take these from.")] = None,
    metric: Annotated[str | None, typer.Option(help="The pilot's metric.")] = None,
    alpha: AlphaOption = 0.05,
    power: PowerOption = 0.8,
) -> None:
    """What a set can see, before anything is run."""
    values = {
        "eval_set": eval_set,
        "minimum_effect": minimum_effect,
        "discordance": discordance,
        "sd": sd,
        "icc": icc,
        "pilot_baseline": pilot[0] if pilot else None,
        "pilot_candidate": pilot[1] if pilot else None,
        "metric": metric,
        "alpha": alpha,
        "power": power,
    }
    body = _validate(EvalPlanRequest, values)
    term = terminal(ctx)
    eval_plan = Evals(term.http).plan(**body.model_dump())
    if term.as_json:
        term.show(eval_plan)
    else:
        term.print(*tables.plan(eval_plan))
