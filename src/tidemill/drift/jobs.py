"""The durable drift check."""

from typing import Any

from tidemill.drift import service
from tidemill.jobs.context import JobContext


def run_check(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Check a monitor once. After a crash the next attempt reuses the vectors that are stored already."""
    with job.kernel.read(job.actor) as ctx:
        monitor = service.get_monitor(ctx, args["monitor_id"])

    def report_progress(done: int, total: int) -> None:
        job.check_cancelled()
        job.progress(done, total, "embedding", unit="texts")

    job.progress(message="comparing")
    report = service.check(job.kernel, job.actor, monitor, job_id=job.id, progress=report_progress)
    job.log(report.summary, report_id=report.id, verdict=report.verdict)
    return {"report_id": report.id, "verdict": report.verdict}
