"""The routes of retirements."""

from fastapi import APIRouter

from tidemill.core.web import Entry, role
from tidemill.core.wire import Page
from tidemill.deployments.retirements import service
from tidemill.deployments.retirements.types import Retirement, RetirementCreate, RetirementPage

router = APIRouter(prefix="/retirements")


@router.post("", status_code=201, openapi_extra=role("developer"))
def announce(body: RetirementCreate, door: Entry) -> Page[Retirement]:
    """Announce that a name goes out of service, in one environment or in all that serve it."""
    return door.work(service.announce, body)


@router.get("", openapi_extra=role("viewer"))
def listing(door: Entry) -> Page[Retirement]:
    """Names that go out of service or are gone, newest first."""
    return door.look(service.listing)


@router.get("/{environment}/{name}", openapi_extra=role("viewer"))
def show(environment: str, name: str, door: Entry) -> RetirementPage:
    """One retirement and who still asks."""
    return door.look(service.show, f"{environment}/{name}")


@router.delete("/{environment}/{name}", openapi_extra=role("developer"))
def cancel(environment: str, name: str, door: Entry) -> Retirement:
    """Take it back."""
    return door.work(service.cancel, f"{environment}/{name}")
