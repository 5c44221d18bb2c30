"""The routes of jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.jobs.types import Job, JobLog, JobState, SignalSend
from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.get("", openapi_extra=role("viewer"))
def list_jobs(
    door: Entry,
    kind: str | None = None,
    state: JobState | None = None,
    subject: str | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Job]:
    """Jobs, newest first."""
    return door.look(door.kernel.jobs.list, kind=kind, state=state, subject=subject, cursor=cursor, limit=limit)


@router.get("/{job_id}", openapi_extra=role("viewer"))
def get_job(job_id: str, door: Entry) -> Job:
    """One job."""
    return door.look(door.kernel.jobs.get, job_id)


@router.get("/{job_id}/log", openapi_extra=role("viewer"))
def read_job_log(
    job_id: str,
    door: Entry,
    offset: Annotated[int, Query(ge=0, description="`next_offset` of the piece before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=5000, description="How many lines at most.")] = 500,
) -> JobLog:
    """Lines of a job's log, oldest first."""
    return door.look(door.kernel.jobs.log, job_id, offset, limit)


@router.post("/{job_id}/cancel", openapi_extra=role("developer"))
def cancel_job(job_id: str, door: Entry) -> Job:
    """Ask for the end of a job."""
    return door.work(door.kernel.jobs.cancel, job_id)


@router.post("/{job_id}/retry", openapi_extra=role("developer"))
def retry_job(job_id: str, door: Entry) -> Job:
    """Run a failed or cancelled job again, from the step that failed."""
    return door.work(door.kernel.jobs.retry, job_id)


@router.post("/{job_id}/signals", status_code=204, openapi_extra=role("approver"))
def signal_job(job_id: str, body: SignalSend, door: Entry) -> None:
    """Tell a job something it waits for."""
    door.work(door.kernel.jobs.signal, job_id, body.topic, body.payload)
