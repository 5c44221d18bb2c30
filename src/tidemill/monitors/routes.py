"""The routes of the overview of monitors."""

from fastapi import APIRouter

from tidemill.core.web import RequestContext, role
from tidemill.core.wire import Page
from tidemill.monitors import service
from tidemill.monitors.types import MonitorCheck, MonitorState

router = APIRouter(prefix="/api", tags=["monitors"])


@router.get("/monitors", openapi_extra=role("viewer"))
def list_monitors(request: RequestContext) -> Page[MonitorState]:
    """Every SLO, KPI and drift monitor with the result of its last check."""
    return request.read(service.list_monitors)


@router.post("/monitors/{name}/check", openapi_extra=role("developer"))
def check(name: str, request: RequestContext) -> MonitorCheck:
    """Check everything of this name now, and open or resolve alerts."""
    return service.check(request.kernel, request.actor, name)
