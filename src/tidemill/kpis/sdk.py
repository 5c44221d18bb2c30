"""`client.kpis`."""

from datetime import datetime
from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.kpis.types import Kpi, KpiPut, KpiReport, KpiSeries


class Kpis:
    """Key performance indicators: means of scores, and what counts as a drop."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, name: str, **spec: Any) -> Kpi:
        """Make or change a KPI; `spec` are the fields of KpiPut: `score`, `window_s`, `floor`, `drop` ..."""
        return self._http.put(f"/api/kpis/{name}", Kpi, KpiPut.model_validate(spec))

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Kpi]:
        """Return KPIs by name."""
        return self._http.get("/api/kpis", Page[Kpi], {"cursor": cursor, "limit": limit})

    def report(self, name: str) -> KpiReport:
        """Return the value of a KPI now, and whether it dropped. Raises KpiNotFound."""
        return self._http.get(f"/api/kpis/{name}", KpiReport)

    def remove(self, name: str) -> None:
        """Delete a KPI; its alert is resolved. Raises KpiNotFound."""
        self._http.delete(f"/api/kpis/{name}")

    def series(
        self,
        score: str,
        *,
        source: str | None = None,
        environment: str | None = None,
        model: str | None = None,
        release_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        step_s: int = 86400,
    ) -> KpiSeries:
        """Return any score by release over time: means with 95% intervals, users or sessions kept together."""
        params: dict[str, Any] = {
            "score": score,
            "source": source,
            "environment": environment,
            "model": model,
            "release_id": release_id,
            "since": since.isoformat() if since is not None else None,
            "until": until.isoformat() if until is not None else None,
            "step_s": step_s,
        }
        return self._http.get("/api/kpi-series", KpiSeries, params)
