"""The routes of retirements."""

from fastapi import APIRouter

from tidemill.core.web import RequestContext, role
from tidemill.core.wire import Page
from tidemill.deployments.retirements import service
from tidemill.deployments.retirements.types import Retirement, RetirementCreate, RetirementPage

router = APIRouter(prefix="/retirements")


@router.post("", status_code=201, openapi_extra=role("developer"))
def announce(body: RetirementCreate, request: RequestContext) -> Page[Retirement]:
    """Announce that a name goes out of service, in one environment or in all that serve it."""
    return request.write(service.announce, body)


@router.get("", openapi_extra=role("viewer"))
def list_retirements(request: RequestContext) -> Page[Retirement]:
    """Retirements, newest first."""
    return request.read(service.list_retirements)


@router.get("/{environment}/{name}", openapi_extra=role("viewer"))
def show(environment: str, name: str, request: RequestContext) -> RetirementPage:
    """One retirement and its callers."""
    return request.read(service.get_page, f"{environment}/{name}")


@router.delete("/{environment}/{name}", openapi_extra=role("developer"))
def cancel(environment: str, name: str, request: RequestContext) -> Retirement:
    """Cancel a retirement."""
    return request.write(service.cancel, f"{environment}/{name}")
