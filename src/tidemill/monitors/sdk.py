"""`client.monitors`."""

from collections.abc import Callable

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.drift.sdk import Drift
from tidemill.jobs.types import Job
from tidemill.monitors.types import MonitorCheck, MonitorState


class Monitors:
    """Everything that is monitored: SLOs, KPIs and drift monitors."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> Page[MonitorState]:
        """Return what is monitored and what each last check said."""
        return self._http.get("/api/monitors", Page[MonitorState])

    def check(self, name: str, *, watch: Callable[[Job], None] | None = None) -> MonitorCheck:
        """Check everything of this name now, and open or resolve alerts. Raises MonitorNotFound.

        A server checks for drift in a job; `watch` is called with every change of it that is seen.
        """
        path = f"/api/monitors/{name}/check"
        reply = self._http.send("POST", path, params={"drift_as_job": self._http.runs_jobs})
        checked = MonitorCheck.model_validate_json(reply.content)
        if checked.drift_job is None:
            return checked
        report = Drift(self._http).wait_for_report(checked.drift_job, watch=watch)
        return checked.model_copy(update={"drift": report})
