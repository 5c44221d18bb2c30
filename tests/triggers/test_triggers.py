"""Triggers: two conditions, a pause, a budget, and two at once that start one."""

import json
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from pydantic import ValidationError

from tests.traffic import keep_scores, pipeline, traffic
from tidemill.access.types import RoleMissing
from tidemill.core import events
from tidemill.core.actors import OWNER, Actor
from tidemill.core.errors import Unavailable
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import utc_now
from tidemill.kpis import service as kpis
from tidemill.kpis.types import KpiPut
from tidemill.notifications.service import alerts, deliveries, notifiers
from tidemill.notifications.types import AlertCause, AlertNote, NotifierPut
from tidemill.slos import service as slos
from tidemill.slos.types import SloPut
from tidemill.triggers import service as triggers
from tidemill.triggers import store
from tidemill.triggers.types import (
    ConditionsNotMet,
    Firing,
    FiringNotFound,
    FiringSettle,
    ManualFire,
    TriggerCooling,
    TriggerIncomplete,
    TriggerNotFound,
    TriggerOverBudget,
    TriggerPut,
    TriggerStatus,
)

DRIFT = AlertCause(kind="drift", name="topics", severity="ticket", title="topics moved", evidence={"p_value": 0.001})
SLOW = AlertCause(kind="slo", name="good", severity="ticket", title="quality burns", evidence={"burn": 3})
DROP = AlertCause(kind="kpi", name="thumbs", severity="ticket", title="thumbs fell", evidence={})

DEVELOPER = Actor(id="per_1", name="dev", roles=frozenset({"developer"}))


def make(ctx: Context, name: str = "retrain", **spec: object) -> None:
    pipeline(ctx)
    slos.put(ctx, "good", SloPut(kind="quality", score="correct", goal=0.8))
    kpis.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
    wanted = {"pipeline": "support", "dataset": "trec", "max_age_s": 86400, "slos": ["good"], "kpis": ["thumbs"]}
    triggers.put(ctx, name, TriggerPut.model_validate(wanted | spec))
    # A drift monitor needs a reference; its alert is all that counts here.
    store.put(ctx.conn, triggers.get(ctx, name).model_copy(update={"drift": ["topics"]}))


def fired(ctx: Context, name: str = "retrain") -> list[Firing]:
    return triggers.list_firings(ctx, name).items


def after(ctx: Context, **more: float) -> Context:
    return Context(conn=ctx.conn, actor=ctx.actor, kernel=ctx.kernel, now=ctx.now + timedelta(**more))


def test_one_condition_alone_starts_nothing(ctx: Context) -> None:
    make(ctx)
    for cause in (DRIFT, SLOW):
        alert = alerts.raise_alert(ctx, cause)
        assert triggers.evaluate_all(ctx) == []
        status = triggers.get_status(ctx, "retrain")
        assert (status.data_condition.met, status.quality_condition.met) == (cause is DRIFT, cause is SLOW)
        sent = status.model_dump_json()
        assert TriggerStatus.model_validate_json(sent) == status
        keys = json.loads(sent)["keys"]  # the form of 0.1.0, for one release
        assert [(key["number"], key["turned"]) for key in keys] == [(1, cause is DRIFT), (2, cause is SLOW)]
        assert [key["reasons"] for key in keys] == [status.data_condition.reasons, status.quality_condition.reasons]
        alerts.resolve(ctx, alert.id, AlertNote())


@pytest.mark.parametrize("second", [SLOW, DROP])
def test_both_conditions_fire_once_with_the_evidence_of_both(ctx: Context, second: AlertCause) -> None:
    make(ctx, cooldown_s=3600)
    alerts.raise_alert(ctx, DRIFT)
    alerts.raise_alert(ctx, second)
    (firing,) = triggers.evaluate_all(ctx)
    assert triggers.evaluate_all(ctx) == []
    assert firing.reasons == [DRIFT.title, second.title]
    assert [item["evidence"] for item in firing.evidence] == [DRIFT.evidence, second.evidence]
    assert (firing.window.start, firing.window.end) == (ctx.now - timedelta(days=30), ctx.now)
    (event,) = events.list_events(ctx.conn, kind="trigger.fired")
    assert event.subject == firing.trigger_id
    assert event.data["pipeline"] == "support"
    assert event.data["firing_id"] == firing.id
    assert event.data["reasons"] == firing.reasons
    assert set(event.data["window"]) == {"start", "end"}
    assert triggers.get_status(ctx, "retrain").cooling_until == ctx.now + timedelta(hours=1)


def test_a_condition_that_lasts_fires_again_after_the_pause_on_newer_traffic(ctx: Context) -> None:
    make(ctx, cooldown_s=3600, monthly_minutes=40_000)
    alerts.raise_alert(ctx, DRIFT)
    alerts.raise_alert(ctx, SLOW)
    triggers.evaluate_all(ctx)
    assert triggers.evaluate_all(after(ctx, minutes=59)) == []
    (second,) = triggers.evaluate_all(after(ctx, minutes=61))
    assert second.window.start == ctx.now
    assert len(fired(ctx)) == 2


def test_a_trigger_that_is_off_fires_by_hand_only(ctx: Context) -> None:
    make(ctx, enabled=False)
    alerts.raise_alert(ctx, DRIFT)
    alerts.raise_alert(ctx, SLOW)
    assert triggers.evaluate_all(ctx) == []
    assert triggers.fire(ctx, "retrain", ManualFire(reason="now")).by == "owner"


def test_the_month_s_budget_holds_it_back_and_says_so_once(ctx: Context) -> None:
    make(ctx, cooldown_s=1, expected_minutes=60, monthly_minutes=100)
    alerts.raise_alert(ctx, DRIFT)
    alerts.raise_alert(ctx, SLOW)
    (first,) = triggers.evaluate_all(ctx)
    later = after(ctx, seconds=5)
    assert triggers.evaluate_all(later) == triggers.evaluate_all(later) == []
    assert len(events.list_events(ctx.conn, kind="trigger.held")) == 1
    assert "60 of 100 minutes" in (triggers.get_status(later, "retrain").held_by or "")
    with pytest.raises(TriggerOverBudget):
        triggers.fire(later, "retrain", ManualFire(reason="please"))
    triggers.settle_firing(later, first.id, FiringSettle(minutes=30, run_id="run_1"))
    assert len(triggers.evaluate_all(later)) == 1, "the run took less than was expected"
    assert triggers.get_status(later, "retrain").spent_minutes == 90
    assert fired(ctx)[-1].run_id == "run_1"


def test_a_new_month_has_a_new_budget(ctx: Context) -> None:
    make(ctx, cooldown_s=1, expected_minutes=60, monthly_minutes=60)
    alerts.raise_alert(ctx, DRIFT)
    alerts.raise_alert(ctx, SLOW)
    triggers.evaluate_all(ctx)
    assert len(triggers.evaluate_all(after(ctx, days=32))) == 1


def test_a_person_stands_in_for_the_quality_condition_only(ctx: Context) -> None:
    make(ctx)
    with pytest.raises(ConditionsNotMet):
        triggers.fire(ctx, "retrain", ManualFire(reason="I feel like it"))
    alerts.raise_alert(ctx, DRIFT)
    firing = triggers.fire(ctx, "retrain", ManualFire(reason="customers complain"))
    assert firing.reasons == [DRIFT.title, "by hand: customers complain"]
    with pytest.raises(TriggerCooling):
        triggers.fire(ctx, "retrain", ManualFire(reason="again"))


def test_firing_without_any_condition_is_an_admin_s(kernel: Kernel) -> None:
    with kernel.write(DEVELOPER) as ctx:
        make(ctx)
        with pytest.raises(RoleMissing):
            triggers.fire(ctx, "retrain", ManualFire(reason="now", both=True))
    with kernel.write(OWNER) as ctx:
        (person,) = triggers.fire(ctx, "retrain", ManualFire(reason="now", both=True)).evidence
        assert person["both_conditions"] is person["both_keys"] is True


def test_people_are_told_that_it_fired(ctx: Context) -> None:
    for name, severity in (("team", "ticket"), ("night", "page")):
        spec = {"kind": "slack", "url": "http://127.0.0.1:9/", "severities": [severity]}
        notifiers.put(ctx, name, NotifierPut.model_validate(spec))
    make(ctx)
    triggers.fire(ctx, "retrain", ManualFire(reason="now", both=True))
    assert [(d.notifier, d.what) for d in deliveries.list_deliveries(ctx).items] == [("team", "trigger.fired")]


def test_two_at_once_start_one(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        make(ctx)
        alerts.raise_alert(ctx, DRIFT)
        alerts.raise_alert(ctx, SLOW)
    barrier = Barrier(5)

    def look() -> None:
        barrier.wait()
        with kernel.write(OWNER) as ctx:
            triggers.evaluate_all(ctx)

    threads = [Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with kernel.read(OWNER) as ctx:
        assert len(fired(ctx)) == 1
        assert len(events.list_events(ctx.conn, kind="trigger.fired")) == 1


def test_whoever_listens_is_told_in_the_same_transaction(kernel: Kernel) -> None:
    heard = []
    kernel.listeners = {**kernel.listeners, "trigger.fired": [lambda ctx, event: heard.append(event.data)]}

    def fire_and_fail() -> None:
        with kernel.write(OWNER) as ctx:
            make(ctx)
            triggers.fire(ctx, "retrain", ManualFire(reason="now", both=True))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fire_and_fail()
    assert len(heard) == 1
    with kernel.read(OWNER) as ctx, pytest.raises(TriggerNotFound):
        triggers.get(ctx, "retrain")


def test_a_listener_that_refuses_takes_no_alert_back(kernel: Kernel) -> None:
    def refuse(*_: object) -> None:
        raise Unavailable("no room for a run")

    kernel.listeners = {**kernel.listeners, "trigger.fired": [refuse]}
    with kernel.write(OWNER) as ctx:
        make(ctx)
        alerts.raise_alert(ctx, DRIFT)
        alerts.raise_alert(ctx, SLOW)
        assert triggers.evaluate_all(ctx) == triggers.evaluate_all(ctx) == []
    with kernel.read(OWNER) as ctx:
        assert len(alerts.list_unresolved(ctx)) == 2
        (held,) = events.list_events(ctx.conn, kind="trigger.held")
        assert held.data["why"] == "no room for a run"
        assert fired(ctx) == []


def test_a_real_drop_meets_the_quality_condition(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        make(ctx)
        alerts.raise_alert(ctx, DRIFT)
    keep_scores(kernel, "feedback", [1.0, 0.0] * 50)
    assert kpis.check(kernel, OWNER, "thumbs").verdict == "fail"
    with kernel.read(OWNER) as ctx:
        assert [f.by for f in fired(ctx)] == ["owner"]


def test_good_traffic_fires_nothing(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        make(ctx)
        alerts.raise_alert(ctx, DRIFT)
    traffic(kernel, utc_now(), timedelta(hours=1), 50)
    keep_scores(kernel, "correct", [1.0] * 100)
    slos.check(kernel, OWNER, "good")
    with kernel.read(OWNER) as ctx:
        assert fired(ctx) == []


def test_names_that_are_not_there_are_refused(ctx: Context) -> None:
    with pytest.raises(TriggerIncomplete, match="goods") as caught:
        make(ctx, slos=["goods"])
    assert caught.value.hint == "Did you mean good?"
    with pytest.raises(FiringNotFound):
        triggers.settle_firing(ctx, "fir_none", FiringSettle(minutes=1))


@pytest.mark.parametrize(
    "spec", [{}, {"dataset": "trec"}, {"max_age_s": 60}, {"drift": ["x"], "cooldown_s": 0}, {"drift": ["x"], "x": 1}]
)
def test_a_trigger_without_a_data_condition_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TriggerPut.model_validate({"pipeline": "support"} | spec)
