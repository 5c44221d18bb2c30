"""The routes of monitors."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.web import Cursor, Entry, Limit, role
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
def listing(door: Entry) -> Page[MonitorState]:
    """All that is watched and what it said last."""
    return door.look(overview.listing)


@router.post("/monitors/{name}/check", openapi_extra=role("developer"))
def check(name: str, door: Entry) -> MonitorCheck:
    """Look now at everything of this name, and open or resolve alerts."""
    return overview.check(door.kernel, door.actor, name)


@router.put("/slos/{name}", openapi_extra=role("developer"))
def put_slo(name: Name, body: SloPut, door: Entry) -> Slo:
    """Make or change an objective."""
    return door.work(objectives.put, name, body)


@router.get("/slos", openapi_extra=role("viewer"))
def list_slos(door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[Slo]:
    """Objectives by name."""
    return door.look(objectives.listing, cursor=cursor, limit=limit)


@router.get("/slos/{name}", openapi_extra=role("viewer"))
def slo_status(name: str, door: Entry) -> SloStatus:
    """Where an objective stands now: share, error budget, burn rates."""
    return door.look(objectives.status, name)


@router.delete("/slos/{name}", status_code=204, openapi_extra=role("developer"))
def remove_slo(name: str, door: Entry) -> None:
    """Look at an objective no longer."""
    door.work(objectives.remove, name)


@router.put("/kpis/{name}", openapi_extra=role("developer"))
def put_kpi(name: Name, body: KpiPut, door: Entry) -> Kpi:
    """Make or change an indicator."""
    return door.work(indicators.put, name, body)


@router.get("/kpis", openapi_extra=role("viewer"))
def list_kpis(door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[Kpi]:
    """Indicators by name."""
    return door.look(indicators.listing, cursor=cursor, limit=limit)


@router.get("/kpi-series", openapi_extra=role("viewer"))
def kpi_series(query: Annotated[SeriesQuery, Query()], door: Entry) -> KpiSeries:
    """Any score or feedback by release over time, with 95% intervals."""
    target = Target(environment=query.environment, model=query.model, release_id=query.release_id)
    return door.look(
        indicators.series,
        query.score,
        source=query.source,
        target=target,
        since=query.since,
        until=query.until,
        step_s=query.step_s,
    )


@router.get("/kpis/{name}", openapi_extra=role("viewer"))
def kpi_report(name: str, door: Entry) -> KpiReport:
    """What an indicator says now."""
    return door.look(indicators.report, name)


@router.delete("/kpis/{name}", status_code=204, openapi_extra=role("developer"))
def remove_kpi(name: str, door: Entry) -> None:
    """Look at an indicator no longer."""
    door.work(indicators.remove, name)


@router.get("/alerts", openapi_extra=role("viewer"))
def list_alerts(query: Annotated[AlertQuery, Query()], door: Entry) -> Page[Alert]:
    """Alerts, newest first."""
    return door.look(
        alerts.listing,
        state=query.state,
        name=query.name,
        since=query.since,
        cursor=query.cursor,
        limit=query.limit,
    )


@router.get("/alerts/{alert_id}", openapi_extra=role("viewer"))
def get_alert(alert_id: str, door: Entry) -> AlertDetail:
    """One alert with its history."""
    return door.look(alerts.get, alert_id)


@router.post("/alerts/{alert_id}/acknowledge", openapi_extra=role("annotator"))
def acknowledge(alert_id: str, body: AlertNote, door: Entry) -> Alert:
    """Say that somebody looks after it."""
    return door.work(alerts.acknowledge, alert_id, body)


@router.post("/alerts/{alert_id}/resolve", openapi_extra=role("annotator"))
def resolve(alert_id: str, body: AlertNote, door: Entry) -> Alert:
    """End an alert by hand."""
    return door.work(alerts.resolve, alert_id, body)


@router.put("/notifiers/{name}", openapi_extra=role("admin"))
def put_notifier(name: Name, body: NotifierPut, door: Entry) -> NotifierSaved:
    """Make or change a notifier. The server will send to this address, so only an admin may."""
    return door.work(notifiers.put, name, body)


@router.get("/notifiers", openapi_extra=role("viewer"))
def list_notifiers(door: Entry) -> Page[Notifier]:
    """Every notifier, without its secrets."""
    return door.look(notifiers.listing)


@router.get("/notifiers/{name}", openapi_extra=role("viewer"))
def get_notifier(name: str, door: Entry) -> Notifier:
    """One notifier, without its secrets."""
    return door.look(notifiers.get, name)


@router.delete("/notifiers/{name}", status_code=204, openapi_extra=role("admin"))
def remove_notifier(name: str, door: Entry) -> None:
    """Tell nobody there any more."""
    door.work(notifiers.remove, name)


@router.post("/notifiers/{name}/test", openapi_extra=role("developer"))
def test_notifier(name: str, door: Entry) -> Delivery:
    """Put a test message into the outbox."""
    return door.work(notifiers.test, name)


@router.get("/deliveries", openapi_extra=role("viewer"))
def list_deliveries(
    door: Entry,
    notifier: str | None = None,
    state: DeliveryState | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Delivery]:
    """What was told and what waits, newest first."""
    return door.look(notifiers.deliveries, notifier=notifier, state=state, cursor=cursor, limit=limit)


@router.post("/deliveries/{delivery_id}/retry", openapi_extra=role("developer"))
def retry_delivery(delivery_id: str, door: Entry) -> Delivery:
    """Try a delivery that was given up once more."""
    return door.work(notifiers.retry, delivery_id)


@router.put("/triggers/{name}", openapi_extra=role("developer"))
def put_trigger(name: Name, body: TriggerPut, door: Entry) -> Trigger:
    """Make or change a trigger."""
    return door.work(triggers.put, name, body)


@router.get("/triggers", openapi_extra=role("viewer"))
def list_triggers(door: Entry) -> Page[Trigger]:
    """Every trigger, by name."""
    return door.look(triggers.listing)


@router.get("/triggers/{name}", openapi_extra=role("viewer"))
def trigger_status(name: str, door: Entry) -> TriggerStatus:
    """Where a trigger stands: its keys, its pause, its budget."""
    return door.look(triggers.status, name)


@router.delete("/triggers/{name}", status_code=204, openapi_extra=role("developer"))
def remove_trigger(name: str, door: Entry) -> None:
    """Fire no more."""
    door.work(triggers.remove, name)


@router.get("/triggers/{name}/firings", openapi_extra=role("viewer"))
def firings(name: str, door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[Firing]:
    """When a trigger fired and why, newest first."""
    return door.look(triggers.firings, name, cursor=cursor, limit=limit)


@router.post("/triggers/{name}/turn", status_code=201, openapi_extra=role("developer"))
def turn(name: str, body: Hand, door: Entry) -> Firing:
    """A person turns the second key."""
    return door.work(triggers.turn, name, body)


@router.post("/firings/{firing_id}/settle", openapi_extra=role("developer"))
def settle(firing_id: str, body: FiringSettle, door: Entry) -> Firing:
    """Say which run a firing became and what that took."""
    return door.work(triggers.settle, firing_id, body)
