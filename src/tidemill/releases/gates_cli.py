"""`tidemill gates`."""

from typing import Annotated

import typer
from pydantic import ValidationError

from tidemill.core.errors import BadRequest
from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.core.value_faults import sentence_of
from tidemill.evals.types import Direction
from tidemill.releases.sdk import Gates
from tidemill.releases.types import GateCreate, Guardrail

app = typer.Typer(help="Gates: declared before the evaluation that they judge.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="name, name@3 or an id.")]

_COLUMNS: list[Column] = [
    ("gate", "ref"),
    ("metric", "metric"),
    ("kind", "kind"),
    ("requires", lambda g: f"+{g.minimum_effect:g}" if g.minimum_effect is not None else f"-{g.margin:g} at most"),
    ("guardrails", lambda g: [f"{r.metric} -{r.margin:g}" for r in g.guardrails]),
    ("alpha", "alpha"),
    ("power", "power"),
    ("used", "used"),
    ("declared", "declared_at"),
    ("by", "declared_by"),
]

_DETAIL_COLUMNS: list[Column] = [
    *_COLUMNS,
    ("eval set", "eval_set"),
    ("failures", "failures"),
    ("hash", "hash"),
    ("id", "id"),
]

_RESULT: list[Column] = [
    ("verdict", "verdict"),
    ("summary", "summary"),
    ("gate", "gate"),
    ("smallest difference it can see", lambda r: r.evidence.minimum_detectable_effect),
    ("guardrails", lambda r: [f"{g.metric}: {g.outcome}" for g in r.evidence.guardrails]),
    ("warnings", lambda r: "\n".join(r.warnings) or None),
    ("comparison", "comparison_id"),
    ("id", "id"),
]


def _guardrail(text: str) -> Guardrail:
    metric, _, rest = text.partition("=")
    margin, _, direction = rest.partition(":")
    try:
        return Guardrail.model_validate({"metric": metric, "margin": margin, "direction": direction or "higher"})
    except ValidationError as error:
        raise BadRequest(
            f"--guardrail {text!r} cannot be read.", hint="Write metric=margin or latency_ms=50:lower."
        ) from error


@app.command()
def declare(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The gate's name.")],
    eval_set: Annotated[str, typer.Option(help="name, name@3 or an es_ id.")],
    metric: Annotated[str, typer.Option(help="The primary metric, such as label_accuracy.")],
    minimum_effect: Annotated[float | None, typer.Option(help="Improvement: the smallest difference to find.")] = None,
    margin: Annotated[float | None, typer.Option(help="Non-inferiority: how much worse it may be.")] = None,
    guardrail: Annotated[list[str] | None, typer.Option(help="metric=margin, or latency_ms=50:lower.")] = None,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="For the primary metric.")] = False,
    alpha: Annotated[float, typer.Option(help="How often it may pass wrongly.")] = 0.05,
    power: Annotated[float, typer.Option(help="How often it should find the minimum effect.")] = 0.8,
    failures: Annotated[str, typer.Option(help="Items without an answer: refuse, wrong or drop.")] = "refuse",
    new_version: Annotated[bool, typer.Option("--new-version", help="When the newest has been used.")] = False,
) -> None:
    """Declare a gate before its evaluation: improvement with --minimum-effect, non-inferiority with --margin."""
    term = terminal(ctx)
    direction: Direction = "lower" if lower_is_better else "higher"
    try:
        body = GateCreate.model_validate(
            {
                "name": name,
                "eval_set": eval_set,
                "metric": metric,
                "kind": "improvement" if margin is None else "non_inferiority",
                "minimum_effect": minimum_effect,
                "margin": margin,
                "direction": direction,
                "guardrails": [_guardrail(g) for g in guardrail or []],
                "alpha": alpha,
                "power": power,
                "failures": failures,
                "new_version": new_version,
            }
        )
    except ValidationError as error:
        raise BadRequest(
            f"The gate cannot be declared: {sentence_of(error)}.",
            hint="Give --minimum-effect for an improvement gate, --margin for a non-inferiority gate.",
        ) from error
    term.show(Gates(term.http).declare(body), _DETAIL_COLUMNS)


@app.command("list")
def list_(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """Gates, newest first."""
    term = terminal(ctx)
    empty = "No gates yet. Declare one: tidemill gates declare quality --eval-set … --metric … --minimum-effect 0.05"
    term.table(Gates(term.http).list(cursor=cursor, limit=limit), _COLUMNS, empty=empty)


@app.command()
def show(ctx: typer.Context, ref: Ref) -> None:
    """One gate with all its terms."""
    term = terminal(ctx)
    term.show(Gates(term.http).get(ref), _DETAIL_COLUMNS)


@app.command()
def evaluate(
    ctx: typer.Context,
    gate: Ref,
    release: Annotated[str, typer.Argument(help="The release to judge.")],
    baseline: Annotated[str, typer.Option(help="Eval run of what it is compared with.")],
    candidate: Annotated[str, typer.Option(help="Eval run of the release.")],
) -> None:
    """Judge a release by a gate on two finished eval runs."""
    term = terminal(ctx)
    result = Gates(term.http).evaluate(gate, release, baseline_run=baseline, candidate_run=candidate)
    term.show(result, _RESULT)
