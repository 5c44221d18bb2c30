"""The overview of everything that is monitored, of every kind."""

from typing import Literal

from pydantic import Field

from tidemill.core.errors import NotFound
from tidemill.core.wire import Instant, Name, Value
from tidemill.drift.types import DriftReport
from tidemill.kpis.types import KpiReport
from tidemill.slos.types import SloStatus

MonitorVerdict = Literal["pass", "fail", "inconclusive"]


class MonitorNotFound(NotFound):
    """Nothing of that name is monitored."""

    code = "monitor_not_found"


class MonitorState(Value):
    """One monitor of the overview with the result of its last check."""

    name: Name
    kind: Literal["slo", "kpi", "drift"]
    verdict: MonitorVerdict | None = Field(description="Null when it was never checked.")
    summary: str
    checked_at: Instant | None
    next_at: Instant | None
    alerts: list[str]


class MonitorCheck(Value):
    """The results of a check of every monitor of one name."""

    name: str
    slo: SloStatus | None
    kpi: KpiReport | None
    drift: DriftReport | None
    drift_job: str | None = Field(default=None, description="The job that checks for drift, when that was asked for.")
