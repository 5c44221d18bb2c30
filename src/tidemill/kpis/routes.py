"""The routes of KPIs."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.times import TimeQuery
from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Body, Name, Page
from tidemill.feedback.types import ScoreSource
from tidemill.kpis import service
from tidemill.kpis.types import Kpi, KpiPut, KpiReport, KpiSeries, KpiTarget

router = APIRouter(prefix="/api", tags=["kpis"])


class KpiSeriesQuery(Body):
    """Which scores, over what time, in steps of how many seconds."""

    score: str
    source: ScoreSource | None = None
    environment: str | None = None
    model: str | None = None
    release_id: str | None = None
    since: TimeQuery | None = None
    until: TimeQuery | None = None
    step_s: int = Query(default=86400, ge=60, le=31 * 86400)


@router.put("/kpis/{name}", openapi_extra=role("developer"))
def put_kpi(name: Name, body: KpiPut, request: RequestContext) -> Kpi:
    """Make or change a KPI."""
    return request.write(service.put, name, body)


@router.get("/kpis", openapi_extra=role("viewer"))
def list_kpis(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Kpi]:
    """KPIs by name."""
    return request.read(service.list_kpis, cursor=cursor, limit=limit)


@router.get("/kpi-series", openapi_extra=role("viewer"))
def kpi_series(query: Annotated[KpiSeriesQuery, Query()], request: RequestContext) -> KpiSeries:
    """Any score or feedback by release over time, with 95% intervals."""
    target = KpiTarget(environment=query.environment, model=query.model, release_id=query.release_id)
    return request.read(
        service.get_series,
        query.score,
        source=query.source,
        target=target,
        since=query.since,
        until=query.until,
        step_s=query.step_s,
    )


@router.get("/kpis/{name}", openapi_extra=role("viewer"))
def kpi_report(name: str, request: RequestContext) -> KpiReport:
    """The value of a KPI now, and whether it dropped."""
    return request.read(service.get_report, name)


@router.delete("/kpis/{name}", status_code=204, openapi_extra=role("developer"))
def remove_kpi(name: str, request: RequestContext) -> None:
    """Delete a KPI; its alert is resolved."""
    request.write(service.remove, name)
