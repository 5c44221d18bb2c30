"""Pipelines that are removed, and documents that change what they had watched before."""

import pytest

from tests.pipelines.conftest import Desk, small
from tests.pipelines.test_watching import WATCHED
from tidemill.core.actors import OWNER
from tidemill.drift import service as drift
from tidemill.drift.types import DriftMonitor
from tidemill.jobs.service import JobQueue
from tidemill.kpis import service as kpis
from tidemill.kpis.types import Kpi
from tidemill.monitors import service as monitors
from tidemill.pipelines.types import PipelineBusy, PipelineInvalid, PipelineNotFound
from tidemill.slos import service as slos
from tidemill.slos.types import Slo, SloNotFound
from tidemill.triggers import service as triggers
from tidemill.triggers.types import Trigger, TriggerPut


def watched(desk: Desk) -> tuple[DriftMonitor, Slo, Kpi, Trigger]:
    with desk.kernel.read(OWNER) as ctx:
        return (
            drift.get_monitor(ctx, "inputs"),
            slos.get(ctx, "errors"),
            kpis.get(ctx, "thumbs"),
            triggers.get(ctx, "retrain"),
        )


def names(desk: Desk) -> list[str]:
    with desk.kernel.read(OWNER) as ctx:
        return [state.name for state in monitors.list_monitors(ctx).items] + [
            t.name for t in triggers.list_triggers(ctx).items
        ]


def test_a_removed_pipeline_starts_nothing_and_can_still_be_read(both: Desk) -> None:
    both.pipelines.apply(both.write(small(**WATCHED)))
    first = both.turned()
    with both.kernel.write(OWNER) as ctx:
        other = TriggerPut(pipeline="small", dataset="questions", max_age_s=60)
        triggers.put(ctx, "by-hand", other)
    done = both.pipelines.remove("small")
    assert done.retired == ["triggers.retrain", "kpis.thumbs", "slos.errors", "monitors.inputs"]
    assert (done.cancelled, done.named_by, done.pipeline.removed_by) == (None, ["by-hand"], "owner")
    assert names(both) == ["by-hand"]
    assert both.pipelines.list().items == []
    for refused in (both.pipelines.get, both.runs.start, both.pipelines.remove):
        with pytest.raises(PipelineNotFound, match="owner removed the pipeline small"):
            refused("small")
    assert both.pipelines.get("small@1").removed_at is not None
    assert both.runs.get("small").id == both.runs.get("small#1").id == first.id
    assert [r.ref for r in both.runs.list(pipeline="small").items] == ["small#1"]

    plan = both.pipelines.plan(both.write(small(**WATCHED)))
    assert (plan.new, {c.action for c in plan.changes}) == (True, {"add"})
    again = both.pipelines.apply(both.write(small(**WATCHED)))
    assert (again.pipeline.ref, again.pipeline.removed_at) == ("small@2", None)
    assert set(names(both)) == {"by-hand", "inputs", "errors", "thumbs", "retrain"}
    assert both.turned().ref == "small#2"


def test_a_pipeline_with_a_run_on_its_way_is_only_removed_with_cancel(desk: Desk) -> None:
    desk.kernel.get(JobQueue).stop()
    desk.pipelines.apply(desk.write(small(**WATCHED)))
    run = desk.runs.start("small")
    with pytest.raises(PipelineBusy, match="small#1 is on its way") as caught:
        desk.pipelines.remove("small")
    assert "tidemill pipelines remove small --cancel" in str(caught.value.hint)
    assert desk.pipelines.remove("small", cancel=True).cancelled == "small#1"
    desk.kernel.get(JobQueue).start(desk.kernel)
    assert desk.runs.wait(run.id, check=False, timeout=120).state == "cancelled"
    assert names(desk) == []
    with pytest.raises(PipelineNotFound):
        desk.runs.retry(run.ref)


def test_a_change_in_the_document_changes_what_it_made_before(both: Desk) -> None:
    both.pipelines.apply(both.write(small(**WATCHED)))
    both.turned()
    before = watched(both)
    changed = {
        "monitors": [WATCHED["monitors"][0] | {"alpha": 0.01}],
        "slos": [WATCHED["slos"][0] | {"goal": 0.999}],
        "kpis": [WATCHED["kpis"][0] | {"floor": 0.9}],
        "triggers": [WATCHED["triggers"][0] | {"cooldown_s": 7200}],
    }
    plan = both.pipelines.plan(both.write(small(**changed)))
    assert [(c.action, c.path) for c in plan.changes] == [
        ("add", "monitors.inputs.alpha"),
        ("change", "slos.errors.goal"),
        ("change", "kpis.thumbs.floor"),
        ("add", "triggers.retrain.cooldown_s"),
    ]
    applied = both.pipelines.apply(both.write(small(**changed)))
    assert applied.later == []
    after = watched(both)
    assert [one.id for one in after] == [one.id for one in before]
    assert (after[0].alpha, after[1].goal, after[2].floor, after[3].cooldown_s) == (0.01, 0.999, 0.9, 7200)
    assert sorted(names(both)) == ["errors", "inputs", "retrain", "thumbs"]


def test_a_run_of_an_earlier_document_brings_nothing_back(desk: Desk) -> None:
    desk.kernel.get(JobQueue).stop()
    desk.pipelines.apply(desk.write(small(**WATCHED)))
    run = desk.runs.start("small")
    desk.pipelines.apply(desk.write(small(**WATCHED | {"slos": [], "triggers": []})))
    desk.kernel.get(JobQueue).start(desk.kernel)
    assert desk.runs.wait(run.id, timeout=120).version == 1
    assert sorted(names(desk)) == ["inputs", "thumbs"]


def test_what_another_document_declares_too_stays(desk: Desk) -> None:
    desk.pipelines.apply(desk.write(small(**WATCHED)))
    desk.pipelines.apply(desk.write({"name": "other", "slos": WATCHED["slos"]}))
    assert desk.pipelines.remove("small").retired == ["kpis.thumbs"]
    assert names(desk) == ["errors"]
    desk.pipelines.remove("other")
    with desk.kernel.read(OWNER) as ctx, pytest.raises(SloNotFound):
        slos.get(ctx, "errors")


def test_a_trigger_in_the_document_names_a_pipeline_that_is_there(desk: Desk) -> None:
    trigger = {"name": "other", "pipeline": "smal", "dataset": "questions", "max_age_s": 60}
    with pytest.raises(PipelineInvalid, match="there is no pipeline 'smal'") as caught:
        desk.pipelines.plan(desk.write(small(triggers=[trigger])))
    assert "tidemill.yaml:" in caught.value.message
    assert caught.value.hint == "Did you mean 'small'?"
