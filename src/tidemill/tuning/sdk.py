"""`client.tuning`: runs, their step logs, and smaller files."""

import builtins
from collections.abc import Callable

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.types import Job
from tidemill.tuning.types import CompressSubmit, FewRows, Form, RunState, StepPage, TuneSubmit, TuningRun


class Tuning:
    """Fine-tuning runs: submit, follow, resume, and make smaller files."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def run(self, spec: TuneSubmit) -> TuningRun:
        """Ask for a run. Raises what is wrong with the spec; nothing has started then."""
        return self._http.post("/api/tuning/runs", TuningRun, spec)

    def list(self, *, state: RunState | None = None, cursor: str | None = None, limit: int = 50) -> Page[TuningRun]:
        """Return a page of tuning runs, newest first."""
        return self._http.get("/api/tuning/runs", Page[TuningRun], {"state": state, "cursor": cursor, "limit": limit})

    def get(self, run_id: str) -> TuningRun:
        """Return the tuning run of an id. Raises TuningRunNotFound."""
        return self._http.get(f"/api/tuning/runs/{run_id}", TuningRun)

    def steps(self, run_id: str, *, after: int = 0, limit: int = 500) -> StepPage:
        """Return the records of the step log after a step."""
        return self._http.get(f"/api/tuning/runs/{run_id}/steps", StepPage, {"after": after, "limit": limit})

    def cancel(self, run_id: str) -> TuningRun:
        """Ask for the end of a run."""
        return self._http.post(f"/api/tuning/runs/{run_id}/cancel", TuningRun)

    def resume(self, run_id: str) -> TuningRun:
        """Let a failed or cancelled run go on from its newest checkpoint."""
        return self._http.post(f"/api/tuning/runs/{run_id}/resume", TuningRun)

    def compress(
        self, version: str, to: builtins.list[Form], *, few_rows: FewRows | None = None, key: str | None = None
    ) -> Job:
        """Ask for smaller files of a tuned version, such as `gguf:q4_k_m`.

        `few_rows="accept"` lets them be served where the proof has too few rows to tell.
        """
        body = CompressSubmit(version=version, to=to, few_rows=few_rows, key=key)
        return self._http.post("/api/tuning/compress", Job, body)

    def wait(
        self, run_id: str, *, timeout: float | None = None, watch: Callable[[Job], None] | None = None
    ) -> TuningRun:
        """Return when the run has ended. Raises JobFailed, JobCancelledError, JobWaitTimeout."""
        Jobs(self._http).wait(self.get(run_id).job_id, timeout=timeout, watch=watch)
        return self.get(run_id)
