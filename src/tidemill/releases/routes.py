"""The routes of releases, gates and approvals."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.releases import service
from tidemill.releases.types import (
    Approval,
    ApprovalDecision,
    ApprovalRequest,
    ApprovalWithdrawal,
    Clearance,
    EvidencePage,
    Gate,
    GateCreate,
    GateEvaluate,
    GateResult,
    Release,
    ReleaseCreate,
    ReleaseDiff,
)

router = APIRouter(prefix="/api", tags=["releases"])


@router.post("/releases", status_code=201, openapi_extra=role("developer"))
def create_release(body: ReleaseCreate, request: RequestContext) -> Release:
    """Freeze a release. Returns the existing release for the same content."""
    return request.write(service.create_release, body)


@router.get("/releases", openapi_extra=role("viewer"))
def list_releases(
    request: RequestContext, name: str | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[Release]:
    """Releases, newest first."""
    return request.read(service.list_releases, name=name, cursor=cursor, limit=limit)


@router.get("/releases/{ref}", openapi_extra=role("viewer"))
def get_release(ref: str, request: RequestContext) -> Release:
    """One release: `name`, `name@3` or an id."""
    return request.read(service.get_release, ref)


@router.get("/releases/{ref}/diff", openapi_extra=role("viewer"))
def diff(ref: str, after: str, request: RequestContext) -> ReleaseDiff:
    """What differs between this release and another."""
    return request.read(service.diff, ref, after)


@router.get("/releases/{ref}/evidence", openapi_extra=role("viewer"))
def evidence(ref: str, request: RequestContext) -> EvidencePage:
    """The evidence page of a release, as Markdown."""
    return request.read(service.render_evidence, ref)


@router.get("/releases/{ref}/verdicts", openapi_extra=role("viewer"))
def verdicts(ref: str, request: RequestContext) -> Page[GateResult]:
    """Every gate's verdict on a release, newest first."""
    return request.read(service.list_results, ref)


@router.get("/releases/{ref}/clearance/{environment}", openapi_extra=role("viewer"))
def clearance(ref: str, environment: str, request: RequestContext) -> Clearance:
    """Whether a release may go to an environment, and if not, why not."""
    return request.read(service.check_clearance, ref, environment)


@router.post("/gates", status_code=201, openapi_extra=role("developer"))
def declare_gate(body: GateCreate, request: RequestContext) -> Gate:
    """Declare a gate before its evaluation."""
    return request.write(service.declare_gate, body)


@router.get("/gates", openapi_extra=role("viewer"))
def list_gates(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Gate]:
    """Gates, newest first."""
    return request.read(service.list_gates, cursor=cursor, limit=limit)


@router.get("/gates/{ref}", openapi_extra=role("viewer"))
def get_gate(ref: str, request: RequestContext) -> Gate:
    """One gate: `name`, `name@3` or an id."""
    return request.read(service.get_gate, ref)


@router.post("/gate-results", status_code=201, openapi_extra=role("developer"))
def evaluate_gate(body: GateEvaluate, request: RequestContext) -> GateResult:
    """Judge a release by a gate on two finished eval runs."""
    return request.write_after(service.draft_verdict, service.evaluate_gate, body)


@router.post("/approvals", status_code=201, openapi_extra=role("developer"))
def request_approval(body: ApprovalRequest, request: RequestContext) -> Approval:
    """Request approval of a release for an environment."""
    return request.write(service.request_approval, body)


@router.get("/approvals", openapi_extra=role("viewer"))
def list_approvals(
    request: RequestContext,
    release: str | None = None,
    environment: str | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Approval]:
    """Approvals in their present state, newest first."""
    return request.read(service.list_approvals, release=release, environment=environment, cursor=cursor, limit=limit)


@router.get("/approvals/{approval_id}", openapi_extra=role("viewer"))
def get_approval(approval_id: str, request: RequestContext) -> Approval:
    """An approval: who asked, what the gates said, who decided and why."""
    return request.read(service.get_approval, approval_id)


@router.post("/approvals/{approval_id}/decision", openapi_extra=role("approver"))
def decide_approval(approval_id: str, body: ApprovalDecision, request: RequestContext) -> Approval:
    """Approve or reject, by another person than the requester."""
    return request.write(service.decide_approval, approval_id, body)


@router.post("/approvals/{approval_id}/withdrawal", openapi_extra=role("approver"))
def withdraw_approval(approval_id: str, body: ApprovalWithdrawal, request: RequestContext) -> Approval:
    """Take back a request or an approval: the release is promoted no further there; what is live stays live."""
    return request.write(service.withdraw_approval, approval_id, body)
