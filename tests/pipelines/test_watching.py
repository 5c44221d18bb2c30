"""Monitors, objectives, indicators and triggers as the document declares them."""

import pytest

from tests.pipelines.conftest import Desk, small
from tidemill.core import events
from tidemill.core.actors import OWNER
from tidemill.kpis import service as kpis
from tidemill.pipelines.types import PipelineInvalid
from tidemill.slos import service as slos
from tidemill.triggers import service as triggers
from tidemill.triggers.types import ManualFire, TriggerNotFound

WATCHED = {
    "monitors": [{"name": "inputs", "environment": "prod", "reference": {"kind": "dataset", "dataset": "questions"}}],
    "slos": [{"name": "errors", "kind": "errors", "goal": 0.99}],
    "kpis": [{"name": "thumbs", "score": "feedback", "floor": 0.7}],
    "triggers": [{"name": "retrain", "drift": ["inputs"], "kpis": ["thumbs"]}],
}


def test_what_is_declared_is_watched_as_soon_as_it_can_be(both: Desk) -> None:
    path = both.write(small(**WATCHED))
    applied = both.pipelines.apply(path)
    # The drift monitor compares with a dataset that the first run makes, and the trigger names that monitor.
    assert [text.partition(":")[0] for text in applied.later] == ["monitors.inputs", "triggers.retrain"]
    run = both.turned()
    assert run.state == "succeeded", run.error
    assert run.step("watch").outputs == {"made": ["monitors.inputs", "triggers.retrain"]}
    with both.kernel.read(OWNER) as ctx:
        assert triggers.get(ctx, "retrain").pipeline == "small"
        assert slos.get(ctx, "errors").goal == 0.99
    again = both.turned()
    assert (again.step("watch").state, again.changed) == ("unchanged", False)


def test_what_is_declared_no_more_is_watched_no_more(desk: Desk) -> None:
    desk.pipelines.apply(desk.write(small(**WATCHED)))
    desk.turned()
    fewer = {**WATCHED, "triggers": [], "kpis": [{"name": "thumbs", "score": "feedback", "floor": 0.8}]}
    plan = desk.pipelines.plan(desk.write(small(**fewer)))
    assert [(c.action, c.path) for c in plan.changes] == [
        ("change", "kpis.thumbs.floor"),
        ("remove", "triggers.retrain"),
    ]
    desk.pipelines.apply(desk.write(small(**fewer)))
    with desk.kernel.read(OWNER) as ctx:
        assert kpis.get(ctx, "thumbs").floor == 0.8
        with pytest.raises(TriggerNotFound):
            triggers.get(ctx, "retrain")


def test_a_trigger_starts_the_run_and_is_told_what_it_took(desk: Desk) -> None:
    desk.pipelines.apply(desk.write(small(**WATCHED)))
    desk.turned()
    with desk.kernel.write(OWNER) as ctx:
        firing = triggers.fire(ctx, "retrain", ManualFire(reason="I want to see it", both=True))
    run = desk.runs.wait("small", timeout=120)
    assert (run.number, run.causes[0].kind, run.causes[0].by) == (2, "trigger", "retrain")
    assert run.causes[0].firing_id == firing.id
    assert run.causes[0].reasons == ["by hand: I want to see it"]
    with desk.kernel.read(OWNER) as ctx:
        settled = triggers.list_firings(ctx, "retrain").items[0]
        assert events.list_events(ctx.conn, kind="pipeline_run.not_settled") == []
    assert settled.run_id == run.id
    assert settled.spent_minutes is not None


@pytest.mark.parametrize(
    ("section", "item", "word"),
    [
        ("monitors", {"name": "m", "reference": {"kind": "dataset", "dataset": "q"}, "windw": {}}, "window"),
        ("slos", {"name": "s", "kind": "latncy", "goal": 0.9}, "latency"),
        ("triggers", {"name": "t", "drift": ["m"], "cooldwn_s": 4}, "cooldown_s"),
    ],
)
def test_typing_errors_in_them_are_shown(desk: Desk, section: str, item: dict, word: str) -> None:
    with pytest.raises(PipelineInvalid) as caught:
        desk.pipelines.plan(desk.write(small(**{section: [item]})))
    assert "tidemill.yaml:" in caught.value.message
    assert word in (caught.value.hint or "")
