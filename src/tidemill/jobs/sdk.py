"""`client.jobs`: look at jobs, wait for them, cancel and retry them."""

import time
from collections.abc import Callable
from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.jobs.types import Job, JobCancelledError, JobFailed, JobLog, JobState, JobWaitTimeout, SignalSend

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks at a job: soon at first, for most are short."""


class Jobs:
    """Durable work in the background: list, wait, cancel, retry."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def get(self, job_id: str) -> Job:
        """Return the job of an id. Raises JobNotFound."""
        return self._http.get(f"/api/jobs/{job_id}", Job)

    def list(
        self,
        *,
        kind: str | None = None,
        state: JobState | None = None,
        subject: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """Return a page of jobs, newest first."""
        params = {"kind": kind, "state": state, "subject": subject, "cursor": cursor, "limit": limit}
        return self._http.get("/api/jobs", Page[Job], params)

    def logs(self, job_id: str, *, offset: int = 0, limit: int = 500) -> JobLog:
        """Lines of a job's log after `offset`."""
        return self._http.get(f"/api/jobs/{job_id}/log", JobLog, {"offset": offset, "limit": limit})

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job; it ends at its next check. Raises JobEnded."""
        return self._http.post(f"/api/jobs/{job_id}/cancel", Job)

    def retry(self, job_id: str) -> Job:
        """Run a failed or cancelled job again, from the step that failed."""
        return self._http.post(f"/api/jobs/{job_id}/retry", Job)

    def signal(self, job_id: str, topic: str, payload: Any = None) -> None:
        """Tell a job something it waits for. Raises JobEnded."""
        body = SignalSend(topic=topic, payload=payload)
        self._http.send("POST", f"/api/jobs/{job_id}/signals", body=body)

    def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        check: bool = True,
        watch: Callable[[Job], None] | None = None,
    ) -> Job:
        """Return when the job has ended.

        `watch` is called with every change that is seen. Raises JobWaitTimeout after `timeout` seconds; with `check`
        also JobFailed or JobCancelledError when it did not succeed.
        """
        if not self.get(job_id).ended:
            self._http.need_workers()
        until = None if timeout is None else time.monotonic() + timeout
        pause, last = FIRST_PAUSE, None
        while True:
            job = self.get(job_id)
            if watch is not None and job != last:
                watch(job)
            if job.ended:
                return _raise_unless_succeeded(job) if check else job
            if until is not None and time.monotonic() >= until:
                raise JobWaitTimeout(
                    f"The job {job_id} is still {job.state} after {timeout} s.",
                    hint="A job runs while a server does: `tidemill up`. It goes on where it was.",
                )
            pause = FIRST_PAUSE if job != last else min(pause * 1.5, LONGEST_PAUSE)
            last = job
            time.sleep(pause)


def _raise_unless_succeeded(job: Job) -> Job:
    if job.state == "cancelled":
        raise JobCancelledError(f"The job {job.id} was cancelled.", hint=f"tidemill jobs retry {job.id}")
    if job.error is not None:
        raise JobFailed(
            f"The job {job.id} failed: {job.error.message}",
            hint=job.error.hint or f"tidemill jobs logs {job.id}",
            details={"error": job.error.model_dump(mode="json")},
        )
    return job
