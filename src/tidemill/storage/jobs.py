"""The job that removes what may go."""

from typing import Any

from tidemill.jobs.context import JobContext
from tidemill.storage import service


def run_clean(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Remove what nothing needs and is old enough, at a bounded rate. After a crash it looks anew and goes on."""
    removed: dict[str, Any] = job.step("clean", _clean, job, int(args["keep_days"]))
    return removed


def _clean(job: JobContext, keep_days: int) -> dict[str, int]:
    def check(done: int, total: int) -> None:
        job.check_cancelled()
        job.progress(done, total, "removing")

    job.progress(message="looking at what is there")
    service.clean_f16(job.kernel, job.actor, keep_days)
    files, size = service.clean(job.kernel, job.actor, keep_days, check)
    job.log(f"Removed {files} files or folders.", files=files, bytes=size)
    return {"files": files, "bytes": size}
