"""The routes of drift monitors."""

from fastapi import APIRouter

from tidemill.core.jobs.types import Job
from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page
from tidemill.monitors.drift import service
from tidemill.monitors.drift.types import DriftMonitor, DriftMonitorCreate, DriftReport

router = APIRouter(prefix="/api/drift", tags=["monitors"])


@router.post("/monitors", status_code=201, openapi_extra=role("developer"))
def create(body: DriftMonitorCreate, door: Entry) -> DriftMonitor:
    """Begin to watch for drift."""
    return door.work(service.create_monitor, body)


@router.get("/monitors", openapi_extra=role("viewer"))
def listing(door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[DriftMonitor]:
    """Every drift monitor, by name."""
    return door.look(service.list_monitors, cursor=cursor, limit=limit)


@router.get("/monitors/{ref}", openapi_extra=role("viewer"))
def get(ref: str, door: Entry) -> DriftMonitor:
    """One drift monitor, by name or id."""
    return door.look(service.get_monitor, ref)


@router.delete("/monitors/{ref}", openapi_extra=role("developer"))
def remove(ref: str, door: Entry) -> DriftMonitor:
    """Watch no longer; the reports stay."""
    return door.work(service.remove_monitor, ref)


@router.post("/monitors/{ref}/check", openapi_extra=role("developer"))
def check(ref: str, door: Entry) -> DriftReport:
    """Compare now and wait for the report: some seconds, more when many new texts must be embedded."""
    monitor = door.look(service.get_monitor, ref)
    return service.check(door.kernel, door.actor, monitor)


@router.post("/monitors/{ref}/jobs", status_code=202, openapi_extra=role("developer"))
def submit(ref: str, door: Entry) -> Job:
    """Compare in a job that survives a crash."""
    return door.work(service.submit_check, ref)


@router.get("/monitors/{ref}/report", openapi_extra=role("viewer"))
def newest(ref: str, door: Entry) -> DriftReport:
    """The newest report of a monitor."""
    return door.look(service.newest_report, ref)


@router.get("/monitors/{ref}/reports", openapi_extra=role("viewer"))
def reports(ref: str, door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[DriftReport]:
    """The reports of a monitor, newest first."""
    return door.look(service.list_reports, ref, cursor=cursor, limit=limit)


@router.get("/reports/{report_id}", openapi_extra=role("viewer"))
def report(report_id: str, door: Entry) -> DriftReport:
    """One report."""
    return door.look(service.get_report, report_id)
