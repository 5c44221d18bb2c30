"""Steps that bring a release to people: ask a person, deploy, environment by environment."""

from tidemill.core.kernel import Context
from tidemill.deployments import service as deployments
from tidemill.deployments.types import Deployment, DeploymentCreate
from tidemill.pipelines import store
from tidemill.pipelines.steps.context import CacheInputs, StepContext, StepInputs, StepResult
from tidemill.pipelines.types import ApprovalRejected, ApprovalSection, RolledBack, RunStep, StepFailed
from tidemill.releases import service as releases
from tidemill.releases.types import Approval, ApprovalPending, ApprovalRequest
from tidemill.rollouts import service as rollouts
from tidemill.rollouts.types import OPEN, Rollout, RolloutCreate, RolloutMove

APPROVAL_TOPIC = "approval"
"""Topic of the signal that tells a waiting run to look at its approval."""

DEPLOY_POLL_SECONDS = 0.25
ROLLOUT_POLL_SECONDS = 1.0


def uncacheable_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return None: the step depends on what is served or decided now, so nothing is cached."""
    return None


def run_approve(context: StepContext) -> StepResult:
    """Ask for approval and wait for it, for days if need be. Raises ApprovalRejected."""
    release = context.outputs_of("release")
    with context.job_context.write() as ctx:
        served = _find_served(ctx, context)
        approval = releases.check_clearance(ctx, release["release_id"], context.subject).approval
    if served is not None:
        return StepResult({}, f"{context.subject} serves {served.release} already", unchanged=True)
    if approval is not None and approval.state == "approved":
        return StepResult({"approval_id": approval.id}, _decision_text(approval), unchanged=context.starts_now)
    with context.job_context.write() as ctx:
        pending = _request_approval(ctx, context)
    context.set_waiting(f"{pending.id} waits for a person to let {pending.release} go to {pending.environment}")
    decided = context.job_context.wait_until(APPROVAL_TOPIC, lambda: _find_decision(context, pending.id))
    if decided.state != "approved":
        raise ApprovalRejected(
            _decision_text(decided),
            hint=f"Ask again: tidemill runs retry {context.run_ref}",
            details={"approval": decided.id, "state": decided.state},
        )
    context.set_running(None)
    return StepResult({"approval_id": decided.id}, _decision_text(decided))


def _request_approval(ctx: Context, context: StepContext) -> Approval:
    section = context.environment.approval or ApprovalSection()
    body = ApprovalRequest(
        release=context.outputs_of("release")["release_id"],
        environment=context.subject,
        note=section.note or f"asked for by {context.run_ref}",
        valid_hours=section.valid_hours,
    )
    try:
        return releases.request_approval(ctx, body)
    except ApprovalPending as pending:  # somebody else has asked: their answer counts for this run too
        return releases.get_approval(ctx, str((pending.details or {})["approval"]))


def _find_decision(context: StepContext, approval_id: str) -> Approval | None:
    with context.kernel.read(context.job_context.actor) as ctx:
        approval = releases.get_approval(ctx, approval_id)
    return approval if approval.state != "pending" else None


def _decision_text(approval: Approval) -> str:
    if approval.state == "expired":
        return f"{approval.id} lapsed at {approval.expires_at:%Y-%m-%d %H:%M} UTC"
    if approval.state == "withdrawn":
        return f"{approval.withdrawn_by_name} withdrew it: {approval.withdrawn_reason}"
    return f"{approval.decided_by_name} {approval.state} it: {approval.reason}"


def _find_served(ctx: Context, context: StepContext) -> Deployment | None:
    release_id = context.outputs_of("release")["release_id"]
    active = deployments.list_active(ctx, context.subject)
    return next((d for d in active if d.release_id == release_id and d.state == "live"), None)


def run_deploy(context: StepContext) -> StepResult:
    """Serve the release in the environment and wait until it answers."""
    section = context.environment
    with context.job_context.write() as ctx:
        served = _find_served(ctx, context)
        if served is not None and served.replicas == section.replicas:
            note = f"{context.subject} serves {served.release} already"
            return StepResult(
                {"deployment_id": served.id, "release": served.release}, note, unchanged=context.starts_now
            )
        before = deployments.list_active(ctx, context.subject)
        deployment = deployments.deploy(
            ctx,
            DeploymentCreate(
                release=context.outputs_of("release")["release_id"],
                environment=context.subject,
                replicas=section.replicas,
                note=section.note or f"by {context.run_ref}",
            ),
        )
        if deployment.state == "starting" and all(d.id != deployment.id for d in before):
            store.update_step(ctx.conn, context.row.id, outputs={"ordered_id": deployment.id})
    context.report_progress(f"{deployment.release} starts in {context.subject}")

    def find_started() -> Deployment | None:
        with context.kernel.read(context.job_context.actor) as ctx:
            current = deployments.get(ctx, deployment.id)
        return current if current.state != "starting" else None

    done = context.job_context.wait_until(deployment.id, find_started, poll=DEPLOY_POLL_SECONDS)
    if done.state != "live":
        raise StepFailed(
            f"{done.release} is {done.state} in {done.environment}: {done.error or 'called off'}",
            hint=f"tidemill deployments history --env {done.environment}",
        )
    return StepResult(
        {"deployment_id": done.id, "release": done.release}, f"{done.release} is live in {context.subject}"
    )


def run_rollout(context: StepContext) -> StepResult:
    """Move the environment to the release step by step, as the analysis of live answers allows. Raises RolledBack."""
    release = context.outputs_of("release")
    with context.job_context.write() as ctx:
        served = _find_served(ctx, context)
        if served is not None:
            note = f"{context.subject} serves {served.release} already"
            return StepResult(
                {"deployment_id": served.id, "release": served.release}, note, unchanged=context.starts_now
            )
        open_rollout = rollouts.get_open(ctx, context.subject, str(release["ref"]).partition("@")[0])
        mine = open_rollout is not None and open_rollout.release_id == release["release_id"]
        rollout = open_rollout if open_rollout is not None and mine else _start_rollout(ctx, context)
    watcher = _RolloutWatcher(context, rollout.id)
    done = context.job_context.wait_until(rollout.id, watcher.poll, poll=ROLLOUT_POLL_SECONDS)
    if done.state not in ("promoted", "finished"):
        raise RolledBack(
            f"{done.release} is {done.state} in {done.environment}: {done.reason}",
            hint=f"tidemill rollouts show {done.id}",
            details={"rollout": done.id, "state": done.state},
        )
    note = f"{done.release} answers everybody in {context.subject}: {done.reason}"
    return StepResult({"rollout_id": done.id, "deployment_id": done.deployment_id, "release": done.release}, note)


def _start_rollout(ctx: Context, context: StepContext) -> Rollout:
    section = context.environment
    assert section.rollout is not None
    body = RolloutCreate(
        release=context.outputs_of("release")["release_id"],
        environment=context.subject,
        strategy=section.rollout.strategy,
        steps=section.rollout.steps,
        warm=section.rollout.warm,
        replicas=section.replicas,
        note=section.note or f"by {context.run_ref}",
    )
    rollout = rollouts.start(ctx, body)
    # On record at once: should the run be cancelled, it ends what it began, and nothing that somebody else did.
    store.update_step(ctx.conn, context.row.id, outputs={"rollout_id": rollout.id})
    return rollout


def cancel_step(ctx: Context, step: RunStep, note: str) -> str | None:
    """End the rollout or deployment that an unfinished step began. Returns what was done, or None for nothing.

    A release that has gone live stays: ending that is a rollback, which is asked for by a person.
    """
    if step.done:
        return None
    if step.kind == "rollout" and "rollout_id" in step.outputs:
        rollout = rollouts.get(ctx, str(step.outputs["rollout_id"]))
        if rollout.state not in OPEN:
            return None
        rollouts.abort(ctx, rollout.id, RolloutMove(note=note))
        old = rollout.baseline_release
        goes_on = f"{old} answers everybody again" if old is not None else "nothing answers there, as before"
        return f"The rollout of {rollout.release} in {rollout.environment} was aborted: {goes_on}."
    if step.kind == "deploy" and "ordered_id" in step.outputs:
        ordered = deployments.get(ctx, str(step.outputs["ordered_id"]))
        if ordered.state != "starting":
            return None
        deployments.stop(ctx, ordered.id)
        return f"{ordered.release}, which was starting in {ordered.environment}, was stopped."
    return None


class _RolloutWatcher:
    """Polls a rollout and reports its state on the step whenever that has changed."""

    def __init__(self, context: StepContext, rollout_id: str) -> None:
        self.context, self.rollout_id, self.last_text = context, rollout_id, ""

    def poll(self) -> Rollout | None:
        """Return the rollout once it has ended, else None."""
        with self.context.kernel.read(self.context.job_context.actor) as ctx:
            current = rollouts.get(ctx, self.rollout_id)
        if current.ended_at is not None or current.state in ("promoted", "finished"):
            return current
        text = f"{current.state} at {current.weight:g}%: {current.reason or 'its engines start'}"
        if text != self.last_text:
            waits = current.state in ("held", "paused")
            (self.context.set_waiting if waits else self.context.set_running)(
                f"{current.release} in {current.environment} {text}"
            )
            self.last_text = text
        return None
