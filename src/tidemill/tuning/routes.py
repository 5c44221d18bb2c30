"""The routes of tuning."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.jobs.types import Job
from tidemill.tuning import service
from tidemill.tuning.types import CompressSubmit, RunState, StepPage, TuneSubmit, TuningRun

router = APIRouter(prefix="/api/tuning", tags=["tuning"])


@router.post("/runs", status_code=201, openapi_extra=role("developer"))
def submit(body: TuneSubmit, request: RequestContext) -> TuningRun:
    """Ask for a tuning run."""
    return request.write(service.submit, body)


@router.get("/runs", openapi_extra=role("viewer"))
def list_runs(
    request: RequestContext, state: RunState | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[TuningRun]:
    """Tuning runs, newest first."""
    return request.read(service.list_runs, state=state, cursor=cursor, limit=limit)


@router.get("/runs/{run_id}", openapi_extra=role("viewer"))
def get(run_id: str, request: RequestContext) -> TuningRun:
    """One run: its state, its outputs and the parity proof."""
    return request.read(service.get, run_id)


@router.get("/runs/{run_id}/steps", openapi_extra=role("viewer"))
def steps(
    run_id: str,
    request: RequestContext,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> StepPage:
    """Records of the step log after a step: loss, tokens per second, time left, evaluations."""
    return request.read(service.steps, run_id, after=after, limit=limit)


@router.post("/runs/{run_id}/cancel", openapi_extra=role("developer"))
def cancel(run_id: str, request: RequestContext) -> TuningRun:
    """Ask for the end of a run; its checkpoints stay."""
    return request.write(service.cancel, run_id)


@router.post("/runs/{run_id}/resume", openapi_extra=role("developer"))
def resume(run_id: str, request: RequestContext) -> TuningRun:
    """Let a failed or cancelled run go on from its newest checkpoint."""
    return request.write(service.resume, run_id)


@router.post("/compress", status_code=201, openapi_extra=role("developer"))
def compress(body: CompressSubmit, request: RequestContext) -> Job:
    """Ask for smaller files of a tuned version, each with its parity proof."""
    return request.write(service.compress, body)
