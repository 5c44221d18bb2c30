"""The routes of SLOs."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Name, Page
from tidemill.slos import service
from tidemill.slos.types import Slo, SloPut, SloStatus

router = APIRouter(prefix="/api", tags=["slos"])


@router.put("/slos/{name}", openapi_extra=role("developer"))
def put_slo(name: Name, body: SloPut, request: RequestContext) -> Slo:
    """Make or change an SLO."""
    return request.write(service.put, name, body)


@router.get("/slos", openapi_extra=role("observer"))
def list_slos(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Slo]:
    """SLOs by name."""
    return request.read(service.list_slos, cursor=cursor, limit=limit)


@router.get("/slos/{name}", openapi_extra=role("observer"))
def slo_status(name: str, request: RequestContext) -> SloStatus:
    """Where an SLO stands now: share, error budget, burn rates."""
    return request.read(service.get_status, name)


@router.delete("/slos/{name}", status_code=204, openapi_extra=role("developer"))
def remove_slo(name: str, request: RequestContext) -> None:
    """Delete an SLO; its alerts are resolved."""
    request.write(service.remove, name)
