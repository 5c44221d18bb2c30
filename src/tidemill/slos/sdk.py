"""`client.slos`."""

from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.slos.types import Slo, SloPut, SloStatus


class Slos:
    """Service level objectives with error budgets."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, name: str, **spec: Any) -> Slo:
        """Make or change an SLO; `spec` are the fields of SloPut.

        `kind` is `latency` (with `threshold_ms`), `errors` or `quality` (with `score`); `goal` the share of good ones
        from 0 to 1; `window_s` seconds; `target` such as `{"environment": "prod"}`.
        """
        return self._http.put(f"/api/slos/{name}", Slo, SloPut.model_validate(spec))

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Slo]:
        """Return SLOs by name."""
        return self._http.get("/api/slos", Page[Slo], {"cursor": cursor, "limit": limit})

    def status(self, name: str) -> SloStatus:
        """Return the share of good ones with its 95% interval, the budget left and every rule. Raises SloNotFound."""
        return self._http.get(f"/api/slos/{name}", SloStatus)

    def remove(self, name: str) -> None:
        """Delete an SLO; its alerts are resolved. Raises SloNotFound."""
        self._http.delete(f"/api/slos/{name}")
