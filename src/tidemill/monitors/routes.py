"""The routes of monitors."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Body, Instant, Name, Page
from tidemill.monitors import alerts, indicators, notifiers, objectives, overview, triggers
from tidemill.monitors.types import (
    Alert,
    AlertDetail,
    AlertNote,
    AlertState,
    Delivery,
    DeliveryState,
    Firing,
    FiringSettle,
    Hand,
    Kpi,
    KpiPut,
    KpiReport,
    KpiSeries,
    MonitorCheck,
    MonitorState,
    Notifier,
    NotifierPut,
    NotifierSaved,
    Slo,
    SloPut,
    SloStatus,
    Target,
    Trigger,
    TriggerPut,
    TriggerStatus,
)

router = APIRouter(prefix="/api", tags=["monitors"])


class AlertQuery(Body):
    """Which alerts."""

    state: AlertState | None = None
    name: str | None = None
    since: Instant | None = None
    cursor: Cursor = None
    limit: Limit = 50


class SeriesQuery(Body):
    """Which scores, over what time, in what steps."""

    score: str
    source: str | None = None
    environment: str | None = None
    model: str | None = None
    release_id: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    step_s: int = Query(default=86400, ge=60, le=31 * 86400)


@router.get("/monitors", openapi_extra=role("viewer"))
def listing(request: RequestContext) -> Page[MonitorState]:
    """All that is watched and what it said last."""
    return request.read(overview.listing)


@router.post("/monitors/{name}/check", openapi_extra=role("developer"))
def check(name: str, request: RequestContext) -> MonitorCheck:
    """Look now at everything of this name, and open or resolve alerts."""
    return overview.check(request.kernel, request.actor, name)


@router.put("/slos/{name}", openapi_extra=role("developer"))
def put_slo(name: Name, body: SloPut, request: RequestContext) -> Slo:
    """Make or change an objective."""
    return request.write(objectives.put, name, body)


@router.get("/slos", openapi_extra=role("viewer"))
def list_slos(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Slo]:
    """Objectives by name."""
    return request.read(objectives.listing, cursor=cursor, limit=limit)


@router.get("/slos/{name}", openapi_extra=role("viewer"))
def slo_status(name: str, request: RequestContext) -> SloStatus:
    """Where an objective stands now: share, error budget, burn rates."""
    return request.read(objectives.status, name)


@router.delete("/slos/{name}", status_code=204, openapi_extra=role("developer"))
def remove_slo(name: str, request: RequestContext) -> None:
    """Look at an objective no longer."""
    request.write(objectives.remove, name)


@router.put("/kpis/{name}", openapi_extra=role("developer"))
def put_kpi(name: Name, body: KpiPut, request: RequestContext) -> Kpi:
    """Make or change an indicator."""
    return request.write(indicators.put, name, body)


@router.get("/kpis", openapi_extra=role("viewer"))
def list_kpis(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Kpi]:
    """Indicators by name."""
    return request.read(indicators.listing, cursor=cursor, limit=limit)


@router.get("/kpi-series", openapi_extra=role("viewer"))
def kpi_series(query: Annotated[SeriesQuery, Query()], request: RequestContext) -> KpiSeries:
    """Any score or feedback by release over time, with 95% intervals."""
    target = Target(environment=query.environment, model=query.model, release_id=query.release_id)
    return request.read(
        indicators.series,
        query.score,
        source=query.source,
        target=target,
        since=query.since,
        until=query.until,
        step_s=query.step_s,
    )


@router.get("/kpis/{name}", openapi_extra=role("viewer"))
def kpi_report(name: str, request: RequestContext) -> KpiReport:
    """What an indicator says now."""
    return request.read(indicators.report, name)


@router.delete("/kpis/{name}", status_code=204, openapi_extra=role("developer"))
def remove_kpi(name: str, request: RequestContext) -> None:
    """Look at an indicator no longer."""
    request.write(indicators.remove, name)


@router.get("/alerts", openapi_extra=role("viewer"))
def list_alerts(query: Annotated[AlertQuery, Query()], request: RequestContext) -> Page[Alert]:
    """Alerts, newest first."""
    return request.read(
        alerts.listing,
        state=query.state,
        name=query.name,
        since=query.since,
        cursor=query.cursor,
        limit=query.limit,
    )


@router.get("/alerts/{alert_id}", openapi_extra=role("viewer"))
def get_alert(alert_id: str, request: RequestContext) -> AlertDetail:
    """One alert with its history."""
    return request.read(alerts.get, alert_id)


@router.post("/alerts/{alert_id}/acknowledge", openapi_extra=role("annotator"))
def acknowledge(alert_id: str, body: AlertNote, request: RequestContext) -> Alert:
    """Say that somebody looks after it."""
    return request.write(alerts.acknowledge, alert_id, body)


@router.post("/alerts/{alert_id}/resolve", openapi_extra=role("annotator"))
def resolve(alert_id: str, body: AlertNote, request: RequestContext) -> Alert:
    """End an alert by hand."""
    return request.write(alerts.resolve, alert_id, body)


@router.put("/notifiers/{name}", openapi_extra=role("admin"))
def put_notifier(name: Name, body: NotifierPut, request: RequestContext) -> NotifierSaved:
    """Make or change a notifier. The server will send to this address, so only an admin may."""
    return request.write(notifiers.put, name, body)


@router.get("/notifiers", openapi_extra=role("viewer"))
def list_notifiers(request: RequestContext) -> Page[Notifier]:
    """Every notifier, without its secrets."""
    return request.read(notifiers.listing)


@router.get("/notifiers/{name}", openapi_extra=role("viewer"))
def get_notifier(name: str, request: RequestContext) -> Notifier:
    """One notifier, without its secrets."""
    return request.read(notifiers.get, name)


@router.delete("/notifiers/{name}", status_code=204, openapi_extra=role("admin"))
def remove_notifier(name: str, request: RequestContext) -> None:
    """Tell nobody there any more."""
    request.write(notifiers.remove, name)


@router.post("/notifiers/{name}/test", openapi_extra=role("developer"))
def test_notifier(name: str, request: RequestContext) -> Delivery:
    """Put a test message into the outbox."""
    return request.write(notifiers.test, name)


@router.get("/deliveries", openapi_extra=role("viewer"))
def list_deliveries(
    request: RequestContext,
    notifier: str | None = None,
    state: DeliveryState | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Delivery]:
    """What was told and what waits, newest first."""
    return request.read(notifiers.deliveries, notifier=notifier, state=state, cursor=cursor, limit=limit)


@router.post("/deliveries/{delivery_id}/retry", openapi_extra=role("developer"))
def retry_delivery(delivery_id: str, request: RequestContext) -> Delivery:
    """Try a delivery that was given up once more."""
    return request.write(notifiers.retry, delivery_id)


@router.put("/triggers/{name}", openapi_extra=role("developer"))
def put_trigger(name: Name, body: TriggerPut, request: RequestContext) -> Trigger:
    """Make or change a trigger."""
    return request.write(triggers.put, name, body)


@router.get("/triggers", openapi_extra=role("viewer"))
def list_triggers(request: RequestContext) -> Page[Trigger]:
    """Every trigger, by name."""
    return request.read(triggers.listing)


@router.get("/triggers/{name}", openapi_extra=role("viewer"))
def trigger_status(name: str, request: RequestContext) -> TriggerStatus:
    """Where a trigger stands: its keys, its pause, its budget."""
    return request.read(triggers.status, name)


@router.delete("/triggers/{name}", status_code=204, openapi_extra=role("developer"))
def remove_trigger(name: str, request: RequestContext) -> None:
    """Fire no more."""
    request.write(triggers.remove, name)


@router.get("/triggers/{name}/firings", openapi_extra=role("viewer"))
def firings(name: str, request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Firing]:
    """When a trigger fired and why, newest first."""
    return request.read(triggers.firings, name, cursor=cursor, limit=limit)


@router.post("/triggers/{name}/turn", status_code=201, openapi_extra=role("developer"))
def turn(name: str, body: Hand, request: RequestContext) -> Firing:
    """A person turns the second key."""
    return request.write(triggers.turn, name, body)


@router.post("/firings/{firing_id}/settle", openapi_extra=role("developer"))
def settle(firing_id: str, body: FiringSettle, request: RequestContext) -> Firing:
    """Say which run a firing became and what that took."""
    return request.write(triggers.settle, firing_id, body)
