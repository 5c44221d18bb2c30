"""The routes of online evaluators."""

from fastapi import APIRouter

from tidemill.core.web import RequestContext, role
from tidemill.core.wire import Page
from tidemill.evals.online import service
from tidemill.evals.types import OnlineChange, OnlineCreate, OnlineEvaluator

router = APIRouter(prefix="/api/evals/online", tags=["evals"])


@router.post("", status_code=201, openapi_extra=role("developer"))
def create(body: OnlineCreate, request: RequestContext) -> OnlineEvaluator:
    """Run a scorer on a share of live traffic from now on."""
    return request.write(service.create, body)


@router.get("", openapi_extra=role("viewer"))
def list_evaluators(request: RequestContext) -> Page[OnlineEvaluator]:
    """Every online evaluator, by name."""
    return request.read(service.list_evaluators)


@router.get("/{name}", openapi_extra=role("viewer"))
def get(name: str, request: RequestContext) -> OnlineEvaluator:
    """One online evaluator with its counts."""
    return request.read(service.get, name)


@router.patch("/{name}", openapi_extra=role("developer"))
def change(name: str, body: OnlineChange, request: RequestContext) -> OnlineEvaluator:
    """Pause, resume, or change share, budget or note."""
    return request.write(service.change, name, body)


@router.delete("/{name}", openapi_extra=role("developer"))
def delete(name: str, request: RequestContext) -> OnlineEvaluator:
    """Remove an online evaluator; its scores stay."""
    return request.write(service.delete, name)
