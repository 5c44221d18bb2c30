"""Deciding about drift monitors: what they compare, when they are checked, and what their reports say."""

from tidemill.core.context import Actor, Context
from tidemill.core.kernel import Kernel
from tidemill.core.wire import Page
from tidemill.monitors.drift.types import DriftMonitor, DriftMonitorCreate, DriftReport


def create_monitor(ctx: Context, body: DriftMonitorCreate) -> DriftMonitor:
    """Begin to watch. Raises DriftMonitorExists, and what the reference raises when it is not there."""
    raise NotImplementedError


def get_monitor(ctx: Context, ref: str) -> DriftMonitor:
    """One monitor by name or id. Raises DriftMonitorNotFound."""
    raise NotImplementedError


def list_monitors(ctx: Context, *, cursor: str | None = None, limit: int = 50) -> Page[DriftMonitor]:
    """Every monitor, by name."""
    raise NotImplementedError


def remove_monitor(ctx: Context, ref: str) -> DriftMonitor:
    """Watch no longer; its reports stay. Raises DriftMonitorNotFound."""
    raise NotImplementedError


def due(ctx: Context) -> list[DriftMonitor]:
    """Monitors whose last check is longer ago than their `every_minutes`: for the scheduler."""
    raise NotImplementedError


def check(kernel: Kernel, actor: Actor, monitor: DriftMonitor) -> DriftReport:
    """Compare now, and keep the report. Opens its own units of work, and none while it computes (seconds).

    Emits `drift.found`, `drift.not_found` or `drift.inconclusive` with the report's id, summary and verdict.
    """
    raise NotImplementedError


def latest_report(ctx: Context, ref: str) -> DriftReport | None:
    """The newest report of a monitor; None when it has not been checked. Raises DriftMonitorNotFound."""
    raise NotImplementedError


def get_report(ctx: Context, report_id: str) -> DriftReport:
    """One report. Raises DriftReportMissing."""
    raise NotImplementedError


def list_reports(ctx: Context, ref: str, *, cursor: str | None = None, limit: int = 50) -> Page[DriftReport]:
    """The reports of a monitor, newest first. Raises DriftMonitorNotFound."""
    raise NotImplementedError
