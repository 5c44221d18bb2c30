"""`client.traces.erasures`: erases users."""

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.feedback.types.erasure import Erasure, Footprint


class Erasures:
    """Erases what is stored of one user, and lists the records of it. Needs the role admin."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def footprint(self, user: str) -> Footprint:
        """Return what is stored of a user; all zero for an unknown one."""
        return self._http.get(f"/api/traces/users/{user}/footprint", Footprint)

    def erase(self, user: str) -> Erasure:
        """Erase a user's traces, scores, and rows on their way into datasets. It cannot be undone."""
        reply = self._http.send("DELETE", f"/api/traces/users/{user}")
        return Erasure.model_validate_json(reply.content)

    def list(self, *, user: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[Erasure]:
        """Return records of erasures, newest first."""
        return self._http.get("/api/traces/erasures", Page[Erasure], {"user": user, "cursor": cursor, "limit": limit})
