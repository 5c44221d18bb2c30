"""Rollouts: start, advance, pause, resume, promote, abort and list them."""

from collections.abc import Iterator, Sequence
from typing import Any

from tidemill.core import events, lineage
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.deployments import promotion
from tidemill.deployments import service as deployments
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.types import Deployment, NotCleared
from tidemill.releases import service as releases
from tidemill.rollouts import plan, store
from tidemill.rollouts.comparison import load_scorer
from tidemill.rollouts.decisions import Decision
from tidemill.rollouts.types import (
    OPEN,
    AnalysisStep,
    Forever,
    Move,
    NothingToRollOut,
    PauseStep,
    Rollout,
    RolloutActive,
    RolloutCreate,
    RolloutEnded,
    RolloutEvidence,
    RolloutMove,
    RolloutNotFound,
    RolloutNotReady,
    RolloutPage,
    RolloutState,
    RolloutStep,
    ShadowPair,
    ShadowStep,
    Step,
    WeightStep,
)


def start(ctx: Context, body: RolloutCreate) -> Rollout:
    """Request a rollout; it begins when the engines of the new release answer.

    Where nothing answers under that name yet there is nothing to compare with: the release simply becomes live.
    Raises RolloutActive, NothingToRollOut, RolloutPlanInvalid, and what a deployment raises.
    """
    promotion.find_previous_environment(ctx, body.environment)
    release = releases.get_release(ctx, body.release)
    promotion.lock(ctx, body.environment, release.name)
    refuse_while_open(ctx, body.environment, release.name)
    retirements.check_not_retired(ctx, body.environment, release.name)
    live = [d for d in deployments.list_active(ctx, body.environment, release.name) if d.state == "live"]
    baseline = live[-1] if live else None
    if baseline is not None and baseline.release_id == release.id:
        raise NothingToRollOut(
            f"{release.ref} is live in {body.environment} already.", hint="Roll out another release of that name."
        )
    steps = plan.resolve_steps(body)
    for step in steps:
        if isinstance(step, ShadowStep):
            load_scorer(ctx.kernel.plugins, step.shadow)
    rollout_id = new_id("roll")
    deployment = promotion.build(
        ctx,
        release,
        body.environment,
        replicas=max(body.replicas, baseline.replicas if baseline else 1),
        note=body.note,
        force_reason=body.force_reason,
        rollout_id=rollout_id,
    )
    promotion.request(ctx, deployment)
    rollout = _new_rollout(ctx, body, deployment, baseline, steps)
    store.insert(ctx.conn, rollout)
    node = lineage.LineageNode(id=rollout.id, kind="rollout", label=f"{release.ref} into {body.environment}")
    parents = [(deployment.id, "rolls_out")] + ([(baseline.id, "compares_with")] if baseline else [])
    lineage.record(ctx, node, parents)
    return _move(ctx, rollout, "ordered", rollout.reason or "")


def _new_rollout(
    ctx: Context, body: RolloutCreate, deployment: Deployment, baseline: Deployment | None, steps: list[Step]
) -> Rollout:
    return Rollout(
        id=deployment.rollout_id or "",
        environment=body.environment,
        name=deployment.name,
        strategy=body.strategy,
        state="starting",
        release_id=deployment.release_id,
        release=deployment.release,
        baseline_release_id=baseline.release_id if baseline else None,
        baseline_release=baseline.release if baseline else None,
        deployment_id=deployment.id,
        baseline_deployment_id=baseline.id if baseline else None,
        steps=steps,
        step=0,
        step_at=None,
        weight=0.0,
        answers_before=0,
        shadow=None,
        note=body.note,
        forced=body.force_reason,
        reason="The engines of the new release start.",
        requested_by=ctx.actor.name,
        requested_at=ctx.now,
        began_at=None,
        ended_at=None,
    )


def get(ctx: Context, rollout_id: str) -> Rollout:
    """Return a rollout by its id, or the newest of `environment/name`. Raises RolloutNotFound."""
    rollout = store.get(ctx.conn, rollout_id)
    if rollout is None and "/" in rollout_id:
        environment, _, name = rollout_id.partition("/")
        newest = store.list_rollouts(
            ctx.conn, environment=environment, name=name, release_id=None, active=False, before=None, limit=1
        )
        rollout = newest[0] if newest else None
    if rollout is None:
        raise RolloutNotFound(f"There is no rollout {rollout_id!r}.", hint="`tidemill rollouts list` shows them.")
    return rollout


def get_page(ctx: Context, rollout_id: str) -> RolloutPage:
    """Return a rollout with its history and the newest evidence. Raises RolloutNotFound."""
    rollout = get(ctx, rollout_id)
    return RolloutPage(
        rollout=rollout,
        history=store.list_steps(ctx.conn, rollout.id),
        now=store.find_evidence(ctx.conn, rollout.id),
    )


def list_rollouts(
    ctx: Context,
    *,
    environment: str | None = None,
    name: str | None = None,
    release: str | None = None,
    active: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Rollout]:
    """Return rollouts, newest first."""
    release_id = releases.get_release(ctx, release).id if release is not None else None
    rollouts = store.list_rollouts(
        ctx.conn,
        environment=environment,
        name=name,
        release_id=release_id,
        active=active,
        before=cursor,
        limit=limit + 1,
    )
    return page(rollouts, limit)


def list_pairs(ctx: Context, rollout_id: str, *, cursor: str | None = None, limit: int = 50) -> Page[ShadowPair]:
    """Return the judged pairs of a rollout, newest first. Raises RolloutNotFound."""
    rollout = get(ctx, rollout_id)
    return page(store.list_pairs(ctx.conn, rollout.id, before=cursor, limit=limit + 1), limit)


def iterate_pairs(ctx: Context, rollout_id: str) -> Iterator[ShadowPair]:
    """Yield every judged pair of a rollout, oldest first."""
    after = ""
    while batch := store.list_pairs(ctx.conn, rollout_id, after=after, limit=1000):
        yield from batch
        after = batch[-1].id


def list_open(ctx: Context) -> list[Rollout]:
    """Return open rollouts, oldest first."""
    return store.list_open(ctx.conn)


def get_open(ctx: Context, environment: str, name: str) -> Rollout | None:
    """Return the open rollout of a name in an environment, or None."""
    return next(iter(store.list_open(ctx.conn, environment, name)), None)


def refuse_while_open(ctx: Context, environment: str, name: str) -> None:
    """Raise RolloutActive when a rollout of this name is open."""
    rollout = get_open(ctx, environment, name)
    if rollout is not None:
        raise RolloutActive(
            f"{rollout.release} is being rolled out in {environment} ({rollout.state}).",
            hint=f"`tidemill rollouts abort {rollout.id}` or `promote` ends it.",
            details={"rollout": rollout.id},
        )


def begin(ctx: Context, deployment: Deployment) -> Deployment:
    """Enter the first step, as the engines of the new release answer. Return the deployment.

    A rollout that is no longer starting stays as it is.
    """
    rollout = _get_locked(ctx, deployment.rollout_id or "")
    if rollout.state != "starting":
        return deployments.get(ctx, deployment.id)
    deployments.make_canary(ctx, deployment.id)
    rollout = _move(ctx, rollout, "began", "Its engines answer.", began_at=ctx.now, state="running")
    if rollout.baseline_deployment_id is None:
        _promote(ctx, rollout, "Nothing answered under that name before, so there is nothing to compare with.", None)
    else:
        _enter_step(ctx, rollout, 0, None)
    return deployments.get(ctx, deployment.id)


def fail(ctx: Context, rollout_id: str, reason: str) -> None:
    """Mark a rollout as failed, as the engines of the new release do not start."""
    rollout = _get_locked(ctx, rollout_id)
    if rollout.state in OPEN:
        _move(ctx, rollout, "failed", reason, state="failed", ended_at=ctx.now, weight=0.0, shadow=None)


def advance(ctx: Context, expected: Rollout, decision: Decision, evidence: RolloutEvidence) -> Rollout:
    """Store the evidence and act on the decision, unless the rollout is no longer in the `expected` state."""
    rollout = _get_locked(ctx, expected.id)
    if rollout.state not in OPEN or rollout.began_at is None:
        return rollout
    store.put_evidence(ctx.conn, rollout.id, evidence)
    if decision.action == "rollback":
        return _withdraw(ctx, rollout, "rolled_back", decision.reason, evidence)
    if (rollout.state, rollout.step, rollout.step_at) != (expected.state, expected.step, expected.step_at):
        return rollout
    if decision.action == "hold":
        return _move(ctx, rollout, "held", decision.reason, evidence, state="held")
    if decision.action == "next":
        try:
            promotion.refuse_uncleared(ctx, deployments.get(ctx, rollout.deployment_id))
        except NotCleared as error:
            return _move(ctx, rollout, "held", error.message, evidence, state="held")
        if isinstance(rollout.steps[rollout.step], AnalysisStep):
            rollout = _move(ctx, rollout, "passed", decision.reason, evidence)
        return _enter_step(ctx, rollout, rollout.step + 1, evidence)
    return rollout


def promote(ctx: Context, rollout_id: str, body: RolloutMove) -> Rollout:
    """Send all callers to the new release now, skipping the remaining steps. Raises NotCleared."""
    rollout = _get_open_locked(ctx, rollout_id)
    if rollout.began_at is None:
        raise RolloutNotReady(
            f"The engines of {rollout.release} do not answer yet.", hint="`tidemill deployments engines` shows them."
        )
    promotion.refuse_uncleared(ctx, deployments.get(ctx, rollout.deployment_id))
    return _promote(ctx, rollout, body.note or "By hand.", store.find_evidence(ctx.conn, rollout.id))


def pause(ctx: Context, rollout_id: str, body: RolloutMove) -> Rollout:
    """Pause a rollout until a person resumes it. Proof of harm still rolls back."""
    rollout = _get_open_locked(ctx, rollout_id)
    if rollout.began_at is None:
        raise RolloutNotReady(f"The engines of {rollout.release} do not answer yet.", hint="Wait, or abort it.")
    return _move(ctx, rollout, "pause", body.note or "By hand.", state="paused")


def resume(ctx: Context, rollout_id: str, body: RolloutMove) -> Rollout:
    """Continue after a pause or a hold; an analysis gets its full time again. Raises NotCleared."""
    rollout = _get_open_locked(ctx, rollout_id)
    if rollout.state not in ("paused", "held"):
        raise RolloutNotReady(
            f"The rollout is {rollout.state}: nothing waits.", hint="`tidemill rollouts show` says more."
        )
    promotion.refuse_uncleared(ctx, deployments.get(ctx, rollout.deployment_id))
    resumed = _move(ctx, rollout, "resumed", body.note or "By hand.", state="running", step_at=ctx.now)
    step = rollout.steps[rollout.step]
    if isinstance(step, PauseStep) and isinstance(step.pause, Forever):
        return _enter_step(ctx, resumed, rollout.step + 1, store.find_evidence(ctx.conn, rollout.id))
    return resumed


def abort(ctx: Context, rollout_id: str, body: RolloutMove) -> Rollout:
    """Send all callers back to the old release at once: its engines never stopped."""
    rollout = _get_open_locked(ctx, rollout_id)
    return _withdraw(ctx, rollout, "aborted", body.note or "By hand.", store.find_evidence(ctx.conn, rollout.id))


def insert_pairs(ctx: Context, pairs: list[ShadowPair]) -> None:
    """Store judged pairs."""
    store.insert_pairs(ctx.conn, pairs)


def count_pairs(ctx: Context, calls: Sequence[str]) -> int:
    """Return how many pairs of these calls are stored."""
    return store.count_pairs(ctx.conn, calls)


def delete_pairs(ctx: Context, calls: Sequence[str]) -> int:
    """Delete the pairs of these calls and return how many there were. Evidence that counts them stays."""
    return store.delete_pairs(ctx.conn, calls)


def _get_locked(ctx: Context, rollout_id: str) -> Rollout:
    unlocked = get(ctx, rollout_id)
    promotion.lock(ctx, unlocked.environment, unlocked.name)
    return get(ctx, unlocked.id)


def _get_open_locked(ctx: Context, rollout_id: str) -> Rollout:
    rollout = _get_locked(ctx, rollout_id)
    if rollout.state not in OPEN:
        raise RolloutEnded(f"The rollout of {rollout.release} has ended: {rollout.state}.", hint="Start another one.")
    return rollout


def _enter_step(ctx: Context, rollout: Rollout, number: int, evidence: RolloutEvidence | None) -> Rollout:
    """Enter steps from `number` on, until one has to wait, or to the end."""
    answers = evidence.canary_answers + (evidence.shadow.pairs if evidence.shadow else 0) if evidence else 0
    for index, step in enumerate(rollout.steps[number:], number):
        changes: dict[str, Any] = {"step": index, "step_at": ctx.now, "answers_before": answers, "state": "running"}
        if isinstance(step, WeightStep):
            rollout = _move(ctx, rollout, "weight", f"{step.weight:g}% of callers.", **changes, weight=step.weight)
        elif isinstance(step, ShadowStep):
            rollout = _move(
                ctx, rollout, "shadow", f"{step.shadow.share:g}% of calls are copied.", **changes, shadow=step.shadow
            )
        elif isinstance(step, AnalysisStep):
            text = f"From {step.analysis.min_answers} answers, for {step.analysis.max_duration:g} s at most."
            return _move(ctx, rollout, "analysis", text, **changes)
        elif isinstance(step.pause, Forever):
            text = f"Waits for a person: tidemill rollouts resume {rollout.id}"
            return _move(ctx, rollout, "pause", text, **changes | {"state": "paused"})
        else:
            return _move(ctx, rollout, "pause", f"For {step.pause:g} s.", **changes)
    if rollout.strategy == "shadow":
        return _withdraw(ctx, rollout, "finished", "Its shadow copies are all answered; no caller saw one.", evidence)
    return _promote(ctx, rollout, "All steps are done.", evidence)


def _promote(ctx: Context, rollout: Rollout, reason: str, evidence: RolloutEvidence | None) -> Rollout:
    deployments.make_live(ctx, deployments.get(ctx, rollout.deployment_id), {"kind": "rollout", "rollout": rollout.id})
    changes: dict[str, Any] = {"state": "promoted", "ended_at": ctx.now, "weight": 100.0, "shadow": None}
    return _move(ctx, rollout, "promoted", reason, evidence, **changes)


def _withdraw(
    ctx: Context, rollout: Rollout, move: RolloutState, reason: str, evidence: RolloutEvidence | None
) -> Rollout:
    deployments.withdraw(ctx, rollout.deployment_id, "rolled_back" if move == "rolled_back" else "stopped", reason)
    changes: dict[str, Any] = {"state": move, "ended_at": ctx.now, "weight": 0.0, "shadow": None}
    return _move(ctx, rollout, _END_MOVES[move], reason, evidence, **changes)


_END_MOVES: dict[RolloutState, Move] = {"rolled_back": "rolled_back", "aborted": "aborted", "finished": "finished"}


def _move(
    ctx: Context, rollout: Rollout, move: Move, reason: str, evidence: RolloutEvidence | None = None, **changes: Any
) -> Rollout:
    """Change a rollout's state, and record why: in its history, and as an event of the rollout and of the release."""
    changed = store.change_state(ctx.conn, rollout.id, rollout.state, **changes, reason=reason[:4000])
    moved = get(ctx, rollout.id)
    if not changed:
        raise RolloutEnded(
            f"The rollout of {moved.release} is {moved.state} by now.", hint="`tidemill rollouts show` says more."
        )
    step = RolloutStep(
        id=new_id("rst"),
        rollout_id=rollout.id,
        at=ctx.now,
        move=move,
        step=moved.step,
        weight=moved.weight,
        reason=reason[:4000],
        actor=ctx.actor.name,
        evidence=evidence,
    )
    store.add_step(ctx.conn, step)
    facts = {
        "environment": moved.environment,
        "name": moved.name,
        "release": moved.release,
        "release_id": moved.release_id,
        "baseline": moved.baseline_release,
        "deployment_id": moved.deployment_id,
        "state": moved.state,
        "weight": moved.weight,
        "reason": step.reason,
    }
    events.emit(ctx, f"rollout.{move}", moved.id, facts)
    if moved.state not in OPEN or move == "held":
        data = facts | {"rollout": moved.id, "evidence": evidence.model_dump(mode="json") if evidence else None}
        events.emit(ctx, f"release.{move}", moved.release_id, data)
    return moved
