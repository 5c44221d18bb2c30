"""The routes of releases, gates and approvals."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page
from tidemill.releases import service
from tidemill.releases.types import (
    Approval,
    ApprovalDecision,
    ApprovalRequest,
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
def create_release(body: ReleaseCreate, door: Entry) -> Release:
    """Freeze a release. The same content gives the release that is there."""
    return door.work(service.create_release, body)


@router.get("/releases", openapi_extra=role("viewer"))
def list_releases(door: Entry, name: str | None = None, cursor: Cursor = None, limit: Limit = 50) -> Page[Release]:
    """Releases, newest first."""
    return door.look(service.list_releases, name=name, cursor=cursor, limit=limit)


@router.get("/releases/{ref}", openapi_extra=role("viewer"))
def get_release(ref: str, door: Entry) -> Release:
    """One release: `name`, `name@3` or an id."""
    return door.look(service.get_release, ref)


@router.get("/releases/{ref}/diff", openapi_extra=role("viewer"))
def diff(ref: str, after: str, door: Entry) -> ReleaseDiff:
    """What differs between this release and another."""
    return door.look(service.diff, ref, after)


@router.get("/releases/{ref}/evidence", openapi_extra=role("viewer"))
def evidence(ref: str, door: Entry) -> EvidencePage:
    """Everything known about a release, as Markdown."""
    return door.look(service.evidence, ref)


@router.get("/releases/{ref}/verdicts", openapi_extra=role("viewer"))
def verdicts(ref: str, door: Entry) -> Page[GateResult]:
    """Every gate's verdict on a release, newest first."""
    return door.look(service.results_of, ref)


@router.get("/releases/{ref}/clearance/{environment}", openapi_extra=role("viewer"))
def clearance(ref: str, environment: str, door: Entry) -> Clearance:
    """Whether a release may go to an environment, and if not, why not."""
    return door.look(service.clearance, ref, environment)


@router.post("/gates", status_code=201, openapi_extra=role("developer"))
def declare_gate(body: GateCreate, door: Entry) -> Gate:
    """Declare a gate before its evaluation."""
    return door.work(service.declare_gate, body)


@router.get("/gates", openapi_extra=role("viewer"))
def list_gates(door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[Gate]:
    """Gates, newest first."""
    return door.look(service.list_gates, cursor=cursor, limit=limit)


@router.get("/gates/{ref}", openapi_extra=role("viewer"))
def get_gate(ref: str, door: Entry) -> Gate:
    """One gate: `name`, `name@3` or an id."""
    return door.look(service.get_gate, ref)


@router.post("/gate-results", status_code=201, openapi_extra=role("developer"))
def evaluate_gate(body: GateEvaluate, door: Entry) -> GateResult:
    """Judge a release by a gate on two finished eval runs."""
    return door.work_after(service.draft_verdict, service.evaluate_gate, body)


@router.post("/approvals", status_code=201, openapi_extra=role("developer"))
def request_approval(body: ApprovalRequest, door: Entry) -> Approval:
    """Ask that a release may go to an environment."""
    return door.work(service.request_approval, body)


@router.get("/approvals", openapi_extra=role("viewer"))
def list_approvals(
    door: Entry,
    release: str | None = None,
    environment: str | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Approval]:
    """Approvals as they stand now, newest first."""
    return door.look(service.list_approvals, release=release, environment=environment, cursor=cursor, limit=limit)


@router.get("/approvals/{approval_id}", openapi_extra=role("viewer"))
def get_approval(approval_id: str, door: Entry) -> Approval:
    """One approval."""
    return door.look(service.get_approval, approval_id)


@router.post("/approvals/{approval_id}/decision", openapi_extra=role("approver"))
def decide_approval(approval_id: str, body: ApprovalDecision, door: Entry) -> Approval:
    """Approve or reject, by another person than the requester."""
    return door.work(service.decide_approval, approval_id, body)
