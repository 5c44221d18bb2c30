"""`tidemill monitors`, `slo`, `kpi`, `alerts`, `notifiers` and `triggers`."""

from tidemill.monitors.cli.alerts import app as alerts
from tidemill.monitors.cli.kpis import app as kpis
from tidemill.monitors.cli.notifiers import app as notifiers
from tidemill.monitors.cli.overview import app as monitors
from tidemill.monitors.cli.slos import app as slos
from tidemill.monitors.cli.triggers import app as triggers
from tidemill.monitors.drift.cli import create, remove, report, reports, show

for _command in (create, show, report, reports, remove):
    monitors.command()(_command)

__all__ = ["alerts", "kpis", "monitors", "notifiers", "slos", "triggers"]
