"""KPIs: means with intervals that hold, drops that are drops, and a score by release over time."""

from datetime import timedelta

import numpy as np
import pytest

from tests.traffic import keep_scores
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.kpis import estimates
from tidemill.kpis import service as kpis
from tidemill.kpis.estimates import ScoreCluster
from tidemill.kpis.types import Kpi, KpiNotFound, KpiPut, KpiReport
from tidemill.notifications.service import alerts
from tidemill.stats.rates import wilson

DAY = timedelta(days=1)


def make(kernel: Kernel, name: str = "thumbs", **spec: object) -> None:
    with kernel.write(OWNER) as ctx:
        kpis.put(ctx, name, KpiPut.model_validate({"score": "feedback"} | spec))


def report(kernel: Kernel, name: str = "thumbs") -> KpiReport:
    with kernel.read(OWNER) as ctx:
        return kpis.get_report(ctx, name)


def test_a_mean_below_the_floor_is_a_drop_only_when_it_is_for_sure(kernel: Kernel) -> None:
    make(kernel, floor=0.8)
    keep_scores(kernel, "feedback", [1.0] * 15 + [0.0] * 10)
    found = kpis.check(kernel, OWNER, "thumbs")
    assert found.verdict == "inconclusive"
    assert found.now.mean == pytest.approx(0.6)
    assert found.needed is not None
    keep_scores(kernel, "feedback", [1.0] * 60 + [0.0] * 40)
    found = kpis.check(kernel, OWNER, "thumbs")
    assert (found.verdict, found.needed, found.now.interval) == ("fail", None, "wilson")
    with kernel.read(OWNER) as ctx:
        (alert,) = alerts.list_unresolved(ctx, "kpi")
    assert "the floor 0.8" in alert.title
    keep_scores(kernel, "feedback", [1.0] * 500)
    assert kpis.check(kernel, OWNER, "thumbs").verdict == "pass"
    with kernel.read(OWNER) as ctx:
        assert alerts.list_unresolved(ctx) == []
        assert alerts.get(ctx, alert.id).alert.state == "resolved"


def test_a_fall_against_the_days_before_is_a_drop(kernel: Kernel) -> None:
    make(kernel, drop=0.1)
    now = utc_now()
    keep_scores(kernel, "feedback", [1.0] * 90 + [0.0] * 10, at=now - 2 * DAY)
    assert report(kernel).verdict == "inconclusive"
    keep_scores(kernel, "feedback", [1.0] * 60 + [0.0] * 40, at=now)
    found = report(kernel)
    assert found.verdict == "fail"
    assert found.difference == pytest.approx(-0.3)
    assert found.high is not None
    assert found.high < 0
    assert found.reference is not None
    assert found.reference.scores == 100


def test_a_fall_smaller_than_what_matters_is_none(kernel: Kernel) -> None:
    make(kernel, drop=0.3)
    now = utc_now()
    keep_scores(kernel, "feedback", [1.0] * 450 + [0.0] * 50, at=now - 2 * DAY)
    keep_scores(kernel, "feedback", [1.0] * 400 + [0.0] * 100, at=now)
    assert report(kernel).verdict == "pass"


def test_one_angry_user_is_one_opinion(kernel: Kernel) -> None:
    make(kernel, floor=0.8)
    keep_scores(kernel, "feedback", [0.0] * 40, users=1)
    keep_scores(kernel, "feedback", [1.0] * 40, users=20)
    found = report(kernel)
    assert (found.verdict, found.now.scores, found.now.units) == ("inconclusive", 80, 20)


def test_scores_of_any_size_get_a_t_interval(kernel: Kernel) -> None:
    make(kernel, score="stars", floor=3.0)
    rng = np.random.default_rng(0)
    values = [float(v) for v in rng.integers(1, 6, 200)]
    keep_scores(kernel, "stars", values)
    found = report(kernel)
    assert found.now.interval == "clustered_t"
    assert found.now.mean == pytest.approx(np.mean(values))
    half = 1.972 * np.std(values, ddof=1) / np.sqrt(200)
    assert found.now.low == pytest.approx(np.mean(values) - half, rel=1e-3)


def test_only_what_is_meant_is_counted(kernel: Kernel) -> None:
    make(kernel, source="person", target={"environment": "prod"})
    keep_scores(kernel, "feedback", [1.0] * 5)
    keep_scores(kernel, "feedback", [0.0] * 5, source="model")
    keep_scores(kernel, "feedback", [0.0] * 5, environment="dev")
    keep_scores(kernel, "feedback", [0.0] * 5, at=utc_now() - 3 * DAY)
    found = report(kernel)
    assert (found.now.scores, found.now.mean) == (5, 1.0)
    assert found.verdict == "inconclusive"
    assert found.needed == 15


def test_a_score_by_release_over_time(kernel: Kernel) -> None:
    midnight = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
    keep_scores(kernel, "feedback", [1.0] * 8 + [0.0] * 2, at=midnight - timedelta(hours=1))
    keep_scores(kernel, "feedback", [1.0] * 3, at=midnight - timedelta(hours=1), release_id="rel_2")
    keep_scores(kernel, "feedback", [0.5] * 4, at=midnight - timedelta(hours=30), users=2)
    with kernel.read(OWNER) as ctx:
        points = kpis.get_series(ctx, "feedback").points
    assert [(p.release_id, p.scores, p.mean) for p in points] == [
        ("rel_1", 4, 0.5),
        ("rel_1", 10, 0.8),
        ("rel_2", 3, 1.0),
    ]
    assert points[0].start == midnight - 2 * DAY
    assert points[1].end == midnight
    rate = wilson(8, 10)
    assert points[1].low == pytest.approx(rate.low, abs=0.03)
    assert points[2].low is not None
    assert points[2].low < 0.5, "three of three prove little"


def test_removing_and_wrong_names(kernel: Kernel) -> None:
    make(kernel)
    with kernel.write(OWNER) as ctx:
        with pytest.raises(KpiNotFound) as caught:
            kpis.get(ctx, "thumb")
        assert caught.value.hint == "Did you mean thumbs?"
        kpis.remove(ctx, "thumbs")
        assert kpis.list_kpis(ctx).items == []


def _kpi(**spec: object) -> Kpi:
    facts = KpiPut.model_validate({"score": "x"} | spec).model_dump()
    return Kpi(id="kpi_1", name="x", saved_by="me", saved_at=utc_now(), **facts)


def _units(rng: np.random.Generator, share: float, users: int, each: int, alike: float) -> list[ScoreCluster]:
    """Users with `each` scores; a user's own share scatters around `share` with intra-class correlation `alike`."""
    weight = (1 - alike) / alike
    own = rng.beta(share * weight, (1 - share) * weight, users)
    return [ScoreCluster(each, float(rng.binomial(each, p)), True) for p in own]


def test_the_error_rates_hold_with_users_whose_scores_are_alike() -> None:
    rng = np.random.default_rng(1)
    wanted = _kpi(floor=0.8, drop=0.1)
    verdicts = []
    for _ in range(400):
        before, now = (estimates.estimate(_units(rng, 0.8, 40, 5, 0.3)) for _ in range(2))
        verdicts.append(estimates.judge(wanted, now, before)[0])
    assert verdicts.count("fail") / 400 <= 0.02, "nothing changed; two limits at 0.5% each"
    found = []
    for _ in range(100):
        before, now = (
            estimates.estimate(_units(rng, 0.8, 80, 5, 0.3)),
            estimates.estimate(_units(rng, 0.55, 80, 5, 0.3)),
        )
        found.append(estimates.judge(wanted, now, before)[0])
    assert found.count("fail") >= 95
