"""`client.monitors`."""

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.monitors.types import MonitorCheck, MonitorState


class Monitors:
    """Everything that is monitored: SLOs, KPIs and drift monitors."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> Page[MonitorState]:
        """Return what is monitored and what each last check said."""
        return self._http.get("/api/monitors", Page[MonitorState])

    def check(self, name: str) -> MonitorCheck:
        """Check everything of this name now, and open or resolve alerts. Raises MonitorNotFound."""
        return self._http.post(f"/api/monitors/{name}/check", MonitorCheck)
