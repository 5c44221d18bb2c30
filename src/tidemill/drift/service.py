"""Drift monitors: what they compare, when they are checked, and what their reports say."""

import time
from datetime import datetime, timedelta

from threadpoolctl import threadpool_limits

from tidemill.core import events
from tidemill.core.actors import Actor
from tidemill.core.errors import nearest
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.data import service as data
from tidemill.data.types import SplitNotFound
from tidemill.drift import sources, store
from tidemill.drift.analysis import AnalysisFindings, compare
from tidemill.drift.embedding import Embedder, Progress, ignore_progress
from tidemill.drift.samples import DriftSample
from tidemill.drift.types import (
    DatasetReference,
    DeploymentReference,
    DriftMonitor,
    DriftMonitorCreate,
    DriftMonitorExists,
    DriftMonitorNotFound,
    DriftReport,
    DriftReportMissing,
    PeriodReference,
    ReferenceUnfit,
)
from tidemill.drift.verdicts import overall_verdict, write_summary
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import Job
from tidemill.notifications.service import alerts
from tidemill.notifications.types import AlertCause
from tidemill.releases import service as releases

CHECK_JOB = "monitors.drift"
"""The job kind of checks; it is stored, so it stays."""

FOUND, NOT_FOUND, INCONCLUSIVE = "drift.found", "drift.not_found", "drift.inconclusive"
CHANGED, REMOVED = "drift_monitor.changed", "drift_monitor.removed"

_EVENTS = {"drift": FOUND, "no_drift": NOT_FOUND, "inconclusive": INCONCLUSIVE}


def create_monitor(ctx: Context, body: DriftMonitorCreate) -> DriftMonitor:
    """Create a monitor. Raises DriftMonitorExists, and NotFound errors of the reference."""
    _lock(ctx, body.name)
    if store.find_monitor(ctx.conn, name=body.name) is not None:
        raise DriftMonitorExists(
            f"There is a drift monitor {body.name!r} already.",
            hint="Choose another name, or remove it: tidemill monitors remove " + body.name,
            param="name",
        )
    _check_reference(ctx, body)
    monitor = DriftMonitor(id=new_id("dm"), created_by=ctx.actor.name, created_at=ctx.now, **dict(body))
    store.insert_monitor(ctx.conn, monitor)
    events.emit(ctx, "drift_monitor.created", monitor.id, {"name": monitor.name})
    return monitor


def change_monitor(ctx: Context, body: DriftMonitorCreate) -> DriftMonitor:
    """Replace a monitor's settings: its id and reports stay, and its next check is due at once.

    Raises DriftMonitorNotFound, and NotFound errors of the reference.
    """
    _lock(ctx, body.name)
    monitor = get_monitor(ctx, body.name)
    _check_reference(ctx, body)
    changed = monitor.model_copy(update=dict(body))
    if changed != monitor:
        store.update_monitor(ctx.conn, changed)
        events.emit(ctx, CHANGED, monitor.id, {"name": monitor.name})
    return changed


def _lock(ctx: Context, name: str) -> None:
    """Let no other transaction make, change, remove or report on the monitor of a name until this one ends."""
    store.lock(ctx.conn, f"drift monitor {name}")


def _check_reference(ctx: Context, body: DriftMonitorCreate) -> None:
    if body.release is not None:
        releases.get_release(ctx, body.release)
    reference = body.reference
    if isinstance(reference, DatasetReference):
        version = data.get_version(ctx, reference.dataset)
        names = [split.name for split in version.splits]
        if reference.split is not None and reference.split not in names:
            raise SplitNotFound(
                f"{version.ref} has no split {reference.split!r}.",
                hint=f"It has {', '.join(names)}.",
                param="reference",
            )
    elif isinstance(reference, PeriodReference) and reference.end > ctx.now:
        raise ReferenceUnfit(
            f"The period ends at {reference.end:%Y-%m-%d %H:%M} UTC, which is still to come.",
            hint="Give a period that is over: the window begins where it ends.",
            param="reference",
        )
    elif isinstance(reference, DeploymentReference) and body.environment is None:
        raise ReferenceUnfit(
            "To compare with the last deployment, the monitor must watch one environment.",
            hint="Give `environment`.",
            param="environment",
        )


def get_monitor(ctx: Context, ref: str) -> DriftMonitor:
    """Return one monitor by name or id. Raises DriftMonitorNotFound."""
    monitor = store.find_monitor(ctx.conn, id=ref) if ref.startswith("dm_") else store.find_monitor(ctx.conn, name=ref)
    if monitor is None:
        suggestions = nearest(ref, [existing.name for existing, _ in store.list_with_check_times(ctx.conn)])
        raise DriftMonitorNotFound(
            f"There is no drift monitor {ref!r}.",
            hint=f"Did you mean {', '.join(suggestions)}?"
            if suggestions
            else "`tidemill monitors list` shows what is watched.",
        )
    return monitor


def list_monitors(ctx: Context, *, cursor: str | None = None, limit: int = 50) -> Page[DriftMonitor]:
    """Return every monitor, ordered by name."""
    monitors = store.list_monitors(ctx.conn, after=cursor, limit=limit + 1)
    items = monitors[:limit]
    return Page(items=items, next_cursor=items[-1].name if len(monitors) > limit else None)


def remove_monitor(ctx: Context, ref: str) -> DriftMonitor:
    """Delete a monitor and resolve its alert; its reports stay. Raises DriftMonitorNotFound."""
    _lock(ctx, get_monitor(ctx, ref).name)
    monitor = get_monitor(ctx, ref)
    alerts.clear(ctx, _cause_key(monitor.name), why="The drift monitor was removed.")
    store.delete_monitor(ctx.conn, monitor.id)
    events.emit(ctx, REMOVED, monitor.id, {"name": monitor.name})
    return monitor


def list_all_monitors(ctx: Context) -> list[DriftMonitor]:
    """Return every drift monitor, by name."""
    return [monitor for monitor, _ in store.list_with_check_times(ctx.conn)]


def list_due_times(ctx: Context) -> list[tuple[DriftMonitor, datetime]]:
    """Return each monitor and when it is to be checked: for the scheduler. One that never was is due now."""
    return [
        (monitor, ctx.now if checked_at is None else checked_at + timedelta(minutes=monitor.every_minutes))
        for monitor, checked_at in store.list_with_check_times(ctx.conn)
    ]


def check(
    kernel: Kernel,
    actor: Actor,
    monitor: DriftMonitor,
    *,
    job_id: str | None = None,
    progress: Progress = ignore_progress,
) -> DriftReport:
    """Compare now and store the report. Opens its own transactions, and none while it computes (seconds).

    Opens or resolves the alert, and emits `drift.found`, `drift.not_found` or `drift.inconclusive` with the report's
    id, summary and verdict. With `job_id` the report is that job's: doing the job again gives the same report.
    """
    began = time.monotonic()
    with kernel.read(actor) as ctx:
        done = store.find_report(ctx.conn, job_id=job_id) if job_id is not None else None
        if done is not None:
            return done
        reference, window = sources.load_samples(ctx, monitor)
    # One thread for the linear algebra: two that wait for each other beside a busy engine are five times slower.
    with threadpool_limits(limits=1, user_api="blas"):
        findings = compare(monitor, reference, window, Embedder(kernel, actor, progress))
    with kernel.write(actor) as ctx:
        report = _report(ctx, monitor, reference, window, findings, time.monotonic() - began)
        record_report(ctx, monitor, report, job_id)
    return report


def record_report(ctx: Context, monitor: DriftMonitor, report: DriftReport, job_id: str | None = None) -> None:
    """Store a report, open or resolve the alert of its monitor, and emit the verdict's event.

    When the monitor was removed or changed since the check began, the report is only stored: it says nothing about
    what is monitored now.
    """
    _lock(ctx, monitor.name)
    store.insert_report(ctx.conn, report, job_id)
    if store.find_monitor(ctx.conn, id=monitor.id) != monitor:
        return
    store.record_check(ctx.conn, monitor.id, report.created_at)
    if report.verdict == "drift":
        alerts.raise_alert(ctx, _alert_cause(report))
    elif report.verdict == "no_drift":
        alerts.clear(ctx, _cause_key(report.monitor), why=report.summary)
    data = {"report_id": report.id, "monitor": report.monitor, "verdict": report.verdict, "summary": report.summary}
    events.emit(ctx, _EVENTS[report.verdict], report.monitor_id, data)


def _cause_key(name: str) -> str:
    return f"drift:{name}:ticket"


def _alert_cause(report: DriftReport) -> AlertCause:
    strongest = report.strongest
    evidence = {
        "report_id": report.id,
        "summary": report.summary,
        "rows_reference": report.rows_reference,
        "rows_window": report.rows_window,
        "window_start": report.window_start.isoformat() if report.window_start else None,
        "window_end": report.window_end.isoformat() if report.window_end else None,
        "test": strongest.name if strongest is not None else None,
        "p_value": strongest.adjusted_p if strongest is not None else None,
        "effect": strongest.effect if strongest is not None else None,
    }
    title = f"{report.monitor}: {report.summary}"
    return AlertCause(kind="drift", name=report.monitor, severity="ticket", title=title, evidence=evidence)


def _report(
    ctx: Context,
    monitor: DriftMonitor,
    reference: DriftSample,
    window: DriftSample,
    findings: AnalysisFindings,
    seconds: float,
) -> DriftReport:
    verdict = overall_verdict(findings.tests, findings.unanswered)
    rows_needed = [test.rows_needed for test in findings.tests if test.method == "classifier" and test.rows_needed]
    needed = max([*rows_needed, findings.missing_rows]) if verdict == "inconclusive" else 0
    times = [row.at for row in window.rows if row.at is not None]
    return DriftReport(
        id=new_id("dr"),
        monitor_id=monitor.id,
        monitor=monitor.name,
        verdict=verdict,
        summary=write_summary(verdict, findings.tests, findings.clusters, needed or None),
        rows_reference=len(reference.rows),
        rows_window=len(window.rows),
        units_reference=findings.units[0],
        units_window=findings.units[1],
        reference_label=reference.label,
        window_start=min(times, default=None),
        window_end=max(times, default=None),
        tests=findings.tests,
        clusters=findings.clusters,
        quality=findings.quality,
        notes=findings.notes,
        rows_needed=needed or None,
        seconds=round(seconds, 3),
        created_at=ctx.now,
    )


def submit_check(ctx: Context, ref: str) -> Job:
    """Submit a check as a durable job. Raises DriftMonitorNotFound."""
    monitor = get_monitor(ctx, ref)
    return ctx.kernel.get(JobQueue).submit(ctx, CHECK_JOB, {"monitor_id": monitor.id}, subject=monitor.id)


def latest_report(ctx: Context, ref: str) -> DriftReport | None:
    """Return the newest report of a monitor; None when it has not been checked. Raises DriftMonitorNotFound."""
    reports = store.list_reports(ctx.conn, get_monitor(ctx, ref).id, before=None, limit=1)
    return reports[0] if reports else None


def newest_report(ctx: Context, ref: str) -> DriftReport:
    """Return the newest report of a monitor. Raises DriftMonitorNotFound, DriftReportMissing."""
    report = latest_report(ctx, ref)
    if report is None:
        raise DriftReportMissing(f"{ref} has not been checked yet.", hint=f"tidemill monitors check {ref}")
    return report


def get_report(ctx: Context, report_id: str) -> DriftReport:
    """Return one report by its id. Raises DriftReportMissing."""
    report = store.find_report(ctx.conn, id=report_id)
    if report is None:
        raise DriftReportMissing(
            f"There is no drift report {report_id!r}.", hint="`tidemill monitors reports NAME` lists them."
        )
    return report


def list_reports(ctx: Context, ref: str, *, cursor: str | None = None, limit: int = 50) -> Page[DriftReport]:
    """Return the reports of a monitor, newest first. Raises DriftMonitorNotFound."""
    monitor = get_monitor(ctx, ref)
    return page(store.list_reports(ctx.conn, monitor.id, before=cursor, limit=limit + 1), limit)
