"""The routes of tuning."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.jobs.types import Job
from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page
from tidemill.tuning import service
from tidemill.tuning.types import CompressSubmit, RunState, StepPage, TuneSubmit, TuningRun

router = APIRouter(prefix="/api/tuning", tags=["tuning"])


@router.post("/runs", status_code=201, openapi_extra=role("developer"))
def submit(body: TuneSubmit, door: Entry) -> TuningRun:
    """Ask for a tuning run."""
    return door.work(service.submit, body)


@router.get("/runs", openapi_extra=role("viewer"))
def listing(door: Entry, state: RunState | None = None, cursor: Cursor = None, limit: Limit = 50) -> Page[TuningRun]:
    """Runs, newest first."""
    return door.look(service.listing, state=state, cursor=cursor, limit=limit)


@router.get("/runs/{run_id}", openapi_extra=role("viewer"))
def get(run_id: str, door: Entry) -> TuningRun:
    """One run: how it stands, what it made, and the parity proof."""
    return door.look(service.get, run_id)


@router.get("/runs/{run_id}/steps", openapi_extra=role("viewer"))
def steps(
    run_id: str, door: Entry, after: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=5000)] = 500
) -> StepPage:
    """Lines of the books after a step: loss, tokens per second, time left, evaluations."""
    return door.look(service.steps, run_id, after=after, limit=limit)


@router.post("/runs/{run_id}/cancel", openapi_extra=role("developer"))
def cancel(run_id: str, door: Entry) -> TuningRun:
    """Ask for the end of a run; its checkpoints stay."""
    return door.work(service.cancel, run_id)


@router.post("/runs/{run_id}/resume", openapi_extra=role("developer"))
def resume(run_id: str, door: Entry) -> TuningRun:
    """Let a failed or cancelled run go on from its newest checkpoint."""
    return door.work(service.resume, run_id)


@router.post("/compress", status_code=201, openapi_extra=role("developer"))
def compress(body: CompressSubmit, door: Entry) -> Job:
    """Ask for smaller files of a tuned version, each with its parity proof."""
    return door.work(service.compress, body)
