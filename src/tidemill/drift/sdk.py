"""`client.drift`: monitors that compare live traffic with a reference."""

from collections.abc import Callable
from typing import Any

from tidemill.core.errors import of_body
from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.drift.types import DriftMonitor, DriftMonitorCreate, DriftReport
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.types import Job


class Drift:
    """Drift monitors and their reports."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(self, name: str, *, reference: dict[str, Any] | str, **spec: Any) -> DriftMonitor:
        """Create a drift monitor.

        `reference` is `trec@1` or `trec@1/test`, or a mapping: `{"kind": "dataset", "dataset": "trec@1"}`,
        `{"kind": "period", "start": ..., "end": ...}`, `{"kind": "deployment"}`. `spec` are further fields of
        DriftMonitorCreate: `environment`, `release`, `window={"rows": 300}`, `alpha`, `fields`, `label_field` ...
        Raises DriftMonitorExists, ReferenceUnfit.
        """
        if isinstance(reference, str):
            dataset, _, split = reference.partition("/")
            reference = {"kind": "dataset", "dataset": dataset, "split": split or None}
        body = DriftMonitorCreate.model_validate({"name": name, "reference": reference, **spec})
        return self._http.post("/api/drift/monitors", DriftMonitor, body)

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[DriftMonitor]:
        """Every drift monitor, by name."""
        return self._http.get("/api/drift/monitors", Page[DriftMonitor], {"cursor": cursor, "limit": limit})

    def get(self, ref: str) -> DriftMonitor:
        """One monitor by name or id. Raises DriftMonitorNotFound."""
        return self._http.get(f"/api/drift/monitors/{ref}", DriftMonitor)

    def remove(self, ref: str) -> None:
        """Remove a monitor; its reports stay. Raises DriftMonitorNotFound."""
        self._http.delete(f"/api/drift/monitors/{ref}")

    def check(self, ref: str, *, watch: Callable[[Job], None] | None = None) -> DriftReport:
        """Compare now, wait, and return the report: seconds, or minutes when many texts are new.

        A server does it as a job; `watch` is called with every change of it that is seen. Raises DriftMonitorNotFound,
        EmbeddingModelMissing, JobCancelledError.
        """
        if not self._http.runs_jobs:
            return self._http.post(f"/api/drift/monitors/{ref}/check", DriftReport)
        return self.wait_for_report(self.submit_check(ref).id, watch=watch)

    def wait_for_report(self, job_id: str, *, watch: Callable[[Job], None] | None = None) -> DriftReport:
        """Wait for the job of a check and return its report. Raises what the check raised, and JobCancelledError."""
        jobs = Jobs(self._http)
        job = jobs.wait(job_id, check=False, watch=watch)
        if job.state == "failed" and job.error is not None:
            raise of_body(job.error)
        jobs.wait(job_id)  # raises when it was cancelled
        report_id: str = (job.result or {})["report_id"]
        return self.report(report_id)

    def submit_check(self, ref: str) -> Job:
        """Compare in a durable job; wait for it with `client.jobs.wait`. Its result has `report_id`."""
        return self._http.post(f"/api/drift/monitors/{ref}/jobs", Job)

    def report(self, ref: str) -> DriftReport:
        """The newest report of a monitor (name or id), or a report by its `dr_` id. Raises DriftReportMissing."""
        if ref.startswith("dr_"):
            return self._http.get(f"/api/drift/reports/{ref}", DriftReport)
        return self._http.get(f"/api/drift/monitors/{ref}/report", DriftReport)

    def reports(self, ref: str, *, cursor: str | None = None, limit: int = 50) -> Page[DriftReport]:
        """The reports of a monitor, newest first."""
        params = {"cursor": cursor, "limit": limit}
        return self._http.get(f"/api/drift/monitors/{ref}/reports", Page[DriftReport], params)
