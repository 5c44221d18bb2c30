"""`client.triggers`."""

import warnings
from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.triggers.types import Firing, FiringSettle, ManualFire, Trigger, TriggerPut, TriggerStatus


class Triggers:
    """Triggers, which start a pipeline when the data condition and the quality condition are met."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, name: str, **spec: Any) -> Trigger:
        """Make or change a trigger; `spec` are the fields of TriggerPut: `pipeline`, `drift`, `slos`, `kpis` ..."""
        return self._http.put(f"/api/triggers/{name}", Trigger, TriggerPut.model_validate(spec))

    def list(self) -> Page[Trigger]:
        """Return every trigger, by name."""
        return self._http.get("/api/triggers", Page[Trigger])

    def status(self, name: str) -> TriggerStatus:
        """Return its conditions with their evidence, its pause, its budget. Raises TriggerNotFound."""
        return self._http.get(f"/api/triggers/{name}", TriggerStatus)

    def remove(self, name: str) -> None:
        """Delete a trigger; its firings stay. Raises TriggerNotFound."""
        self._http.delete(f"/api/triggers/{name}")

    def firings(self, name: str, *, cursor: str | None = None, limit: int = 50) -> Page[Firing]:
        """Return when it fired and why, newest first. Raises TriggerNotFound."""
        return self._http.get(f"/api/triggers/{name}/firings", Page[Firing], {"cursor": cursor, "limit": limit})

    def fire(self, name: str, reason: str, *, both: bool = False) -> Firing:
        """Fire by hand, which stands in for the quality condition; with `both` an admin needs no data condition.

        Raises ConditionsNotMet, TriggerCooling, TriggerOverBudget, RoleMissing.
        """
        return self._http.post(f"/api/triggers/{name}/fire", Firing, ManualFire(reason=reason, both=both))

    def turn(self, name: str, reason: str, *, both: bool = False) -> Firing:
        """Do the same as `fire`, under its name of version 0.1."""
        warnings.warn("client.triggers.turn is now client.triggers.fire", DeprecationWarning, stacklevel=2)
        return self.fire(name, reason, both=both)

    def settle(self, firing_id: str, *, minutes: float, run_id: str | None = None) -> Firing:
        """Write what the run that a firing started took, in minutes. Raises FiringNotFound."""
        return self._http.post(f"/api/firings/{firing_id}/settle", Firing, FiringSettle(minutes=minutes, run_id=run_id))
