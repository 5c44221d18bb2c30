"""Alerts: one for each cause, open until somebody or the cause itself ends it."""

from typing import Any, Literal

from pydantic import Field

from tidemill.core.errors import Conflict, NotFound
from tidemill.core.wire import Body, Instant, Value

Severity = Literal["page", "ticket"]
"""`page` wakes somebody, `ticket` waits for the morning."""

AlertState = Literal["open", "acknowledged", "resolved"]


class AlertNotFound(NotFound):
    """No alert has this id."""

    code = "alert_not_found"


class AlertEnded(Conflict):
    """The alert is resolved already."""

    code = "alert_ended"


class Cause(Value):
    """What an alert is about. While one of the same kind, name and severity is not resolved, no second one opens."""

    kind: Literal["slo", "kpi", "drift", "trigger"]
    name: str
    severity: Severity
    title: str = Field(description="One line for a person.")
    evidence: dict[str, Any] = Field(description="The figures that opened it.")

    @property
    def key(self) -> str:
        """The text that tells causes apart."""
        return f"{self.kind}:{self.name}:{self.severity}"


class Alert(Value):
    """Something is wrong that somebody should know."""

    id: str
    kind: Literal["slo", "kpi", "drift", "trigger"]
    name: str = Field(description="Name of the objective, indicator, drift monitor or trigger.")
    severity: Severity
    state: AlertState
    title: str
    evidence: dict[str, Any] = Field(description="The figures when the cause was last seen.")
    opened_at: Instant
    seen_at: Instant = Field(description="When the cause was last seen.")
    acknowledged_at: Instant | None
    acknowledged_by: str | None
    resolved_at: Instant | None
    resolved_by: str | None = Field(description="`system` when the cause was gone.")
    note: str


class AlertChange(Value):
    """One entry of an alert's history."""

    at: Instant
    what: str = Field(description="opened, acknowledged, resolved, told or not told.")
    by: str
    note: str


class AlertDetail(Value):
    """An alert with its history, oldest first."""

    alert: Alert
    history: list[AlertChange]


class AlertNote(Body):
    """Why, in a person's words."""

    note: str = Field(default="", max_length=2000)
