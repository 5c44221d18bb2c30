"""Steps that bring a release to people: ask a person, deploy, environment by environment."""

from tidemill.core.context import Context
from tidemill.deployments import service as deployments
from tidemill.deployments.types import Deployment, DeploymentCreate
from tidemill.pipelines.steps.turn import Facts, Outcome, Reads, Turn
from tidemill.pipelines.types import ApprovalRejected, ApprovalSection, StepFailed
from tidemill.releases import service as releases
from tidemill.releases.types import Approval, ApprovalPending, ApprovalRequest

APPROVAL_TOPIC = "approval"
"""Topic of the signal that tells a waiting run to look at its approval."""

DEPLOY_POLL_SECONDS = 0.25


def reads_world(ctx: Context, facts: Facts) -> Reads:
    """Nothing that could be hashed: what is served or decided is looked at each time."""
    return None


def do_approve(turn: Turn) -> Outcome:
    """Ask for approval and wait for it, for days if need be. Raises ApprovalRejected."""
    release = turn.of("release")
    with turn.at.work() as ctx:
        served = _served(ctx, turn)
        known = releases.clearance(ctx, release["release_id"], turn.subject).approval
    if served is not None:
        return Outcome({}, f"{turn.subject} serves {served.release} already", unchanged=True)
    if known is not None and known.state == "approved":
        return Outcome({"approval_id": known.id}, _decided(known), unchanged=turn.begins)
    with turn.at.work() as ctx:
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
    with turn.kernel.look(turn.at.actor) as ctx:
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
    with turn.at.work() as ctx:
        served = _served(ctx, turn)
        if served is not None and served.replicas == wanted.replicas:
            note = f"{turn.subject} serves {served.release} already"
            return Outcome({"deployment_id": served.id, "release": served.release}, note, unchanged=turn.begins)
        ordered = deployments.deploy(
            ctx,
            DeploymentCreate(
                release=turn.of("release")["release_id"],
                environment=turn.subject,
                replicas=wanted.replicas,
                note=wanted.note or f"by {turn.run_ref}",
            ),
        )
    turn.tell(f"{ordered.release} starts in {turn.subject}")

    def look() -> Deployment | None:
        with turn.kernel.look(turn.at.actor) as ctx:
            found = deployments.get(ctx, ordered.id)
        return found if found.state != "starting" else None

    done = turn.at.wait_until(ordered.id, look, poll=DEPLOY_POLL_SECONDS)
    if done.state != "live":
        raise StepFailed(
            f"{done.release} is {done.state} in {done.environment}: {done.error or 'called off'}",
            hint=f"tidemill deployments history --env {done.environment}",
        )
    return Outcome({"deployment_id": done.id, "release": done.release}, f"{done.release} is live in {turn.subject}")
