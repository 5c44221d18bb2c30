"""Steps that bring a release to people: ask a person, deploy, environment by environment."""

from tidemill.core.kernel import Context
from tidemill.deployments import service as deployments
from tidemill.deployments.types import OPEN, Deployment, DeploymentCreate, Rollout, RolloutCreate
from tidemill.pipelines import store
from tidemill.pipelines.steps.turn import Facts, Outcome, Reads, Turn
from tidemill.pipelines.types import ApprovalRejected, ApprovalSection, RolledBack, RunStep, StepFailed
from tidemill.releases import service as releases
from tidemill.releases.types import Approval, ApprovalPending, ApprovalRequest

APPROVAL_TOPIC = "approval"
"""Topic of the signal that tells a waiting run to look at its approval."""

DEPLOY_POLL_SECONDS = 0.25
ROLLOUT_POLL_SECONDS = 1.0


def reads_world(ctx: Context, facts: Facts) -> Reads:
    """Nothing that could be hashed: what is served or decided is looked at each time."""
    return None


def do_approve(turn: Turn) -> Outcome:
    """Ask for approval and wait for it, for days if need be. Raises ApprovalRejected."""
    release = turn.of("release")
    with turn.at.write() as ctx:
        served = _served(ctx, turn)
        known = releases.clearance(ctx, release["release_id"], turn.subject).approval
    if served is not None:
        return Outcome({}, f"{turn.subject} serves {served.release} already", unchanged=True)
    if known is not None and known.state == "approved":
        return Outcome({"approval_id": known.id}, _decided(known), unchanged=turn.begins)
    with turn.at.write() as ctx:
        asked = _asked(ctx, turn)
    turn.waiting(f"{asked.id} waits for a person to let {asked.release} go to {asked.environment}")
    decided = turn.at.wait_until(APPROVAL_TOPIC, lambda: _look(turn, asked.id))
    if decided.state != "approved":
        raise ApprovalRejected(
            _decided(decided),
            hint=f"Ask again: tidemill runs retry {turn.run_ref}",
            details={"approval": decided.id, "state": decided.state},
        )
    turn.working()
    return Outcome({"approval_id": decided.id}, _decided(decided))


def _asked(ctx: Context, turn: Turn) -> Approval:
    wanted = turn.environment.approval or ApprovalSection()
    body = ApprovalRequest(
        release=turn.of("release")["release_id"],
        environment=turn.subject,
        note=wanted.note or f"asked for by {turn.run_ref}",
        valid_hours=wanted.valid_hours,
    )
    try:
        return releases.request_approval(ctx, body)
    except ApprovalPending as pending:  # somebody else has asked: their answer counts for this run too
        return releases.get_approval(ctx, str((pending.details or {})["approval"]))


def _look(turn: Turn, approval_id: str) -> Approval | None:
    with turn.kernel.read(turn.at.actor) as ctx:
        found = releases.get_approval(ctx, approval_id)
    return found if found.state != "pending" else None


def _decided(approval: Approval) -> str:
    if approval.state == "expired":
        return f"{approval.id} lapsed at {approval.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"{approval.decided_by_name} {approval.state} it: {approval.reason}"


def _served(ctx: Context, turn: Turn) -> Deployment | None:
    release_id = turn.of("release")["release_id"]
    found = deployments.listing(ctx, environment=turn.subject, active_only=True, limit=500).items
    return next((d for d in found if d.release_id == release_id and d.state == "live"), None)


def do_deploy(turn: Turn) -> Outcome:
    """Serve the release in the environment and wait until it answers."""
    wanted = turn.environment
    with turn.at.write() as ctx:
        served = _served(ctx, turn)
        if served is not None and served.replicas == wanted.replicas:
            note = f"{turn.subject} serves {served.release} already"
            return Outcome({"deployment_id": served.id, "release": served.release}, note, unchanged=turn.begins)
        before = deployments.listing(ctx, environment=turn.subject, active_only=True, limit=500).items
        ordered = deployments.deploy(
            ctx,
            DeploymentCreate(
                release=turn.of("release")["release_id"],
                environment=turn.subject,
                replicas=wanted.replicas,
                note=wanted.note or f"by {turn.run_ref}",
            ),
        )
        if ordered.state == "starting" and all(d.id != ordered.id for d in before):
            store.update_step(ctx.conn, turn.row.id, outputs={"ordered_id": ordered.id})
    turn.tell(f"{ordered.release} starts in {turn.subject}")

    def look() -> Deployment | None:
        with turn.kernel.read(turn.at.actor) as ctx:
            found = deployments.get(ctx, ordered.id)
        return found if found.state != "starting" else None

    done = turn.at.wait_until(ordered.id, look, poll=DEPLOY_POLL_SECONDS)
    if done.state != "live":
        raise StepFailed(
            f"{done.release} is {done.state} in {done.environment}: {done.error or 'called off'}",
            hint=f"tidemill deployments history --env {done.environment}",
        )
    return Outcome({"deployment_id": done.id, "release": done.release}, f"{done.release} is live in {turn.subject}")


def do_rollout(turn: Turn) -> Outcome:
    """Move the environment to the release step by step, as the analysis of live answers allows. Raises RolledBack."""
    release = turn.of("release")
    with turn.at.write() as ctx:
        served = _served(ctx, turn)
        if served is not None:
            note = f"{turn.subject} serves {served.release} already"
            return Outcome({"deployment_id": served.id, "release": served.release}, note, unchanged=turn.begins)
        known = deployments.open_rollout(ctx, turn.subject, str(release["ref"]).partition("@")[0])
        mine = known is not None and known.release_id == release["release_id"]
        begun = known if known is not None and mine else _begun(ctx, turn)
    done = turn.at.wait_until(begun.id, _Rollout(turn, begun.id).look, poll=ROLLOUT_POLL_SECONDS)
    if done.state not in ("promoted", "finished"):
        raise RolledBack(
            f"{done.release} is {done.state} in {done.environment}: {done.reason}",
            hint=f"tidemill rollouts show {done.id}",
            details={"rollout": done.id, "state": done.state},
        )
    note = f"{done.release} answers everybody in {turn.subject}: {done.reason}"
    return Outcome({"rollout_id": done.id, "deployment_id": done.deployment_id, "release": done.release}, note)


def _begun(ctx: Context, turn: Turn) -> Rollout:
    wanted = turn.environment
    assert wanted.rollout is not None
    body = RolloutCreate(
        release=turn.of("release")["release_id"],
        environment=turn.subject,
        strategy=wanted.rollout.strategy,
        steps=wanted.rollout.steps,
        warm=wanted.rollout.warm,
        replicas=wanted.replicas,
        note=wanted.note or f"by {turn.run_ref}",
    )
    begun = deployments.start_rollout(ctx, body)
    # On record at once: should the run be cancelled, it ends what it began, and nothing that somebody else did.
    store.update_step(ctx.conn, turn.row.id, outputs={"rollout_id": begun.id})
    return begun


def call_off(ctx: Context, step: RunStep, note: str) -> str | None:
    """End the rollout or the deployment that an unfinished step has begun; says what was done, None: nothing had to be.

    A release that has gone live stays: ending that is a rollback, which is asked for by a person.
    """
    if step.done:
        return None
    if step.kind == "rollout" and "rollout_id" in step.outputs:
        rollout = deployments.get_rollout(ctx, str(step.outputs["rollout_id"]))
        if rollout.state not in OPEN:
            return None
        deployments.abort_rollout(ctx, rollout.id, note)
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


class _Rollout:
    """Looks at a rollout and says how it stands when that has changed."""

    def __init__(self, turn: Turn, rollout_id: str) -> None:
        self.turn, self.rollout_id, self.told = turn, rollout_id, ""

    def look(self) -> Rollout | None:
        """The rollout once it has ended."""
        with self.turn.kernel.read(self.turn.at.actor) as ctx:
            found = deployments.get_rollout(ctx, self.rollout_id)
        if found.ended_at is not None or found.state in ("promoted", "finished"):
            return found
        text = f"{found.state} at {found.weight:g}%: {found.reason or 'its engines start'}"
        if text != self.told:
            waits = found.state in ("held", "paused")
            (self.turn.waiting if waits else self.turn.going)(f"{found.release} in {found.environment} {text}")
            self.told = text
        return None
