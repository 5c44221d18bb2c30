"""The routes of alerts, notifiers and deliveries."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.times import TimeQuery
from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Body, Name, Page
from tidemill.notifications.service import alerts, deliveries, notifiers
from tidemill.notifications.types import (
    Alert,
    AlertDetail,
    AlertNote,
    AlertState,
    Delivery,
    DeliveryState,
    Notifier,
    NotifierPut,
    NotifierSaved,
)

router = APIRouter(prefix="/api", tags=["notifications"])


class AlertQuery(Body):
    """The filter of a list of alerts."""

    state: AlertState | None = None
    name: str | None = None
    since: TimeQuery | None = None
    cursor: Cursor = None
    limit: Limit = 50


@router.get("/alerts", openapi_extra=role("viewer"))
def list_alerts(query: Annotated[AlertQuery, Query()], request: RequestContext) -> Page[Alert]:
    """Alerts, newest first."""
    return request.read(
        alerts.list_alerts,
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
    """Acknowledge an alert."""
    return request.write(alerts.acknowledge, alert_id, body)


@router.post("/alerts/{alert_id}/resolve", openapi_extra=role("annotator"))
def resolve(alert_id: str, body: AlertNote, request: RequestContext) -> Alert:
    """Resolve an alert by hand."""
    return request.write(alerts.resolve, alert_id, body)


@router.put("/notifiers/{name}", openapi_extra=role("admin"))
def put_notifier(name: Name, body: NotifierPut, request: RequestContext) -> NotifierSaved:
    """Make or change a notifier. The server will send to this address, so only an admin may."""
    return request.write(notifiers.put, name, body)


@router.get("/notifiers", openapi_extra=role("viewer"))
def list_notifiers(request: RequestContext) -> Page[Notifier]:
    """Every notifier, without its secrets."""
    return request.read(notifiers.list_notifiers)


@router.get("/notifiers/{name}", openapi_extra=role("viewer"))
def get_notifier(name: str, request: RequestContext) -> Notifier:
    """One notifier, without its secrets."""
    return request.read(notifiers.get, name)


@router.delete("/notifiers/{name}", status_code=204, openapi_extra=role("admin"))
def remove_notifier(name: str, request: RequestContext) -> None:
    """Delete a notifier and its waiting messages."""
    request.write(notifiers.remove, name)


@router.post("/notifiers/{name}/test", openapi_extra=role("developer"))
def test_notifier(name: str, request: RequestContext) -> Delivery:
    """Put a test message into the outbox."""
    return request.write(notifiers.send_test, name)


@router.get("/deliveries", openapi_extra=role("viewer"))
def list_deliveries(
    request: RequestContext,
    notifier: str | None = None,
    state: DeliveryState | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Delivery]:
    """Deliveries, newest first."""
    return request.read(deliveries.list_deliveries, notifier=notifier, state=state, cursor=cursor, limit=limit)


@router.post("/deliveries/{delivery_id}/retry", openapi_extra=role("developer"))
def retry_delivery(delivery_id: str, request: RequestContext) -> Delivery:
    """Send a failed delivery again."""
    return request.write(deliveries.retry, delivery_id)
