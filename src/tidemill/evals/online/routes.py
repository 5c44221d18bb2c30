"""The routes of online evaluators."""

from fastapi import APIRouter

from tidemill.core.web import Entry, role
from tidemill.core.wire import Page
from tidemill.evals.online import service
from tidemill.evals.types import OnlineChange, OnlineCreate, OnlineEvaluator

router = APIRouter(prefix="/api/evals/online", tags=["evals"])


@router.post("", status_code=201, openapi_extra=role("developer"))
def create(body: OnlineCreate, door: Entry) -> OnlineEvaluator:
    """Run a scorer on a share of live traffic from now on."""
    return door.work(service.create, body)


@router.get("", openapi_extra=role("viewer"))
def listing(door: Entry) -> Page[OnlineEvaluator]:
    """Every online evaluator, by name."""
    return door.look(service.listing)


@router.get("/{name}", openapi_extra=role("viewer"))
def get(name: str, door: Entry) -> OnlineEvaluator:
    """One online evaluator with its counts."""
    return door.look(service.get, name)


@router.patch("/{name}", openapi_extra=role("developer"))
def change(name: str, body: OnlineChange, door: Entry) -> OnlineEvaluator:
    """Pause, resume, or change share, budget or note."""
    return door.work(service.change, name, body)


@router.delete("/{name}", openapi_extra=role("developer"))
def delete(name: str, door: Entry) -> OnlineEvaluator:
    """Remove an online evaluator; its scores stay."""
    return door.work(service.delete, name)
