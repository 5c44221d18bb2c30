"""Approvals: one person requests, another decides. Each stores the gates' verdict of that time."""

from datetime import datetime, timedelta

from tidemill.core import events, lineage
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.releases import store
from tidemill.releases.gates import get_verdict
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
    ApprovalWithdrawal,
    Clearance,
    GateResult,
    LiveReleases,
    OverrideNeeded,
    Policy,
    Release,
    SelfApproval,
    Verdict,
)


def get_policy(environment: str) -> Policy:
    """Return an environment's policy; the strictest for an unknown environment."""
    return POLICIES.get(environment, STRICTEST)


def lock_approvals(ctx: Context, release_id: str, environment: str) -> None:
    """Let no other transaction ask for, decide or withdraw an approval of a release until this one ends."""
    store.lock(ctx.conn, f"approval {release_id} {environment}")


def request_approval(ctx: Context, body: ApprovalRequest) -> Approval:
    """Request approval of a release for an environment. Returns the requester's open request when there is one.

    Raises ApprovalPending when somebody else has asked already.
    """
    release = get_release(ctx, body.release)
    lock_approvals(ctx, release.id, body.environment)
    verdict, results = get_verdict(ctx, release)
    for existing in _list_current(ctx, release, body.environment):
        if existing.state == "pending":
            if existing.requested_by == ctx.actor.id:
                return _refresh(ctx, existing)
            raise ApprovalPending(
                f"{existing.requested_by_name} has already asked for {release.ref} to go to {body.environment}.",
                hint=f"It waits for a decision as {existing.id}.",
                details={"approval": existing.id},
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
    approval = _get_locked(ctx, approval_id)
    if approval.state != "pending":
        raise _closed(approval)
    approves = body.decision == "approve"
    if approves and ctx.actor.id == approval.requested_by:
        raise SelfApproval(
            f"{ctx.actor.name} asked for {approval.release} to go to {approval.environment} and cannot approve it.",
            hint="Another person with the role approver has to decide.",
        )
    release = get_release(ctx, approval.release_id)
    verdict, results = get_verdict(ctx, release)
    if approves and get_policy(approval.environment).gate and verdict != "pass" and body.override is None:
        raise OverrideNeeded(
            f"The gates say {verdict or 'nothing yet'} of {release.ref}: {_summarize_failures(results)}",
            hint="Reject it, or say why it may go all the same with --override 'reason'.",
            details={"verdict": verdict, "gate_results": [r.id for r in results]},
        )
    decided = approval.model_copy(
        update={
            "state": "approved" if approves else "rejected",
            "verdict": verdict,
            "gate_results": [r.id for r in results],
            "decided_by": ctx.actor.id,
            "decided_by_name": ctx.actor.name,
            "decided_at": ctx.now,
            "reason": body.reason,
            "override": body.override if approves and verdict != "pass" else None,
        }
    )
    if not store.decide_approval(ctx.conn, decided):
        raise ApprovalClosed(f"{approval.id} was decided by somebody else just now.", hint="Look at it again.")
    _record(ctx, decided)
    return decided


def withdraw_approval(ctx: Context, approval_id: str, body: ApprovalWithdrawal) -> Approval:
    """Take back a request or an approval, and return it: the release is promoted no further in that environment.

    What is live stays live. Raises ApprovalClosed (it was rejected, withdrawn or has lapsed), ApprovalNotFound.
    """
    approval = _get_locked(ctx, approval_id)
    if approval.state not in ("pending", "approved"):
        raise _closed(approval)
    changes = {
        "state": "withdrawn",
        "withdrawn_at": ctx.now,
        "withdrawn_by_name": ctx.actor.name,
        "withdrawn_reason": body.reason,
    }
    withdrawn = approval.model_copy(update=changes)
    if not store.withdraw_approval(ctx.conn, withdrawn):
        raise ApprovalClosed(f"{approval.id} was decided by somebody else just now.", hint="Look at it again.")
    _record(ctx, withdrawn)
    return withdrawn


def _get_locked(ctx: Context, approval_id: str) -> Approval:
    approval = get_approval(ctx, approval_id)
    lock_approvals(ctx, approval.release_id, approval.environment)
    return get_approval(ctx, approval_id)


def _closed(approval: Approval) -> ApprovalClosed:
    closed_at = approval.expires_at
    if approval.state != "expired":
        closed_at = approval.withdrawn_at or approval.decided_at or approval.expires_at
    return ApprovalClosed(
        f"{approval.id} is {approval.state} since {closed_at:%Y-%m-%d %H:%M} UTC.",
        hint=f"Ask anew: tidemill releases request {approval.release} --env {approval.environment}",
    )


def get_approval(ctx: Context, approval_id: str) -> Approval:
    """Return one approval in its present state. Raises ApprovalNotFound."""
    approval = store.find_approval(ctx.conn, approval_id)
    if approval is None:
        raise ApprovalNotFound(
            f"There is no approval {approval_id!r}.", hint="`tidemill releases approvals` lists them."
        )
    return _refresh(ctx, approval)


def list_approvals(
    ctx: Context,
    *,
    release: str | None = None,
    environment: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Approval]:
    """Return approvals in their present state, newest first."""
    release_id = get_release(ctx, release).id if release is not None else None
    approvals = store.list_approvals(
        ctx.conn, release_id=release_id, environment=environment, before=cursor, limit=limit + 1
    )
    return page([_refresh(ctx, a) for a in approvals], limit)


def check_clearance(ctx: Context, ref: str, environment: str) -> Clearance:
    """Return whether a release may go to an environment now, and if not, why not."""
    release, policy = get_release(ctx, ref), get_policy(environment)
    verdict, results = get_verdict(ctx, release)
    approvals = _list_current(ctx, release, environment)
    approval = _newest_decision(approvals)
    approved = approval is not None and approval.state == "approved"
    live_since = ctx.kernel.get(LiveReleases).find_since(ctx, release.id, environment)
    reasons = []
    if policy.approval and not approved:
        reasons.append(_unapproved(release, environment, approval, live_since))
    if policy.gate and verdict != "pass" and not _overridden(approval, verdict, results):
        reasons.append(
            f"The gates say {verdict} of {release.ref}: {_summarize_failures(results)}"
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
        live_since=live_since,
    )


def _newest_decision(approvals: list[Approval]) -> Approval | None:
    """Return the approval that was decided last: one ends with the next rejection or withdrawal.

    Without a decision it is the newest request. One that lapsed ends none that was given before it and still holds.
    """
    decided = sorted((a.withdrawn_at or a.decided_at, a.id, a) for a in approvals if a.decided_at is not None)
    if not decided:
        return approvals[0] if approvals else None
    standing = next((a for _, _, a in reversed(decided) if a.state != "expired"), None)
    return standing if standing is not None and standing.state == "approved" else decided[-1][2]


def _overridden(approval: Approval | None, verdict: Verdict | None, results: list[GateResult]) -> bool:
    """Return whether an override covers this verdict: it covers what the approver saw, not what a gate said later."""
    if approval is None or approval.state != "approved" or approval.override is None:
        return False
    unpassed = {result.id for result in results if result.verdict != "pass"}
    return approval.verdict == verdict and unpassed <= set(approval.gate_results)


def _unapproved(release: Release, environment: str, approval: Approval | None, live_since: datetime | None) -> str:
    if approval is None:
        return f"Nobody has asked for approval: tidemill releases request {release.ref} --env {environment}"
    if approval.state == "pending":
        return f"{approval.id} waits for a decision by another person than {approval.requested_by_name}."
    if approval.state == "rejected":
        return f"{approval.decided_by_name} rejected it: {approval.reason}"
    if approval.state == "withdrawn":
        text = f"{approval.withdrawn_by_name} withdrew the approval at {approval.withdrawn_at:%Y-%m-%d %H:%M} UTC"
        return f"{text}: {approval.withdrawn_reason}.{_say_live(release, environment, live_since)}"
    lapsed = f"{approval.id} lapsed at {approval.expires_at:%Y-%m-%d %H:%M} UTC; ask anew."
    return lapsed + _say_live(release, environment, live_since)


def _say_live(release: Release, environment: str, since: datetime | None) -> str:
    if since is None:
        return ""
    undo = f"tidemill rollback {environment} --name {release.name}"
    return f" It is live in {environment} since {since:%Y-%m-%d %H:%M} UTC; roll back with: {undo}"


def _list_current(ctx: Context, release: Release, environment: str) -> list[Approval]:
    approvals = store.list_approvals(ctx.conn, release_id=release.id, environment=environment)
    return [_refresh(ctx, a) for a in approvals]


def _refresh(ctx: Context, approval: Approval) -> Approval:
    """Return the approval as `expired` after its time, and a pending one with the gates' present verdict."""
    if approval.state in ("pending", "approved") and approval.expires_at <= ctx.now:
        return approval.model_copy(update={"state": "expired"})
    if approval.state != "pending":
        return approval
    verdict, results = get_verdict(ctx, get_release(ctx, approval.release_id))
    return approval.model_copy(update={"verdict": verdict, "gate_results": [r.id for r in results]})


def _summarize_failures(results: list[GateResult]) -> str:
    return " ".join(f"{r.gate}: {r.summary}" for r in results if r.verdict != "pass") or "no gate was evaluated."


def _record(ctx: Context, approval: Approval) -> None:
    withdrawn = approval.state == "withdrawn"
    facts = {
        "environment": approval.environment,
        "state": approval.state,
        "by": approval.withdrawn_by_name if withdrawn else approval.decided_by_name,
        "reason": approval.withdrawn_reason if withdrawn else approval.reason,
        "override": approval.override,
        "verdict": approval.verdict,
    }
    label = f"{approval.environment}: {approval.state}"
    parents = [(approval.release_id, "decides_on"), *((r, "with_verdict") for r in approval.gate_results)]
    lineage.record(ctx, lineage.LineageNode(id=approval.id, kind="approval", label=label, facts=facts), parents)
    events.emit(ctx, f"approval.{approval.state}", approval.release_id, {"approval": approval.id, **facts})
