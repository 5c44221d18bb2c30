"""Approvals: one person asks, another decides with the gates' verdict in view, and everything is kept."""

from datetime import timedelta

from tidemill.core import events, lineage
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.releases import store
from tidemill.releases.gates import standing
from tidemill.releases.lookup import get_release
from tidemill.releases.types import (
    POLICIES,
    STRICTEST,
    Approval,
    ApprovalClosed,
    ApprovalDecision,
    ApprovalNotFound,
    ApprovalPending,
    ApprovalRequest,
    Clearance,
    GateResult,
    OverrideNeeded,
    Policy,
    Release,
    SelfApproval,
    Verdict,
)


def policy_of(environment: str) -> Policy:
    """What an environment asks of a release; everything when it is not known."""
    return POLICIES.get(environment, STRICTEST)


def request_approval(ctx: Context, body: ApprovalRequest) -> Approval:
    """Ask that a release may go to an environment. Asking again while the request is open gives that request.

    Raises ApprovalPending when somebody else has asked already.
    """
    release = get_release(ctx, body.release)
    store.lock(ctx.conn, f"approval {release.id} {body.environment}")
    verdict, results = standing(ctx, release)
    for known in _of(ctx, release, body.environment):
        if known.state == "pending":
            if known.requested_by == ctx.actor.id:
                return _current(ctx, known)
            raise ApprovalPending(
                f"{known.requested_by_name} has already asked for {release.ref} to go to {body.environment}.",
                hint=f"It waits for a decision as {known.id}.",
                details={"approval": known.id},
            )
    approval = Approval(
        id=new_id("apr"),
        release_id=release.id,
        release=release.ref,
        release_hash=release.content_hash,
        environment=body.environment,
        state="pending",
        note=body.note,
        requested_by=ctx.actor.id,
        requested_by_name=ctx.actor.name,
        requested_at=ctx.now,
        expires_at=ctx.now + timedelta(hours=body.valid_hours),
        verdict=verdict,
        gate_results=[r.id for r in results],
        decided_by=None,
        decided_by_name=None,
        decided_at=None,
        reason=None,
        override=None,
    )
    store.insert_approval(ctx.conn, approval)
    facts = {"approval": approval.id, "environment": approval.environment, "note": approval.note, "verdict": verdict}
    events.emit(ctx, "approval.requested", release.id, facts)
    return approval


def decide_approval(ctx: Context, approval_id: str, body: ApprovalDecision) -> Approval:
    """Approve or reject a request, by another person than the requester.

    Raises SelfApproval, ApprovalClosed, OverrideNeeded (approving without a passed gate), ApprovalNotFound.
    """
    approval = get_approval(ctx, approval_id)
    if approval.state != "pending":
        when = approval.decided_at or approval.expires_at
        raise ApprovalClosed(
            f"{approval.id} is {approval.state} since {when:%Y-%m-%d %H:%M} UTC.",
            hint=f"Ask anew: tidemill releases request {approval.release} --environment {approval.environment}",
        )
    approving = body.decision == "approve"
    if approving and ctx.actor.id == approval.requested_by:
        raise SelfApproval(
            f"{ctx.actor.name} asked for {approval.release} to go to {approval.environment} and cannot approve it.",
            hint="Another person with the role approver has to decide.",
        )
    release = get_release(ctx, approval.release_id)
    verdict, results = standing(ctx, release)
    if approving and policy_of(approval.environment).gate and verdict != "pass" and body.override is None:
        raise OverrideNeeded(
            f"The gates say {verdict or 'nothing yet'} of {release.ref}: {_told(results)}",
            hint="Reject it, or say why it may go all the same with --override 'reason'.",
            details={"verdict": verdict, "gate_results": [r.id for r in results]},
        )
    decided = approval.model_copy(
        update={
            "state": "approved" if approving else "rejected",
            "verdict": verdict,
            "gate_results": [r.id for r in results],
            "decided_by": ctx.actor.id,
            "decided_by_name": ctx.actor.name,
            "decided_at": ctx.now,
            "reason": body.reason,
            "override": body.override if approving and verdict != "pass" else None,
        }
    )
    if not store.decide_approval(ctx.conn, decided):
        raise ApprovalClosed(f"{approval.id} was decided by somebody else just now.", hint="Look at it again.")
    _record(ctx, decided)
    return decided


def get_approval(ctx: Context, approval_id: str) -> Approval:
    """One approval as it stands now. Raises ApprovalNotFound."""
    found = store.approval_by_id(ctx.conn, approval_id)
    if found is None:
        raise ApprovalNotFound(
            f"There is no approval {approval_id!r}.", hint="`tidemill releases approvals` lists them."
        )
    return _current(ctx, found)


def list_approvals(
    ctx: Context,
    *,
    release: str | None = None,
    environment: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Approval]:
    """Approvals as they stand now, newest first."""
    release_id = get_release(ctx, release).id if release is not None else None
    found = store.list_approvals(
        ctx.conn, release_id=release_id, environment=environment, before=cursor, limit=limit + 1
    )
    return page([_current(ctx, a) for a in found], limit)


def clearance(ctx: Context, ref: str, environment: str) -> Clearance:
    """Whether a release may go to an environment now, and if not, why not."""
    release, policy = get_release(ctx, ref), policy_of(environment)
    verdict, results = standing(ctx, release)
    made = _of(ctx, release, environment)
    approval = next((a for a in made if a.state == "approved"), made[0] if made else None)
    approved = approval is not None and approval.state == "approved"
    reasons = []
    if policy.approval and not approved:
        reasons.append(_unapproved(release, environment, approval))
    if policy.gate and verdict != "pass" and not _overridden(approval, verdict):
        reasons.append(
            f"The gates say {verdict} of {release.ref}: {_told(results)}"
            if verdict is not None
            else f"No gate has judged {release.ref}: tidemill gates evaluate GATE {release.ref} …"
        )
    return Clearance(
        release_id=release.id,
        environment=environment,
        allowed=not reasons,
        reasons=reasons,
        verdict=verdict,
        approval=approval,
    )


def _overridden(approval: Approval | None, verdict: Verdict | None) -> bool:
    """An override holds for the verdict that the approver saw, not for a worse one that came later."""
    if approval is None or approval.state != "approved" or approval.override is None:
        return False
    return approval.verdict == verdict


def _unapproved(release: Release, environment: str, approval: Approval | None) -> str:
    if approval is None:
        return f"Nobody has asked for approval: tidemill releases request {release.ref} --environment {environment}"
    if approval.state == "pending":
        return f"{approval.id} waits for a decision by another person than {approval.requested_by_name}."
    if approval.state == "rejected":
        return f"{approval.decided_by_name} rejected it: {approval.reason}"
    return f"{approval.id} lapsed at {approval.expires_at:%Y-%m-%d %H:%M} UTC; ask anew."


def _of(ctx: Context, release: Release, environment: str) -> list[Approval]:
    found = store.list_approvals(ctx.conn, release_id=release.id, environment=environment)
    return [_current(ctx, a) for a in found]


def _current(ctx: Context, approval: Approval) -> Approval:
    """What is stored, or `expired` when its time is over."""
    if approval.state in ("pending", "approved") and approval.expires_at <= ctx.now:
        return approval.model_copy(update={"state": "expired"})
    if approval.state != "pending":
        return approval
    verdict, results = standing(ctx, get_release(ctx, approval.release_id))
    return approval.model_copy(update={"verdict": verdict, "gate_results": [r.id for r in results]})


def _told(results: list[GateResult]) -> str:
    return " ".join(f"{r.gate}: {r.summary}" for r in results if r.verdict != "pass") or "no gate was evaluated."


def _record(ctx: Context, approval: Approval) -> None:
    facts = {
        "environment": approval.environment,
        "state": approval.state,
        "by": approval.decided_by_name,
        "reason": approval.reason,
        "override": approval.override,
        "verdict": approval.verdict,
    }
    label = f"{approval.environment}: {approval.state}"
    parents = [(approval.release_id, "decides_on"), *((r, "with_verdict") for r in approval.gate_results)]
    lineage.record(ctx, lineage.LineageNode(id=approval.id, kind="approval", label=label, facts=facts), parents)
    events.emit(ctx, f"approval.{approval.state}", approval.release_id, {"approval": approval.id, **facts})
