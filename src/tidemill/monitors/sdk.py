"""`client.monitors`, `client.slos`, `client.kpis`, `client.alerts`, `client.notifiers`, `client.triggers`."""

from datetime import datetime
from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.monitors.types import (
    Alert,
    AlertDetail,
    AlertNote,
    Delivery,
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
    Trigger,
    TriggerPut,
    TriggerStatus,
)


class Monitors:
    """All that is watched: objectives, indicators and drift monitors."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> Page[MonitorState]:
        """What is watched and what it said last."""
        return self._http.get("/api/monitors", Page[MonitorState])

    def check(self, name: str) -> MonitorCheck:
        """Look now at everything of this name, and open or resolve alerts. Raises MonitorNotFound."""
        return self._http.post(f"/api/monitors/{name}/check", MonitorCheck)


class Slos:
    """Service level objectives with error budgets."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, name: str, **spec: Any) -> Slo:
        """Make or change an objective; `spec` are the fields of SloPut.

        `kind` is `latency` (with `threshold_ms`), `errors` or `quality` (with `score`); `goal` the share of good ones
        from 0 to 1; `window_s` seconds; `target` such as `{"environment": "prod"}`.
        """
        return self._http.put(f"/api/slos/{name}", Slo, SloPut.model_validate(spec))

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Slo]:
        """Objectives by name."""
        return self._http.get("/api/slos", Page[Slo], {"cursor": cursor, "limit": limit})

    def status(self, name: str) -> SloStatus:
        """Share of good ones with its 95% interval, what is left of the budget, every burn rule. Raises SloNotFound."""
        return self._http.get(f"/api/slos/{name}", SloStatus)

    def remove(self, name: str) -> None:
        """Look at it no longer. Raises SloNotFound."""
        self._http.delete(f"/api/slos/{name}")


class Kpis:
    """Indicators: means of scores, and what counts as a drop."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, name: str, **spec: Any) -> Kpi:
        """Make or change an indicator; `spec` are the fields of KpiPut: `score`, `window_s`, `floor`, `drop` ..."""
        return self._http.put(f"/api/kpis/{name}", Kpi, KpiPut.model_validate(spec))

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Kpi]:
        """Indicators by name."""
        return self._http.get("/api/kpis", Page[Kpi], {"cursor": cursor, "limit": limit})

    def report(self, name: str) -> KpiReport:
        """What an indicator says now. Raises KpiNotFound."""
        return self._http.get(f"/api/kpis/{name}", KpiReport)

    def remove(self, name: str) -> None:
        """Look at it no longer. Raises KpiNotFound."""
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
        """Any score or feedback by release over time: means with 95% intervals, users or sessions kept together."""
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
        """Alerts, newest first; `state` is open, acknowledged or resolved."""
        params = {
            "state": state,
            "name": name,
            "since": since.isoformat() if since is not None else None,
            "cursor": cursor,
            "limit": limit,
        }
        return self._http.get("/api/alerts", Page[Alert], params)

    def get(self, alert_id: str) -> AlertDetail:
        """One alert with its history. Raises AlertNotFound."""
        return self._http.get(f"/api/alerts/{alert_id}", AlertDetail)

    def acknowledge(self, alert_id: str, note: str = "") -> Alert:
        """Say that somebody looks after it. Raises AlertNotFound, AlertEnded."""
        return self._http.post(f"/api/alerts/{alert_id}/acknowledge", Alert, AlertNote(note=note))

    def resolve(self, alert_id: str, note: str = "") -> Alert:
        """End it by hand. Raises AlertNotFound, AlertEnded."""
        return self._http.post(f"/api/alerts/{alert_id}/resolve", Alert, AlertNote(note=note))


class Notifiers:
    """Who is told of alerts."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, name: str, **spec: Any) -> NotifierSaved:
        """Make or change a notifier; `spec` are the fields of NotifierPut. A signing key that is made is shown once."""
        return self._http.put(f"/api/notifiers/{name}", NotifierSaved, NotifierPut.model_validate(spec))

    def list(self) -> Page[Notifier]:
        """Every notifier, without its secrets."""
        return self._http.get("/api/notifiers", Page[Notifier])

    def get(self, name: str) -> Notifier:
        """One notifier, without its secrets. Raises NotifierNotFound."""
        return self._http.get(f"/api/notifiers/{name}", Notifier)

    def remove(self, name: str) -> None:
        """Tell nobody there any more. Raises NotifierNotFound."""
        self._http.delete(f"/api/notifiers/{name}")

    def test(self, name: str) -> Delivery:
        """Put a test message into the outbox; a server sends it within a second. Raises NotifierNotFound."""
        return self._http.post(f"/api/notifiers/{name}/test", Delivery)

    def deliveries(
        self, notifier: str | None = None, *, state: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Delivery]:
        """What was told and what waits, newest first."""
        params = {"notifier": notifier, "state": state, "cursor": cursor, "limit": limit}
        return self._http.get("/api/deliveries", Page[Delivery], params)

    def retry(self, delivery_id: str) -> Delivery:
        """Try a delivery that was given up once more. Raises DeliveryNotFound, DeliveryNotEnded."""
        return self._http.post(f"/api/deliveries/{delivery_id}/retry", Delivery)


class Triggers:
    """Two keys that start a pipeline."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, name: str, **spec: Any) -> Trigger:
        """Make or change a trigger; `spec` are the fields of TriggerPut: `pipeline`, `drift`, `slos`, `kpis` ..."""
        return self._http.put(f"/api/triggers/{name}", Trigger, TriggerPut.model_validate(spec))

    def list(self) -> Page[Trigger]:
        """Every trigger, by name."""
        return self._http.get("/api/triggers", Page[Trigger])

    def status(self, name: str) -> TriggerStatus:
        """Its two keys with their evidence, its pause, its budget. Raises TriggerNotFound."""
        return self._http.get(f"/api/triggers/{name}", TriggerStatus)

    def remove(self, name: str) -> None:
        """Fire no more. Raises TriggerNotFound."""
        self._http.delete(f"/api/triggers/{name}")

    def firings(self, name: str, *, cursor: str | None = None, limit: int = 50) -> Page[Firing]:
        """When it fired and why, newest first. Raises TriggerNotFound."""
        return self._http.get(f"/api/triggers/{name}/firings", Page[Firing], {"cursor": cursor, "limit": limit})

    def turn(self, name: str, reason: str, *, both: bool = False) -> Firing:
        """Turn the second key by hand; an admin may turn both.

        Raises KeysMissing, TriggerCooling, TriggerOverBudget, RoleMissing.
        """
        return self._http.post(f"/api/triggers/{name}/turn", Firing, Hand(reason=reason, both=both))

    def settle(self, firing_id: str, *, minutes: float, run_id: str | None = None) -> Firing:
        """Say what the run that a firing started took, in minutes. Raises FiringNotFound."""
        return self._http.post(f"/api/firings/{firing_id}/settle", Firing, FiringSettle(minutes=minutes, run_id=run_id))
