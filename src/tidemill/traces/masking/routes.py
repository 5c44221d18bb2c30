"""The routes of masking."""

from fastapi import APIRouter

from tidemill.core.web import RequestContext, role
from tidemill.traces.masking import service
from tidemill.traces.types.masking import Masked, Masking, MaskingRule, MaskingRuleCreate, MaskingTry

router = APIRouter(prefix="/api/masking", tags=["traces"])


@router.get("", openapi_extra=role("viewer"))
def state(request: RequestContext) -> Masking:
    """Return what is masked in spans before they are stored."""
    return request.read(service.state)


@router.post("/rules", status_code=201, openapi_extra=role("admin"))
def create(body: MaskingRuleCreate, request: RequestContext) -> MaskingRule:
    """Mask something in every span that comes in from now on."""
    return request.write(service.create, body)


@router.delete("/rules/{rule_id}", status_code=204, openapi_extra=role("admin"))
def remove(rule_id: str, request: RequestContext) -> None:
    """Remove a rule."""
    request.write(service.remove, rule_id)


@router.post("/try", openapi_extra=role("viewer"))
def attempt(body: MaskingTry, request: RequestContext) -> Masked:
    """Return a text as the present rules would store it."""
    return request.read(service.attempt, body)
