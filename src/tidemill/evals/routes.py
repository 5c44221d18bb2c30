"""The routes of evaluation."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.evals import service
from tidemill.evals.types import (
    Comparison,
    ComparisonSpec,
    EvalItem,
    EvalPlan,
    EvalPlanRequest,
    EvalResult,
    EvalRun,
    EvalSet,
    EvalSetCreate,
    RunCreate,
)

router = APIRouter(prefix="/api/evals", tags=["evals"])


@router.post("/sets", status_code=201, openapi_extra=role("developer"))
def create_set(body: EvalSetCreate, request: RequestContext) -> EvalSet:
    """Make an eval set out of one split of a dataset version."""
    return request.write_after(service.prepare_items, service.create_set, body)


@router.get("/sets", openapi_extra=role("viewer"))
def list_sets(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[EvalSet]:
    """Eval sets, newest first."""
    return request.read(service.list_sets, cursor=cursor, limit=limit)


@router.get("/sets/{ref}", openapi_extra=role("viewer"))
def get_set(ref: str, request: RequestContext) -> EvalSet:
    """One eval set: `name`, `name@3` or an id."""
    return request.read(service.get_set, ref)


@router.get("/sets/{ref}/items", openapi_extra=role("viewer"))
def set_items(ref: str, request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[EvalItem]:
    """The items of an eval set, in order."""
    return request.read(service.list_items, ref, cursor=cursor, limit=limit)


@router.post("/plan", openapi_extra=role("viewer"))
def plan(body: EvalPlanRequest, request: RequestContext) -> EvalPlan:
    """What an eval set can see, before anything is run."""
    return request.read(service.plan, body)


@router.post("/runs", status_code=201, openapi_extra=role("developer"))
def create_run(body: RunCreate, request: RequestContext) -> EvalRun:
    """Start a run as a durable job."""
    return request.write(service.create_run, body)


@router.get("/runs", openapi_extra=role("viewer"))
def list_runs(
    request: RequestContext, eval_set: str | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[EvalRun]:
    """Runs, newest first."""
    return request.read(service.list_runs, eval_set=eval_set, cursor=cursor, limit=limit)


@router.get("/runs/{run_id}", openapi_extra=role("viewer"))
def get_run(run_id: str, request: RequestContext) -> EvalRun:
    """One run with its figures."""
    return request.read(service.get_run, run_id)


@router.get("/runs/{run_id}/results", openapi_extra=role("viewer"))
def results(
    run_id: str, request: RequestContext, failed: bool | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[EvalResult]:
    """The answers and failures of a run, in the order of its items."""
    return request.read(service.list_results, run_id, failed=failed, cursor=cursor, limit=limit)


@router.post("/comparisons", status_code=201, openapi_extra=role("developer"))
def compare(body: ComparisonSpec, request: RequestContext) -> Comparison:
    """The verdict on two runs, stored with its evidence."""
    return request.write_after(service.draft, service.compare, body)


@router.get("/comparisons", openapi_extra=role("viewer"))
def comparisons(
    request: RequestContext, run_id: str | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[Comparison]:
    """Comparisons, newest first."""
    return request.read(service.list_comparisons, run_id=run_id, cursor=cursor, limit=limit)


@router.get("/comparisons/{comparison_id}", openapi_extra=role("viewer"))
def get_comparison(comparison_id: str, request: RequestContext) -> Comparison:
    """A stored comparison with its evidence."""
    return request.read(service.get_comparison, comparison_id)
