"""The routes of triggers and firings."""

from fastapi import APIRouter, Response

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Name, Page
from tidemill.triggers import service
from tidemill.triggers.types import Firing, FiringSettle, ManualFire, Trigger, TriggerPut, TriggerStatus

router = APIRouter(prefix="/api", tags=["triggers"])


@router.put("/triggers/{name}", openapi_extra=role("developer"))
def put_trigger(name: Name, body: TriggerPut, request: RequestContext) -> Trigger:
    """Make or change a trigger."""
    return request.write(service.put, name, body)


@router.get("/triggers", openapi_extra=role("viewer"))
def list_triggers(request: RequestContext) -> Page[Trigger]:
    """Every trigger, by name."""
    return request.read(service.list_triggers)


@router.get("/triggers/{name}", openapi_extra=role("viewer"))
def trigger_status(name: str, request: RequestContext) -> TriggerStatus:
    """The status of a trigger: its conditions, cooldown and budget."""
    return request.read(service.get_status, name)


@router.delete("/triggers/{name}", status_code=204, openapi_extra=role("developer"))
def remove_trigger(name: str, request: RequestContext) -> None:
    """Delete a trigger; its firings stay on record."""
    request.write(service.remove, name)


@router.get("/triggers/{name}/firings", openapi_extra=role("viewer"))
def list_firings(name: str, request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Firing]:
    """When a trigger fired and why, newest first."""
    return request.read(service.list_firings, name, cursor=cursor, limit=limit)


@router.post("/triggers/{name}/fire", status_code=201, openapi_extra=role("developer"))
def fire(name: str, body: ManualFire, request: RequestContext) -> Firing:
    """Fire by hand, which stands in for the quality condition."""
    return request.write(service.fire, name, body)


@router.post("/triggers/{name}/turn", status_code=201, deprecated=True, openapi_extra=role("developer"))
def turn(name: str, body: ManualFire, request: RequestContext, response: Response) -> Firing:
    """The same as `fire`, under its name of version 0.1."""
    response.headers["Deprecation"] = "true"
    return request.write(service.fire, name, body)


@router.post("/firings/{firing_id}/settle", openapi_extra=role("developer"))
def settle_firing(firing_id: str, body: FiringSettle, request: RequestContext) -> Firing:
    """Write which run a firing became and how many minutes that took."""
    return request.write(service.settle_firing, firing_id, body)
