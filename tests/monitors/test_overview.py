"""Everything that is monitored in one list, and what a drift report sets off."""

from datetime import timedelta

import pytest

from tests.traffic import keep_scores, pipeline
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import new_id, utc_now
from tidemill.drift import service as drift
from tidemill.drift.types import (
    DriftMonitor,
    DriftMonitorCreate,
    DriftMonitorNotFound,
    DriftReport,
    DriftTest,
    PeriodReference,
)
from tidemill.jobs.service import JobQueue
from tidemill.kpis import service as kpis
from tidemill.kpis.types import KpiPut
from tidemill.monitors import service as monitors
from tidemill.monitors import store
from tidemill.monitors.scheduler import Scheduler
from tidemill.monitors.types import MonitorNotFound
from tidemill.notifications.service import alerts
from tidemill.triggers import service as triggers
from tidemill.triggers.types import TriggerPut


def watch(ctx: Context, name: str = "topics") -> DriftMonitor:
    now = utc_now()
    reference = PeriodReference(start=now - timedelta(days=2), end=now - timedelta(days=1))
    return drift.create_monitor(ctx, DriftMonitorCreate(name=name, reference=reference))


def say(ctx: Context, monitor: DriftMonitor, verdict: str) -> DriftReport:
    """Keep a report and tell of it, as a check does at its end."""
    test = DriftTest(
        name="inputs.classifier", field="inputs", method="classifier", rows_reference=500, rows_window=300,
        statistic=0.64, effect=0.64, minimum_effect=0.525, noise=0.53, p_value=0.001, adjusted_p=0.004,
        verdict=verdict, rows_needed=None,
    )  # fmt: skip
    report = DriftReport(
        id=new_id("dr"), monitor_id=monitor.id, monitor=monitor.name, verdict=verdict, summary=f"said {verdict}",
        rows_reference=500, rows_window=300, units_reference=500, units_window=300, reference_label="a day",
        window_start=ctx.now, window_end=ctx.now, tests=[test], clusters=[], quality=[], notes=[], rows_needed=None,
        seconds=1.0, created_at=ctx.now,
    )  # fmt: skip
    drift.record_report(ctx, monitor, report)
    return report


def titles(ctx: Context) -> list[str]:
    return [alert.title for alert in alerts.list_unresolved(ctx, "drift")]


def test_a_drift_report_opens_keeps_and_resolves_one_alert(ctx: Context) -> None:
    monitor = watch(ctx)
    report = say(ctx, monitor, "drift")
    (alert,) = alerts.list_unresolved(ctx)
    assert (alert.kind, alert.name, alert.severity, alert.title) == ("drift", "topics", "ticket", "topics: said drift")
    assert alert.evidence["report_id"] == report.id
    assert (alert.evidence["p_value"], alert.evidence["effect"]) == (0.004, 0.64)
    say(ctx, monitor, "drift")
    say(ctx, monitor, "inconclusive")
    assert len(titles(ctx)) == 1
    say(ctx, monitor, "no_drift")
    assert titles(ctx) == []


def test_drift_and_a_drop_start_the_pipeline_in_either_order(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        monitor = watch(ctx)
        pipeline(ctx)
        kpis.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
        triggers.put(ctx, "retrain", TriggerPut(pipeline="support", drift=["topics"], kpis=["thumbs"], cooldown_s=60))
    keep_scores(kernel, "feedback", [1.0, 0.0] * 50)
    kpis.check(kernel, OWNER, "thumbs")
    with kernel.write(OWNER) as ctx:
        assert triggers.list_firings(ctx, "retrain").items == []
        report = say(ctx, monitor, "drift")
        (firing,) = triggers.list_firings(ctx, "retrain").items
    assert firing.evidence[0]["evidence"]["report_id"] == report.id
    assert firing.evidence[1]["kind"] == "kpi"


def test_a_trigger_on_a_drift_monitor_that_is_not_there_is_refused(ctx: Context) -> None:
    watch(ctx)
    pipeline(ctx)
    with pytest.raises(DriftMonitorNotFound) as caught:
        triggers.put(ctx, "retrain", TriggerPut(pipeline="support", drift=["topic"]))
    assert caught.value.hint == "Did you mean topics?"


def test_a_check_that_ends_after_its_monitor_was_removed_or_changed_raises_no_alert(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        before = watch(ctx)
        drift.change_monitor(ctx, DriftMonitorCreate(name="topics", reference=before.reference, minimum_rows=60))
        report = say(ctx, before, "drift")
        assert drift.get_report(ctx, report.id) == report
        assert titles(ctx) == []
        assert drift.list_due_times(ctx)[0][1] == ctx.now, "what it is now has not been checked yet"
        after = drift.remove_monitor(ctx, "topics")
        say(ctx, after, "drift")
        assert titles(ctx) == []


def test_a_monitor_that_is_removed_leaves_no_alert(ctx: Context) -> None:
    monitor = watch(ctx)
    say(ctx, monitor, "drift")
    drift.remove_monitor(ctx, "topics")
    assert titles(ctx) == []


def test_the_list_shows_all_kinds_with_what_they_said(ctx: Context) -> None:
    say(ctx, watch(ctx), "drift")
    watch(ctx, "new")
    kpis.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
    found = {(m.kind, m.name): m for m in monitors.list_monitors(ctx).items}
    assert list(found) == [("kpi", "thumbs"), ("drift", "new"), ("drift", "topics")]
    assert found["drift", "topics"].verdict == "fail"
    assert len(found["drift", "topics"].alerts) == 1
    assert found["drift", "new"].verdict is None


def test_a_check_of_what_is_not_there_names_the_nearest(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        watch(ctx)
    with pytest.raises(MonitorNotFound) as caught:
        monitors.check(kernel, OWNER, "topisc")
    assert caught.value.hint == "Did you mean topics?"


def test_the_scheduler_asks_for_each_drift_check_once(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        monitor = watch(ctx)
    for _ in range(3):
        Scheduler(kernel).submit_drift_checks()
    with kernel.read(OWNER) as ctx:
        (job,) = kernel.get(JobQueue).list(ctx, kind=drift.CHECK_JOB).items
    assert job.subject == monitor.id


def test_a_monitor_that_is_changed_keeps_its_reports_and_is_due_at_once(ctx: Context) -> None:
    monitor = watch(ctx)
    say(ctx, monitor, "drift")
    key = f"drift:{monitor.name}"
    assert store.acquire_lease(ctx.conn, key, ctx.now, ctx.now + timedelta(days=1))
    body = DriftMonitorCreate.model_validate(monitor.model_dump(include=set(DriftMonitorCreate.model_fields)))
    changed = drift.change_monitor(ctx, body.model_copy(update={"alpha": 0.001}))
    assert (changed.id, changed.alpha) == (monitor.id, 0.001)
    assert drift.get_monitor(ctx, monitor.id) == changed
    assert len(drift.list_reports(ctx, monitor.name).items) == 1
    assert key not in store.next_times(ctx.conn)
    assert [m.id for m, due in drift.list_due_times(ctx) if due <= ctx.now] == [monitor.id]
