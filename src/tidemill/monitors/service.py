"""Monitors as other features see them: objectives, indicators, drift, alerts, notifiers, triggers."""

from collections.abc import Sequence

from tidemill.core.kernel import Listener
from tidemill.monitors.alerts import acknowledge as acknowledge_alert
from tidemill.monitors.alerts import get as get_alert
from tidemill.monitors.alerts import listing as list_alerts
from tidemill.monitors.alerts import raise_ as raise_alert
from tidemill.monitors.alerts import resolve as resolve_alert
from tidemill.monitors.alerts import unresolved as unresolved_alerts
from tidemill.monitors.drift import service as drift
from tidemill.monitors.indicators import check as check_kpi
from tidemill.monitors.indicators import get as get_kpi
from tidemill.monitors.indicators import listing as list_kpis
from tidemill.monitors.indicators import put as put_kpi
from tidemill.monitors.indicators import remove as remove_kpi
from tidemill.monitors.indicators import report as report_kpi
from tidemill.monitors.indicators import series as kpi_series
from tidemill.monitors.notifiers import deliveries as list_deliveries
from tidemill.monitors.notifiers import get as get_notifier
from tidemill.monitors.notifiers import listing as list_notifiers
from tidemill.monitors.notifiers import put as put_notifier
from tidemill.monitors.notifiers import remove as remove_notifier
from tidemill.monitors.notifiers import retry as retry_delivery
from tidemill.monitors.notifiers import seal_all as seal_secrets
from tidemill.monitors.notifiers import test as test_notifier
from tidemill.monitors.objectives import check as check_slo
from tidemill.monitors.objectives import get as get_slo
from tidemill.monitors.objectives import listing as list_slos
from tidemill.monitors.objectives import put as put_slo
from tidemill.monitors.objectives import remove as remove_slo
from tidemill.monitors.objectives import status as slo_status
from tidemill.monitors.overview import check, check_drift, on_change, on_drift, on_removal
from tidemill.monitors.overview import listing as overview
from tidemill.monitors.triggers import FIRED as TRIGGER_FIRED
from tidemill.monitors.triggers import firings as list_firings
from tidemill.monitors.triggers import get as get_trigger
from tidemill.monitors.triggers import listing as list_triggers
from tidemill.monitors.triggers import put as put_trigger
from tidemill.monitors.triggers import remove as remove_trigger
from tidemill.monitors.triggers import settle as settle_firing
from tidemill.monitors.triggers import status as trigger_status
from tidemill.monitors.triggers import turn as turn_trigger

LISTENERS: dict[str, Sequence[Listener]] = {
    "drift.found": (on_drift,),
    "drift.not_found": (on_drift,),
    "drift.inconclusive": (on_drift,),
    "drift_monitor.changed": (on_change,),
    "drift_monitor.removed": (on_removal,),
}
"""The facts that monitors act on."""

__all__ = [
    "LISTENERS",
    "TRIGGER_FIRED",
    "acknowledge_alert",
    "check",
    "check_drift",
    "check_kpi",
    "check_slo",
    "drift",
    "get_alert",
    "get_kpi",
    "get_notifier",
    "get_slo",
    "get_trigger",
    "kpi_series",
    "list_alerts",
    "list_deliveries",
    "list_firings",
    "list_kpis",
    "list_notifiers",
    "list_slos",
    "list_triggers",
    "overview",
    "put_kpi",
    "put_notifier",
    "put_slo",
    "put_trigger",
    "raise_alert",
    "remove_kpi",
    "remove_notifier",
    "remove_slo",
    "remove_trigger",
    "report_kpi",
    "resolve_alert",
    "retry_delivery",
    "seal_secrets",
    "settle_firing",
    "slo_status",
    "test_notifier",
    "trigger_status",
    "turn_trigger",
    "unresolved_alerts",
]
