"""The routes of drift monitors."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.drift import service
from tidemill.drift.types import DriftMonitor, DriftMonitorCreate, DriftReport
from tidemill.jobs.types import Job

router = APIRouter(prefix="/api/drift", tags=["drift"])


@router.post("/monitors", status_code=201, openapi_extra=role("developer"))
def create(body: DriftMonitorCreate, request: RequestContext) -> DriftMonitor:
    """Create a drift monitor."""
    return request.write(service.create_monitor, body)


@router.get("/monitors", openapi_extra=role("viewer"))
def list_monitors(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[DriftMonitor]:
    """Every drift monitor, by name."""
    return request.read(service.list_monitors, cursor=cursor, limit=limit)


@router.get("/monitors/{ref}", openapi_extra=role("viewer"))
def get(ref: str, request: RequestContext) -> DriftMonitor:
    """One drift monitor, by name or id."""
    return request.read(service.get_monitor, ref)


@router.delete("/monitors/{ref}", openapi_extra=role("developer"))
def remove(ref: str, request: RequestContext) -> DriftMonitor:
    """Remove a drift monitor; its reports stay."""
    return request.write(service.remove_monitor, ref)


@router.post("/monitors/{ref}/check", openapi_extra=role("developer"))
def check(ref: str, request: RequestContext) -> DriftReport:
    """Compare now and wait for the report: some seconds, more when many new texts must be embedded."""
    monitor = request.read(service.get_monitor, ref)
    return service.check(request.kernel, request.actor, monitor)


@router.post("/monitors/{ref}/jobs", status_code=202, openapi_extra=role("developer"))
def submit(ref: str, request: RequestContext) -> Job:
    """Compare in a durable job."""
    return request.write(service.submit_check, ref)


@router.get("/monitors/{ref}/report", openapi_extra=role("viewer"))
def newest(ref: str, request: RequestContext) -> DriftReport:
    """The newest report of a monitor."""
    return request.read(service.newest_report, ref)


@router.get("/monitors/{ref}/reports", openapi_extra=role("viewer"))
def reports(ref: str, request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[DriftReport]:
    """The reports of a monitor, newest first."""
    return request.read(service.list_reports, ref, cursor=cursor, limit=limit)


@router.get("/reports/{report_id}", openapi_extra=role("viewer"))
def report(report_id: str, request: RequestContext) -> DriftReport:
    """A drift report: its tests, its clusters and the verdict."""
    return request.read(service.get_report, report_id)
