"""Spans that come hours after their call are counted by SLOs, each once."""

from datetime import timedelta

from tests.slos.test_slos import make, status
from tests.traffic import call, traffic
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.slos import service as slos
from tidemill.slos import store
from tidemill.slos.types import SloCounts
from tidemill.traces.store import TraceStore

HOUR = timedelta(hours=1)


def check(kernel: Kernel, name: str = "answers") -> SloCounts:
    return slos.check(kernel, OWNER, name).counts


def recount(kernel: Kernel) -> SloCounts:
    with kernel.write(OWNER) as ctx:
        store.delete_counts(ctx.conn, slos.get(ctx, "answers").id)
    return status(kernel).counts


def test_spans_that_come_hours_late_are_counted_once(kernel: Kernel) -> None:
    make(kernel, window_s=3 * 86400)
    now = utc_now()
    traffic(kernel, now, 40 * HOUR, 400, bad=10)
    assert check(kernel) == SloCounts(total=400, bad=10)

    # A sender was cut off and sends what it has kept: some of a minute already counted, some of a day that had none.
    late = [call(now - 3 * HOUR, ok=False) for _ in range(20)] + [call(now - 50 * HOUR) for _ in range(30)]
    kernel.get(TraceStore).write(late)
    assert status(kernel).counts == SloCounts(total=450, bad=30), "a look counts them too, and keeps nothing"
    assert check(kernel) == SloCounts(total=450, bad=30)
    kernel.get(TraceStore).write(late)  # sent twice
    assert [check(kernel), check(kernel), status(kernel).counts] == [SloCounts(total=450, bad=30)] * 3
    assert recount(kernel) == SloCounts(total=450, bad=30)


def test_late_spans_of_other_traffic_change_nothing(kernel: Kernel) -> None:
    make(kernel, target={"environment": "prod"})
    now = utc_now()
    traffic(kernel, now, 10 * HOUR, 100)
    check(kernel)
    kernel.get(TraceStore).write([call(now - 4 * HOUR, environment="dev", ok=False)])
    assert check(kernel) == SloCounts(total=100, bad=0)


def test_a_late_fault_burns_in_the_window_it_belongs_to(kernel: Kernel) -> None:
    make(kernel)
    now = utc_now()
    traffic(kernel, now, 6 * HOUR, 600)
    assert {rule.verdict for rule in slos.check(kernel, OWNER, "answers").rules} == {"quiet"}
    traffic(kernel, now - 20 * timedelta(minutes=1), 5 * HOUR, 600, bad=600)
    found = slos.check(kernel, OWNER, "answers")
    assert found.rules[1].long.bad == 600
    assert found.rules[2].verdict == "burning"
    assert len(found.alerts) >= 1


def test_latency_counts_late_answers_too(kernel: Kernel) -> None:
    make(kernel, "fast", kind="latency", goal=0.9, threshold_ms=500)
    now = utc_now()
    kernel.get(TraceStore).write([call(now - 2 * HOUR), call(now - 2 * HOUR, ok=False)])
    assert check(kernel, "fast") == SloCounts(total=1, bad=0)
    kernel.get(TraceStore).write([call(now - 2 * HOUR, ms=900), call(now - 2 * HOUR, ok=False)])
    assert [check(kernel, "fast"), check(kernel, "fast")] == [SloCounts(total=2, bad=1)] * 2


def test_what_was_counted_before_the_upgrade_stays(kernel: Kernel) -> None:
    make(kernel)
    now = utc_now()
    traffic(kernel, now, 10 * HOUR, 100, bad=5)
    check(kernel)
    with kernel.write(OWNER) as ctx:
        ctx.conn.execute(store.slos.update().values(counted_position=None))
        # Its first minutes are kept here alone, since the traces of that day are gone.
        first = (int(now.timestamp()) // 60) - 5000
        ctx.conn.execute(
            store.minutes.insert().values(slo_id=slos.get(ctx, "answers").id, minute=first, total=50, bad=1)
        )
    assert check(kernel) == SloCounts(total=150, bad=6)
    assert check(kernel) == SloCounts(total=150, bad=6)
