"""Triggers: two keys, a pause, a budget, and two at once that start one."""

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from pydantic import ValidationError

from tests.monitors.worlds import keep_scores, pipeline, traffic
from tidemill.access.types import RoleMissing
from tidemill.core import events
from tidemill.core.actors import OWNER, Actor
from tidemill.core.errors import Unavailable
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import utc_now
from tidemill.monitors import alerts, indicators, notifiers, objectives, triggers
from tidemill.monitors.store import triggers as store
from tidemill.monitors.types import (
    Cause,
    Firing,
    FiringNotFound,
    FiringSettle,
    Hand,
    KeysMissing,
    KpiPut,
    NotifierPut,
    SloPut,
    TriggerCooling,
    TriggerIncomplete,
    TriggerNotFound,
    TriggerOverBudget,
    TriggerPut,
)

DRIFT = Cause(kind="drift", name="topics", severity="ticket", title="topics moved", evidence={"p_value": 0.001})
SLOW = Cause(kind="slo", name="good", severity="ticket", title="quality burns", evidence={"burn": 3})
DROP = Cause(kind="kpi", name="thumbs", severity="ticket", title="thumbs fell", evidence={})

DEVELOPER = Actor(id="per_1", name="dev", roles=frozenset({"developer"}))


def make(ctx: Context, name: str = "retrain", **spec: object) -> None:
    pipeline(ctx)
    objectives.put(ctx, "good", SloPut(kind="quality", score="correct", goal=0.8))
    indicators.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
    wanted = {"pipeline": "support", "dataset": "trec", "max_age_s": 86400, "slos": ["good"], "kpis": ["thumbs"]}
    triggers.put(ctx, name, TriggerPut.model_validate(wanted | spec))
    row = store.by_name(ctx.conn, name)
    assert row is not None
    store.update(ctx.conn, row["id"], spec=row["spec"] | {"drift": ["topics"]})


def fired(ctx: Context, name: str = "retrain") -> list[Firing]:
    return triggers.firings(ctx, name).items


def after(ctx: Context, **more: float) -> Context:
    return Context(conn=ctx.conn, actor=ctx.actor, kernel=ctx.kernel, now=ctx.now + timedelta(**more))


def test_one_key_alone_starts_nothing(ctx: Context) -> None:
    make(ctx)
    for cause in (DRIFT, SLOW):
        alert = alerts.raise_(ctx, cause)
        assert triggers.look_at_all(ctx) == []
        assert [key.turned for key in triggers.status(ctx, "retrain").keys] == [cause is DRIFT, cause is SLOW]
        alerts.resolve(ctx, alert.id, alerts.AlertNote())


@pytest.mark.parametrize("second", [SLOW, DROP])
def test_both_keys_fire_once_with_the_evidence_of_both(ctx: Context, second: Cause) -> None:
    make(ctx, cooldown_s=3600)
    alerts.raise_(ctx, DRIFT)
    alerts.raise_(ctx, second)
    (firing,) = triggers.look_at_all(ctx)
    assert triggers.look_at_all(ctx) == []
    assert firing.reasons == [DRIFT.title, second.title]
    assert [item["evidence"] for item in firing.evidence] == [DRIFT.evidence, second.evidence]
    assert (firing.window.start, firing.window.end) == (ctx.now - timedelta(days=30), ctx.now)
    (event,) = events.listing(ctx.conn, kind="trigger.fired")
    assert event.subject == firing.trigger_id
    assert event.data["pipeline"] == "support"
    assert event.data["firing_id"] == firing.id
    assert event.data["reasons"] == firing.reasons
    assert set(event.data["window"]) == {"start", "end"}
    assert triggers.status(ctx, "retrain").cooling_until == ctx.now + timedelta(hours=1)


def test_a_condition_that_lasts_fires_again_after_the_pause_on_newer_traffic(ctx: Context) -> None:
    make(ctx, cooldown_s=3600, monthly_minutes=40_000)
    alerts.raise_(ctx, DRIFT)
    alerts.raise_(ctx, SLOW)
    triggers.look_at_all(ctx)
    assert triggers.look_at_all(after(ctx, minutes=59)) == []
    (second,) = triggers.look_at_all(after(ctx, minutes=61))
    assert second.window.start == ctx.now
    assert len(fired(ctx)) == 2


def test_a_trigger_that_is_off_fires_by_hand_only(ctx: Context) -> None:
    make(ctx, enabled=False)
    alerts.raise_(ctx, DRIFT)
    alerts.raise_(ctx, SLOW)
    assert triggers.look_at_all(ctx) == []
    assert triggers.turn(ctx, "retrain", Hand(reason="now")).by == "owner"


def test_the_month_s_budget_holds_it_back_and_says_so_once(ctx: Context) -> None:
    make(ctx, cooldown_s=1, expected_minutes=60, monthly_minutes=100)
    alerts.raise_(ctx, DRIFT)
    alerts.raise_(ctx, SLOW)
    (first,) = triggers.look_at_all(ctx)
    later = after(ctx, seconds=5)
    assert triggers.look_at_all(later) == triggers.look_at_all(later) == []
    assert len(events.listing(ctx.conn, kind="trigger.held")) == 1
    assert "60 of 100 minutes" in (triggers.status(later, "retrain").held_by or "")
    with pytest.raises(TriggerOverBudget):
        triggers.turn(later, "retrain", Hand(reason="please"))
    triggers.settle(later, first.id, FiringSettle(minutes=30, run_id="run_1"))
    assert len(triggers.look_at_all(later)) == 1, "the run took less than was expected"
    assert triggers.status(later, "retrain").spent_minutes == 90
    assert fired(ctx)[-1].run_id == "run_1"


def test_a_new_month_has_a_new_budget(ctx: Context) -> None:
    make(ctx, cooldown_s=1, expected_minutes=60, monthly_minutes=60)
    alerts.raise_(ctx, DRIFT)
    alerts.raise_(ctx, SLOW)
    triggers.look_at_all(ctx)
    assert len(triggers.look_at_all(after(ctx, days=32))) == 1


def test_a_person_s_hand_is_the_second_key_only(ctx: Context) -> None:
    make(ctx)
    with pytest.raises(KeysMissing):
        triggers.turn(ctx, "retrain", Hand(reason="I feel like it"))
    alerts.raise_(ctx, DRIFT)
    firing = triggers.turn(ctx, "retrain", Hand(reason="customers complain"))
    assert firing.reasons == [DRIFT.title, "by hand: customers complain"]
    with pytest.raises(TriggerCooling):
        triggers.turn(ctx, "retrain", Hand(reason="again"))


def test_both_keys_by_hand_are_an_admin_s(kernel: Kernel) -> None:
    with kernel.write(DEVELOPER) as ctx:
        make(ctx)
        with pytest.raises(RoleMissing):
            triggers.turn(ctx, "retrain", Hand(reason="now", both=True))
    with kernel.write(OWNER) as ctx:
        (hand,) = triggers.turn(ctx, "retrain", Hand(reason="now", both=True)).evidence
        assert hand["both_keys"] is True


def test_people_are_told_that_it_fired(ctx: Context) -> None:
    for name, severity in (("team", "ticket"), ("night", "page")):
        spec = {"kind": "slack", "url": "http://127.0.0.1:9/", "severities": [severity]}
        notifiers.put(ctx, name, NotifierPut.model_validate(spec))
    make(ctx)
    triggers.turn(ctx, "retrain", Hand(reason="now", both=True))
    assert [(d.notifier, d.what) for d in notifiers.deliveries(ctx).items] == [("team", "trigger.fired")]


def test_two_at_once_start_one(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        make(ctx)
        alerts.raise_(ctx, DRIFT)
        alerts.raise_(ctx, SLOW)
    barrier = Barrier(5)

    def look() -> None:
        barrier.wait()
        with kernel.write(OWNER) as ctx:
            triggers.look_at_all(ctx)

    threads = [Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with kernel.read(OWNER) as ctx:
        assert len(fired(ctx)) == 1
        assert len(events.listing(ctx.conn, kind="trigger.fired")) == 1


def test_whoever_listens_is_told_in_the_same_transaction(kernel: Kernel) -> None:
    heard = []
    kernel.listeners = {**kernel.listeners, "trigger.fired": [lambda ctx, event: heard.append(event.data)]}

    def fire_and_fail() -> None:
        with kernel.write(OWNER) as ctx:
            make(ctx)
            triggers.turn(ctx, "retrain", Hand(reason="now", both=True))
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
        alerts.raise_(ctx, DRIFT)
        alerts.raise_(ctx, SLOW)
        assert triggers.look_at_all(ctx) == triggers.look_at_all(ctx) == []
    with kernel.read(OWNER) as ctx:
        assert len(alerts.unresolved(ctx)) == 2
        (held,) = events.listing(ctx.conn, kind="trigger.held")
        assert held.data["why"] == "no room for a run"
        assert fired(ctx) == []


def test_a_real_drop_turns_the_second_key(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        make(ctx)
        alerts.raise_(ctx, DRIFT)
    keep_scores(kernel, "feedback", [1.0, 0.0] * 50)
    assert indicators.check(kernel, OWNER, "thumbs").verdict == "fail"
    with kernel.read(OWNER) as ctx:
        assert [f.by for f in fired(ctx)] == ["owner"]


def test_good_traffic_turns_nothing(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        make(ctx)
        alerts.raise_(ctx, DRIFT)
    traffic(kernel, utc_now(), timedelta(hours=1), 50)
    keep_scores(kernel, "correct", [1.0] * 100)
    objectives.check(kernel, OWNER, "good")
    with kernel.read(OWNER) as ctx:
        assert fired(ctx) == []


def test_names_that_are_not_there_are_refused(ctx: Context) -> None:
    with pytest.raises(TriggerIncomplete, match="goods") as caught:
        make(ctx, slos=["goods"])
    assert caught.value.hint == "Did you mean good?"
    with pytest.raises(FiringNotFound):
        triggers.settle(ctx, "fir_none", FiringSettle(minutes=1))


@pytest.mark.parametrize(
    "spec", [{}, {"dataset": "trec"}, {"max_age_s": 60}, {"drift": ["x"], "cooldown_s": 0}, {"drift": ["x"], "x": 1}]
)
def test_a_trigger_without_a_first_key_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TriggerPut.model_validate({"pipeline": "support"} | spec)
