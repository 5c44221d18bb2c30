"""The routes of the overview of monitors."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from tidemill.core.web import RequestContext, role
from tidemill.core.wire import Page
from tidemill.monitors import service
from tidemill.monitors.types import MonitorCheck, MonitorState

DriftAsJob = Annotated[bool, Query(description="Check for drift in a job, `drift_job`, and do not wait for it.")]

router = APIRouter(prefix="/api", tags=["monitors"])


@router.get("/monitors", openapi_extra=role("viewer"))
def list_monitors(request: RequestContext) -> Page[MonitorState]:
    """Every SLO, KPI and drift monitor with the result of its last check."""
    return request.read(service.list_monitors)


@router.post("/monitors/{name}/check", openapi_extra=role("developer"))
def check(name: str, request: RequestContext, response: Response, drift_as_job: DriftAsJob = False) -> MonitorCheck:
    """Check everything of this name now, and open or resolve alerts. 202 when a job goes on with it."""
    checked = service.check(request.kernel, request.actor, name, drift_as_job=drift_as_job)
    response.status_code = 200 if checked.drift_job is None else 202
    return checked
