"""`tidemill rollouts`: releases on their way into an environment."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tidemill.core.errors import Conflict, Invalid
from tidemill.core.parsing import parse_yaml
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal, waiting_for
from tidemill.rollouts.sdk import Rollouts
from tidemill.rollouts.types import Rollout, RolloutEvidence, RolloutPage

app = typer.Typer(help="Move an environment to a release step by step, and back by itself.", no_args_is_help=True)

RolloutArgument = Annotated[str, typer.Argument(help="A roll_ id, or environment/name for the newest one.")]
NoteOption = Annotated[str, typer.Option(help="Why.")]

_COLUMNS: list[Column] = [
    ("rollout", "id"),
    ("to", "environment"),
    ("release", "release"),
    ("from", "baseline_release"),
    ("state", "state"),
    ("share", lambda r: f"{r.weight:g}%"),
]
_DETAILS: list[Column] = [
    *_COLUMNS,
    ("strategy", "strategy"),
    ("step", lambda r: f"{min(r.step + 1, len(r.steps))} of {len(r.steps)}"),
    ("ordered", "requested_at"),
    ("by", "requested_by"),
    ("note", lambda r: r.note or None),
    ("forced", "forced"),
    ("why", "reason"),
]
_HISTORY: list[Column] = [
    ("at", "at"),
    ("what", "move"),
    ("share", lambda s: f"{s.weight:g}%"),
    ("by", "actor"),
    ("why", "reason"),
]
_SCORES: list[Column] = [
    ("score", "name"),
    ("old", "baseline_mean"),
    ("new", "canary_mean"),
    ("answers", lambda s: f"{s.baseline_answers}/{s.canary_answers}"),
    ("difference", lambda s: None if s.difference is None else f"{s.difference:+.3f}"),
    ("between", lambda s: None if s.low is None else f"{s.low:+.2f} {s.high:+.2f}"),
    ("e worse", lambda s: f"{s.worse:.3g} of {s.needed:.3g}"),
    ("e fine", "good_enough"),
]
_TOLERANCES: list[Column] = [
    ("what", "name"),
    ("old", "baseline"),
    ("new", "canary"),
    ("tolerance", "tolerance"),
    ("e-value", lambda t: f"{t.worse:.3g} of {t.needed:.3g}"),
]


class RolloutFailed(Conflict):
    """The rollout ended without making the new release live."""

    code = "rollout_failed"


class StepsUnreadable(Invalid):
    """The file contains no list of steps."""

    code = "rollout_steps_unreadable"


@app.command()
def start(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(help="name, name@3 or a rel_ id.")],
    environment: Annotated[str, typer.Option("--env", help="dev, qa or prod.")] = "prod",
    strategy: Annotated[str, typer.Option(help="canary, blue_green or shadow.")] = "canary",
    steps: Annotated[Path | None, typer.Option(help="YAML or JSON file with a list of steps.")] = None,
    warm: Annotated[str, typer.Option(help="Blue/green: how long the old release is kept ready.")] = "10m",
    replicas: Annotated[int, typer.Option(min=1, max=64, help="How many engines serve it.")] = 1,
    note: NoteOption = "",
    force: Annotated[
        str | None, typer.Option(help="An admin's reason to pass over order, gate and approval; recorded.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it has ended or waits for a person.")] = False,
) -> None:
    """Start a canary, a blue/green switch or a shadow."""
    term = terminal(ctx)
    sdk = Rollouts(term.working_http)
    chosen: Any = strategy
    rollout = sdk.start(
        release,
        environment,
        strategy=chosen,
        steps=read_steps(steps) if steps is not None else None,
        warm=warm,
        replicas=replicas,
        note=note,
        force_reason=force,
    )
    if not wait:
        term.show(rollout, _DETAILS)
        term.print(f"Watch it: tidemill rollouts show {rollout.id}")
        return
    with waiting_for(term, f"The rollout {rollout.id}", f"rollouts show {rollout.id}", f"rollouts abort {rollout.id}"):
        ended = sdk.wait(rollout.id)
    _page(term, sdk.show(rollout.id))
    if ended.state in ("rolled_back", "failed", "aborted"):
        raise RolloutFailed(f"{ended.release} was not rolled out: {ended.reason}", hint="The old release answers.")


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the steps in a YAML or JSON file. Raises StepsUnreadable."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise StepsUnreadable(f"{path}: {error}", hint="Write a list, such as: - weight: 10") from error
    steps = content.get("steps") if isinstance(content, dict) else content
    if not isinstance(steps, list):
        raise StepsUnreadable(f"{path} holds no list of steps.", hint="Write a list, such as: - weight: 10")
    return steps


@app.command("list")
def list_rollouts(
    ctx: typer.Context,
    environment: Annotated[str | None, typer.Option("--env", help="Only this environment.")] = None,
    name: Annotated[str | None, typer.Option(help="Only this release name.")] = None,
    release: Annotated[str | None, typer.Option(help="Only this release.")] = None,
    active: Annotated[bool, typer.Option(help="Only those that go on.")] = False,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Rollouts, newest first."""
    term = terminal(ctx)
    rollouts = Rollouts(term.http).list(
        environment=environment, name=name, release=release, active=active, cursor=cursor, limit=limit
    )
    term.table(rollouts, _COLUMNS, empty="No rollouts. Start with: tidemill rollouts start RELEASE --env prod")


@app.command()
def show(ctx: typer.Context, rollout: RolloutArgument) -> None:
    """One rollout: its history and its evidence."""
    term = terminal(ctx)
    _page(term, Rollouts(term.http).show(rollout))


@app.command()
def promote(ctx: typer.Context, rollout: RolloutArgument, note: NoteOption = "") -> None:
    """Send all callers to the new release now."""
    term = terminal(ctx)
    term.show(Rollouts(term.http).promote(rollout, note=note), _DETAILS)


@app.command()
def pause(ctx: typer.Context, rollout: RolloutArgument, note: NoteOption = "") -> None:
    """Pause a rollout; proof of harm still rolls back."""
    term = terminal(ctx)
    term.show(Rollouts(term.http).pause(rollout, note=note), _DETAILS)


@app.command()
def resume(ctx: typer.Context, rollout: RolloutArgument, note: NoteOption = "") -> None:
    """Continue after a pause or a hold."""
    term = terminal(ctx)
    term.show(Rollouts(term.http).resume(rollout, note=note), _DETAILS)


@app.command()
def abort(ctx: typer.Context, rollout: RolloutArgument, note: NoteOption = "") -> None:
    """Send all callers back to the old release at once."""
    term = terminal(ctx)
    term.show(Rollouts(term.http).abort(rollout, note=note), _DETAILS)


@app.command()
def pairs(ctx: typer.Context, rollout: RolloutArgument, cursor: CursorOption = None, limit: LimitOption = 20) -> None:
    """Copied calls with both answers, newest first."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("question", lambda p: _short(str(p.input[-1].get("content", "")) if p.input else "")),
        ("live", lambda p: _short(p.live)),
        ("shadow", lambda p: _short(p.shadow if p.shadow is not None else f"({p.error})")),
        ("verdict", "verdict"),
        ("ms", lambda p: f"{p.live_ms:.0f} / {'-' if p.shadow_ms is None else f'{p.shadow_ms:.0f}'}"),
        ("cost", "cost_usd"),
    ]
    term.table(Rollouts(term.http).pairs(rollout, cursor=cursor, limit=limit), columns, empty="No shadow copies yet.")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:59] + "…"


def _page(term: Terminal, page: RolloutPage) -> None:
    if term.as_json:
        term.show(page)
        return
    term.show(page.rollout, _DETAILS)
    term.print("")
    term.table(page.history, _HISTORY, empty="", title="History")
    evidence = page.now or next((s.evidence for s in reversed(page.history) if s.evidence is not None), None)
    if evidence is not None:
        _evidence(term, page.rollout, evidence)


def _evidence(term: Terminal, rollout: Rollout, evidence: RolloutEvidence) -> None:
    old, new = rollout.baseline_release or "nothing", rollout.release
    term.print(
        "",
        f"Evidence: {evidence.baseline_answers} answers of {old}, {evidence.canary_answers} of {new} "
        f"to {evidence.units} users or sessions",
    )
    if evidence.scores:
        term.table(evidence.scores, _SCORES, empty="")
    if evidence.tolerances:
        term.table(evidence.tolerances, _TOLERANCES, empty="")
    machine = evidence.infrastructure
    term.print(
        f"Machine (counted apart): {machine.deaths} deaths of engines, {machine.retried} answers at a second attempt, "
        f"{machine.incidents} failures that callers saw, {machine.fallbacks} calls answered by the old release instead"
    )
    if evidence.shadow is not None:
        term.show(evidence.shadow)
