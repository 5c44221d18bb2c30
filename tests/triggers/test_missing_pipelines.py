"""Triggers whose pipeline is not there: refused at first, later on record without costing anything."""

import pytest

from tests.traffic import pipeline
from tests.triggers.test_triggers import DRIFT, SLOW, after, fired, make
from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.notifications.service import alerts
from tidemill.pipelines import service as pipelines
from tidemill.pipelines.types import PipelineRemove
from tidemill.triggers import service as triggers
from tidemill.triggers.types import ManualFire, TriggerIncomplete, TriggerPipelineMissing, TriggerPut


def about(ctx: Context) -> list[str]:
    return [a.title for a in alerts.list_unresolved(ctx, "trigger")]


def test_a_trigger_for_an_unknown_pipeline_is_refused_with_the_nearest_name(ctx: Context) -> None:
    pipeline(ctx, "support")
    wanted = TriggerPut(pipeline="suport", dataset="trec", max_age_s=60)
    with pytest.raises(TriggerIncomplete, match="no pipeline 'suport'") as caught:
        triggers.put(ctx, "retrain", wanted)
    assert (caught.value.param, caught.value.hint) == ("pipeline", "Did you mean support?")


def test_a_pipeline_that_vanished_costs_neither_pause_nor_budget_and_opens_one_alert(ctx: Context) -> None:
    make(ctx, cooldown_s=3600, monthly_minutes=60)
    pipelines.remove(ctx, "support", PipelineRemove())
    alerts.raise_alert(ctx, DRIFT)
    alerts.raise_alert(ctx, SLOW)
    assert triggers.evaluate_all(ctx) == triggers.evaluate_all(after(ctx, seconds=5)) == []
    (failed,) = fired(ctx)
    assert failed.error == "retrain cannot start 'support': there is no such pipeline."
    assert about(ctx) == [failed.error]
    now = triggers.get_status(ctx, "retrain")
    assert (now.cooling_until, now.spent_minutes, now.held_by) == (None, 0.0, failed.error)
    assert events.list_events(ctx.conn, kind="trigger.fired") == []
    with pytest.raises(TriggerPipelineMissing):
        triggers.fire(ctx, "retrain", ManualFire(reason="now", both=True))

    pipeline(ctx, "support")
    (firing,) = triggers.evaluate_all(after(ctx, seconds=10))
    assert firing.error is None
    assert firing.window.end - firing.window.start == failed.window.end - failed.window.start, "no traffic is lost"
    assert about(ctx) == []
    assert [f.error is None for f in fired(ctx)] == [True, False]
    assert triggers.get_status(ctx, "retrain").spent_minutes == 60


def test_a_trigger_that_is_removed_takes_its_alert_along(ctx: Context) -> None:
    make(ctx)
    pipelines.remove(ctx, "support", PipelineRemove())
    alerts.raise_alert(ctx, DRIFT)
    alerts.raise_alert(ctx, SLOW)
    triggers.evaluate_all(ctx)
    assert len(about(ctx)) == 1
    triggers.remove(ctx, "retrain")
    assert about(ctx) == []
