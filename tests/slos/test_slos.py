"""SLOs: what is counted, the error budget, burn alerts, and keeping silent on few figures."""

from datetime import timedelta
from threading import Thread

import pytest
from pydantic import ValidationError

from tests.traffic import call, keep_scores, traffic
from tidemill.core import events
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import utc_now
from tidemill.notifications.service import alerts
from tidemill.notifications.store import alerts as alert_store
from tidemill.notifications.types import AlertCause
from tidemill.slos import burn_rate, store
from tidemill.slos import service as slos
from tidemill.slos.types import SloCounts, SloNotFound, SloPut, SloStatus
from tidemill.traces.store import TraceStore

HOUR = timedelta(hours=1)


def make(kernel: Kernel, name: str = "answers", **spec: object) -> None:
    with kernel.write(OWNER) as ctx:
        slos.put(ctx, name, SloPut.model_validate({"kind": "errors", "goal": 0.99} | spec))


def status(kernel: Kernel, name: str = "answers") -> SloStatus:
    with kernel.read(OWNER) as ctx:
        return slos.get_status(ctx, name)


def standing(kernel: Kernel, name: str = "answers") -> list[tuple[str, str]]:
    with kernel.read(OWNER) as ctx:
        return [(a.severity, a.state) for a in alerts.list_unresolved(ctx, "slo", name)]


def test_errors_are_counted_and_the_budget_is_what_is_left_of_them(kernel: Kernel) -> None:
    make(kernel, window_s=86400)
    traffic(kernel, utc_now(), 20 * HOUR, 1000, bad=5)
    found = status(kernel)
    assert found.counts == SloCounts(total=1000, bad=5)
    assert found.share == pytest.approx(0.995)
    assert found.budget_left == pytest.approx(0.5)
    assert found.low is not None
    assert found.low < 0.99 < found.share
    assert (found.verdict, found.alerts) == ("inconclusive", [])
    assert found.needed is not None
    assert 0 < found.needed < 1000


def test_a_check_that_ends_after_its_slo_was_changed_says_nothing_of_the_new_one(kernel: Kernel) -> None:
    make(kernel)
    with kernel.read(OWNER) as ctx:
        old = slos.get(ctx, "answers")
    make(kernel, kind="latency", threshold_ms=60_000)
    with kernel.write(OWNER) as ctx:
        assert not store.record_check(ctx.conn, old, at=ctx.now, verdict="fail", summary="")
        record = store.by_name(ctx.conn, "answers")
    assert record is not None
    assert record.verdict is None


def test_latency_counts_answers_that_took_longer_and_leaves_failures_out(kernel: Kernel) -> None:
    make(kernel, "fast", kind="latency", goal=0.9, threshold_ms=500)
    now = utc_now()
    spans = [call(now, ms=500.0), call(now, ms=500.1), call(now, ms=900, ok=False), call(now, ms=1, ok=False)]
    kernel.get(TraceStore).write(spans)
    assert status(kernel, "fast").counts == SloCounts(total=2, bad=1)


def test_only_the_traffic_that_is_meant_is_counted(kernel: Kernel) -> None:
    make(kernel, "prod-only", target={"environment": "prod", "release_id": "rel_2"})
    now = utc_now()
    traffic(kernel, now, HOUR, 10, release_id="rel_2")
    traffic(kernel, now, HOUR, 10, release_id="rel_1")
    traffic(kernel, now, HOUR, 10, release_id="rel_2", environment="dev")
    assert status(kernel, "prod-only").counts.total == 10


def test_quality_counts_scores_that_pass(kernel: Kernel) -> None:
    make(kernel, "good", kind="quality", goal=0.8, score="correct", passing=0.7, source="person")
    keep_scores(kernel, "correct", [1.0] * 60 + [0.7] * 20 + [0.69] * 20)
    keep_scores(kernel, "correct", [0.0] * 50, source="model")
    keep_scores(kernel, "tone", [0.0] * 50)
    found = status(kernel, "good")
    assert found.counts == SloCounts(total=100, bad=20)
    assert found.budget_left == pytest.approx(0.0, abs=1e-9)


def test_a_fast_burn_pages_once_and_resolves_itself_when_it_is_over(kernel: Kernel) -> None:
    make(kernel)
    now = utc_now()
    traffic(kernel, now, HOUR, 200, bad=60)
    found = slos.check(kernel, OWNER, "answers")
    assert [r.verdict for r in found.rules] == ["burning"] * 3
    assert len(found.alerts) == 2
    assert standing(kernel) == [("page", "open"), ("ticket", "open")]
    assert slos.check(kernel, OWNER, "answers").alerts == found.alerts

    traffic(kernel, now, timedelta(minutes=9), 9000)  # it is over
    assert slos.check(kernel, OWNER, "answers").alerts == found.alerts, "it was burning a moment ago"
    with kernel.write(OWNER) as ctx:
        for alert in alerts.list_unresolved(ctx):
            alert_store.update(ctx.conn, alert.id, seen_at=now - timedelta(minutes=6))
    assert slos.check(kernel, OWNER, "answers").alerts == []
    with kernel.read(OWNER) as ctx:
        detail = alerts.get(ctx, found.alerts[0])
        assert [change.what for change in detail.history] == ["opened", "resolved"]
        assert (detail.alert.state, detail.alert.resolved_by) == ("resolved", "owner")
        assert len(events.list_events(ctx.conn, kind="alert.opened")) == 2


def test_a_burn_that_has_stopped_calls_nobody(kernel: Kernel) -> None:
    make(kernel)
    now = utc_now()
    traffic(kernel, now - timedelta(minutes=40), timedelta(minutes=15), 300, bad=200)
    traffic(kernel, now, timedelta(minutes=40), 300)
    rules = status(kernel).rules
    assert [r.verdict for r in rules] == ["quiet", "quiet", "burning"]
    assert "has stopped" in rules[0].why


@pytest.mark.parametrize(("total", "bad", "why"), [(10, 10, "10 of at least 20"), (50, 1, "do not yet prove")])
def test_few_figures_are_no_reason_to_wake_anybody(kernel: Kernel, total: int, bad: int, why: str) -> None:
    make(kernel, goal=0.999)
    traffic(kernel, utc_now(), timedelta(minutes=4), total, bad=bad)
    found = slos.check(kernel, OWNER, "answers")
    assert {r.verdict for r in found.rules} == {"inconclusive"}
    assert why in found.rules[0].why
    assert found.alerts == []


def test_an_alert_stays_while_nobody_can_tell(kernel: Kernel) -> None:
    make(kernel, window_s=3600)
    with kernel.write(OWNER) as ctx:
        later = Context(conn=ctx.conn, actor=OWNER, kernel=kernel, now=ctx.now - timedelta(hours=3))
        cause = AlertCause(kind="slo", name="answers", severity="page", title="it burnt", evidence={})
        alerts.raise_alert(later, cause)
    assert len(slos.check(kernel, OWNER, "answers").alerts) == 1, "no traffic is no proof of health"


def test_a_lenient_goal_can_still_be_missed_fast_enough(kernel: Kernel) -> None:
    make(kernel, goal=0.8)
    traffic(kernel, utc_now(), HOUR, 200, bad=190)
    factors = [r.factor for r in status(kernel).rules]
    assert factors == [pytest.approx(4.5), pytest.approx(4.5), 1.0]
    assert slos.check(kernel, OWNER, "answers").rules[0].verdict == "burning"


def test_minutes_are_counted_once_for_good_and_late_spans_still_count(kernel: Kernel) -> None:
    make(kernel, window_s=86400)
    now = utc_now()
    traffic(kernel, now, 10 * HOUR, 600, bad=30)
    first = slos.check(kernel, OWNER, "answers")
    with kernel.read(OWNER) as ctx:
        record = store.by_name(ctx.conn, "answers")
        assert record is not None
        minute = int(now.timestamp()) // 60
        kept, bad = store.sum_minutes(ctx.conn, record.slo.id, 0, minute + 1)
    assert record.counted_until is not None
    assert now - timedelta(minutes=17) < record.counted_until <= now - timedelta(minutes=14)
    assert 560 < kept < 600
    assert bad > 20
    traffic(kernel, now, timedelta(minutes=10), 50, bad=50)
    second = slos.check(kernel, OWNER, "answers")
    assert (first.counts.total, second.counts.total) == (600, 650)
    assert second.counts.bad == first.counts.bad + 50
    with kernel.write(OWNER) as ctx:
        store.delete_counts(ctx.conn, record.slo.id)
    assert status(kernel).counts == second.counts, "a recount agrees"


def test_changing_what_is_counted_counts_again(kernel: Kernel) -> None:
    make(kernel)
    traffic(kernel, utc_now(), 10 * HOUR, 100, bad=30, environment="dev")
    slos.check(kernel, OWNER, "answers")
    make(kernel, target={"environment": "prod"})
    assert status(kernel).counts.total == 0
    assert status(kernel).verdict == "inconclusive"


def test_two_checks_at_once_open_one_alert(kernel: Kernel) -> None:
    make(kernel)
    traffic(kernel, utc_now(), HOUR, 200, bad=100)
    threads = [Thread(target=slos.check, args=(kernel, OWNER, "answers")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with kernel.read(OWNER) as ctx:
        assert len(events.list_events(ctx.conn, kind="alert.opened")) == 2


def test_removing_an_slo_resolves_its_alerts(kernel: Kernel) -> None:
    make(kernel)
    traffic(kernel, utc_now(), HOUR, 200, bad=100)
    slos.check(kernel, OWNER, "answers")
    with kernel.write(OWNER) as ctx:
        slos.remove(ctx, "answers")
        assert alerts.list_unresolved(ctx) == []
        with pytest.raises(SloNotFound):
            slos.get(ctx, "answers")


def test_a_wrong_name_is_answered_with_the_nearest(ctx: Context) -> None:
    slos.put(ctx, "answers", SloPut(kind="errors", goal=0.99))
    with pytest.raises(SloNotFound) as caught:
        slos.get(ctx, "answer")
    assert caught.value.hint == "Did you mean answers?"


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "latency", "goal": 0.9},
        {"kind": "quality", "goal": 0.9},
        {"kind": "errors", "goal": 1.0},
        {"kind": "errors", "goal": 0.9, "window_s": 60},
        {"kind": "errors", "goal": 0.9, "window_s": 40 * 86400},
        {"kind": "errors", "goal": 0.9, "windows": 86400},
    ],
)
def test_an_slo_that_says_too_little_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SloPut.model_validate(spec)


def test_the_chance_is_the_binomial_tail() -> None:
    assert burn_rate.binomial_p_value(SloCounts(total=3, bad=3), 0.5) == pytest.approx(0.125)
    assert burn_rate.binomial_p_value(SloCounts(total=3, bad=1), 0.5) == pytest.approx(0.875)
    assert burn_rate.binomial_p_value(SloCounts(total=3, bad=0), 0.5) == 1.0
