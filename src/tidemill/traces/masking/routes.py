"""The routes of masking."""

from fastapi import APIRouter

from tidemill.core.web import Entry, role
from tidemill.traces.masking import service
from tidemill.traces.types.masking import Masked, Masking, MaskingRule, MaskingRuleCreate, MaskingTry

router = APIRouter(prefix="/api/masking", tags=["traces"])


@router.get("", openapi_extra=role("viewer"))
def state(door: Entry) -> Masking:
    """What is taken out of spans before they are stored."""
    return door.look(service.state)


@router.post("/rules", status_code=201, openapi_extra=role("admin"))
def create(body: MaskingRuleCreate, door: Entry) -> MaskingRule:
    """Take something out of every span that comes in from now on."""
    return door.work(service.create, body)


@router.delete("/rules/{rule_id}", status_code=204, openapi_extra=role("admin"))
def remove(rule_id: str, door: Entry) -> None:
    """Take a rule away."""
    door.work(service.remove, rule_id)


@router.post("/try", openapi_extra=role("viewer"))
def attempt(body: MaskingTry, door: Entry) -> Masked:
    """What the rules would make of a text."""
    return door.look(service.attempt, body)
