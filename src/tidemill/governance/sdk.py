"""`client.governance`: lineage and audit."""

from datetime import datetime

from tidemill.core.event_types import Event
from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.governance.types import Lineage


class Governance:
    """Where things come from, and who did what."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def lineage(self, ref: str, *, depth: int = 50) -> Lineage:
        """Return the lineage of an id, `name@3` or `kind:name@3`. Raises LineageNotFound, LineageAmbiguous."""
        return self._http.get(f"/api/lineage/{ref}", Lineage, {"depth": depth})

    def audit(
        self,
        *,
        kind: str | None = None,
        subject: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Event]:
        """Return audit events, newest first. A kind that ends in a dot, such as `approval.`, means its family."""
        params = {
            "kind": kind,
            "subject": subject,
            "actor": actor,
            "since": since.isoformat() if since is not None else None,
            "until": until.isoformat() if until is not None else None,
            "cursor": cursor,
            "limit": limit,
        }
        return self._http.get("/api/audit", Page[Event], params)
