"""`client.alerts` and `client.notifiers`."""

from datetime import datetime
from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.notifications.types import (
    Alert,
    AlertDetail,
    AlertNote,
    Delivery,
    Notifier,
    NotifierPut,
    NotifierSaved,
)


class Alerts:
    """Alerts: one for each cause."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Alert]:
        """Return alerts, newest first; `state` is open, acknowledged or resolved."""
        params = {
            "state": state,
            "name": name,
            "since": since.isoformat() if since is not None else None,
            "cursor": cursor,
            "limit": limit,
        }
        return self._http.get("/api/alerts", Page[Alert], params)

    def get(self, alert_id: str) -> AlertDetail:
        """Return one alert with its history. Raises AlertNotFound."""
        return self._http.get(f"/api/alerts/{alert_id}", AlertDetail)

    def acknowledge(self, alert_id: str, note: str = "") -> Alert:
        """Acknowledge an alert. Raises AlertNotFound, AlertEnded."""
        return self._http.post(f"/api/alerts/{alert_id}/acknowledge", Alert, AlertNote(note=note))

    def resolve(self, alert_id: str, note: str = "") -> Alert:
        """Resolve an alert by hand. Raises AlertNotFound, AlertEnded."""
        return self._http.post(f"/api/alerts/{alert_id}/resolve", Alert, AlertNote(note=note))


class Notifiers:
    """Notifiers, which send alerts to people and programs."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, name: str, **spec: Any) -> NotifierSaved:
        """Make or change a notifier; `spec` are the fields of NotifierPut. A signing key that is made is shown once."""
        return self._http.put(f"/api/notifiers/{name}", NotifierSaved, NotifierPut.model_validate(spec))

    def list(self) -> Page[Notifier]:
        """Return every notifier, without its secrets."""
        return self._http.get("/api/notifiers", Page[Notifier])

    def get(self, name: str) -> Notifier:
        """Return one notifier, without its secrets. Raises NotifierNotFound."""
        return self._http.get(f"/api/notifiers/{name}", Notifier)

    def remove(self, name: str) -> None:
        """Delete a notifier and its waiting messages. Raises NotifierNotFound."""
        self._http.delete(f"/api/notifiers/{name}")

    def test(self, name: str) -> Delivery:
        """Put a test message into the outbox; a server sends it within a second. Raises NotifierNotFound."""
        return self._http.post(f"/api/notifiers/{name}/test", Delivery)

    def deliveries(
        self, notifier: str | None = None, *, state: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Delivery]:
        """Return deliveries, newest first."""
        params = {"notifier": notifier, "state": state, "cursor": cursor, "limit": limit}
        return self._http.get("/api/deliveries", Page[Delivery], params)

    def retry(self, delivery_id: str) -> Delivery:
        """Send a failed delivery again. Raises DeliveryNotFound, DeliveryNotEnded."""
        return self._http.post(f"/api/deliveries/{delivery_id}/retry", Delivery)
