"""The routes of jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import Job, JobLog, JobState, SignalSend

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.get("", openapi_extra=role("viewer"))
def list_jobs(
    request: RequestContext,
    kind: str | None = None,
    state: JobState | None = None,
    subject: str | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Job]:
    """List jobs, newest first."""
    return request.read(
        request.kernel.get(JobQueue).list, kind=kind, state=state, subject=subject, cursor=cursor, limit=limit
    )


@router.get("/{job_id}", openapi_extra=role("viewer"))
def get_job(job_id: str, request: RequestContext) -> Job:
    """Return a job. Raises JobNotFound."""
    return request.read(request.kernel.get(JobQueue).get, job_id)


@router.get("/{job_id}/log", openapi_extra=role("viewer"))
def read_job_log(
    job_id: str,
    request: RequestContext,
    offset: Annotated[int, Query(ge=0, description="`next_offset` of the piece before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=5000, description="How many lines at most.")] = 500,
) -> JobLog:
    """Lines of a job's log, oldest first."""
    return request.read(request.kernel.get(JobQueue).log, job_id, offset, limit)


@router.post("/{job_id}/cancel", openapi_extra=role("developer"))
def cancel_job(job_id: str, request: RequestContext) -> Job:
    """Ask for the end of a job."""
    return request.write(request.kernel.get(JobQueue).cancel, job_id)


@router.post("/{job_id}/retry", openapi_extra=role("developer"))
def retry_job(job_id: str, request: RequestContext) -> Job:
    """Run a failed or cancelled job again, from the step that failed."""
    return request.write(request.kernel.get(JobQueue).retry, job_id)


@router.post("/{job_id}/signals", status_code=204, openapi_extra=role("approver"))
def signal_job(job_id: str, body: SignalSend, request: RequestContext) -> None:
    """Tell a job something it waits for."""
    request.write(request.kernel.get(JobQueue).signal, job_id, body.topic, body.payload)
