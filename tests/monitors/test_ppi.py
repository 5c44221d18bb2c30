"""Prediction-powered shares: honest intervals with a biased judge, and the pairs as the database finds them."""

import secrets
from datetime import timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from tests.monitors.worlds import scores
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context, Kernel
from tidemill.monitors import alerts, objectives, ppi
from tidemill.monitors.types import SloPut
from tidemill.traces import service as traces
from tidemill.traces.service import JudgedPairs
from tidemill.traces.types import ScoreFilter


def world(rng: np.random.Generator, total: int, labels: int, truth: float, hit: float, slip: float):
    """A judge that passes good answers with `hit` and bad ones with `slip`; people label a random sample."""
    good = rng.random(total) < truth
    model = rng.random(total) < np.where(good, hit, slip)
    y, f = good[:labels].astype(float), model[:labels].astype(float)
    pairs = JudgedPairs(labels, y.sum(), (y * y).sum(), f.sum(), float((y * f).sum()), float(np.abs(y - f).sum()))
    return total, int(model.sum()), pairs


@pytest.mark.parametrize(
    ("truth", "hit", "slip", "labels"), [(0.8, 0.95, 0.4, 100), (0.9, 0.99, 0.1, 50), (0.6, 0.5, 0.5, 100)]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(truth: float, hit: float, slip: float, labels: int) -> None:
    rng = np.random.default_rng(0)
    held, widths = 0, []
    for _ in range(600):
        total, passed, pairs = world(rng, 3000, labels, truth, hit, slip)
        found = ppi.corrected(total, passed, pairs)
        assert found is not None
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    assert held / 600 >= 0.93
    people_alone = 2 * 1.96 * np.sqrt(truth * (1 - truth) / labels)
    assert np.mean(widths) <= people_alone * 1.12, "a useless judge costs little, a good one helps"


def test_a_good_judge_makes_few_labels_go_far() -> None:
    rng = np.random.default_rng(1)
    found = ppi.corrected(*world(rng, 5000, 200, 0.8, 0.98, 0.05))
    assert found is not None
    assert found.high - found.low < 0.7 * 2 * 1.96 * np.sqrt(0.16 / 200)
    assert found.agreement > 0.9


def test_few_labels_correct_nothing_and_full_agreement_is_not_taken_for_proof() -> None:
    assert ppi.corrected(100, 80, JudgedPairs(19, 15, 15, 15, 15, 0)) is None
    found = ppi.corrected(20, 16, JudgedPairs(20, 16, 16, 16, 16, 0))
    assert found is not None
    assert found.low < 0.75 < 0.85 < found.high


def test_the_verdict_rests_on_people_s_word(kernel: Kernel) -> None:
    ids = [secrets.token_hex(16) for _ in range(300)]
    with kernel.write(OWNER) as ctx:
        objectives.put(ctx, "right", SloPut(kind="quality", goal=0.8, score="right", source="model", corrected=True))
        for i, trace_id in enumerate(ids):
            judge(ctx, trace_id, "model", 1.0 if i % 20 else 0.0)
        for i, trace_id in enumerate(ids[::3]):
            judge(ctx, trace_id, "person", 1.0 if i % 2 else 0.0)
            judge(ctx, trace_id, "person", 1.0 if i % 2 else 0.0, author="another")
        judge(ctx, ids[0], "person", 0.0, name="tone")
        pairs = traces.judged_by_both(ctx, ScoreFilter(name="right", source="model"), 0.5)
        found = objectives.status(ctx, "right")
    assert pairs.count == 100
    assert pairs.people == 50
    assert pairs.disagreements == pytest.approx(50, abs=5)
    assert found.share == pytest.approx(0.95)
    assert found.corrected is not None
    assert found.corrected.labelled == 100
    assert found.corrected.share == pytest.approx(0.5, abs=0.02)
    assert found.corrected.bias == pytest.approx(0.45, abs=0.02)
    assert found.verdict == "fail", "the model alone says pass"


def judge(ctx: Context, trace_id: str, source: str, value: float, *, name: str = "right", **more: object) -> None:
    scores(ctx, name, [value], at=ctx.now, trace_id=trace_id, source=source, **more)


def test_only_a_model_s_scores_can_be_corrected() -> None:
    with pytest.raises(ValidationError, match="source `model`"):
        SloPut(kind="quality", goal=0.8, score="right", corrected=True)


def answers(ctx: Context, count: int, *, bad: float, model_bad: float, labels: int, age_h: float = 20) -> None:
    """Answers in the last minutes and hours that the model finds bad; people judge some that are older."""
    for i in range(labels):
        trace_id = secrets.token_hex(16)
        at = ctx.now - timedelta(hours=age_h, seconds=i)
        judged = {"trace_id": trace_id, "at": at}
        scores(ctx, "right", [0.0 if i < labels * model_bad else 1.0], source="model", **judged)
        scores(ctx, "right", [0.0 if i < labels * bad else 1.0], source="person", **judged)
    found = [0.0 if (i * model_bad) % 1 + model_bad >= 1 else 1.0 for i in range(count)]
    scores(ctx, "right", found, at=ctx.now, source="model", step=timedelta(seconds=12))


def quality(ctx: Context, name: str, *, corrected: bool) -> None:
    spec = SloPut(kind="quality", goal=0.95, score="right", source="model", corrected=corrected)
    objectives.put(ctx, name, spec)


@pytest.mark.parametrize(("labels", "calls"), [(0, 0), (19, 0), (100, 0)])
def test_a_judge_that_is_too_strict_wakes_nobody_once_people_have_corrected_it(
    kernel: Kernel, labels: int, calls: int
) -> None:
    with kernel.write(OWNER) as ctx:
        quality(ctx, "corrected", corrected=True)
        quality(ctx, "as-it-is", corrected=False)
        answers(ctx, 300, bad=0.02, model_bad=0.8, labels=labels)
    found = objectives.check(kernel, OWNER, "corrected")
    assert len(found.alerts) == calls
    assert len(objectives.check(kernel, OWNER, "as-it-is").alerts) == 2
    if labels < ppi.LEAST:
        assert {rule.verdict for rule in found.rules} == {"inconclusive"}
        assert (found.verdict, found.rectifier, found.corrected) == ("inconclusive", None, None)
        assert "people have judged too few of the answers" in found.rules[0].why
    else:
        assert found.rectifier is not None
        assert found.rectifier.shift == pytest.approx(-0.78)
        assert found.rules[0].long_burn == pytest.approx(0.4, abs=0.2), "16x says the model"


def test_a_fault_pages_through_a_corrected_judge_and_says_by_whose_word(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        quality(ctx, "right", corrected=True)
        answers(ctx, 0, bad=0.02, model_bad=0.02, labels=100)
        scores(ctx, "right", [1.0] * 300, source="model", at=ctx.now, step=timedelta(seconds=12))
    found = objectives.check(kernel, OWNER, "right")
    assert (found.rules[0].verdict, found.alerts) == ("quiet", [])
    with kernel.write(OWNER) as ctx:
        scores(ctx, "right", [0.0] * 1500, source="model", at=ctx.now, step=timedelta(seconds=2))
    objectives.check(kernel, OWNER, "right")
    with kernel.read(OWNER) as ctx:
        opened = [a for a in alerts.unresolved(ctx) if a.severity == "page"]
    assert "by people's word" in opened[0].title
    assert opened[0].evidence["rectifier"]["labelled"] == 100


@pytest.mark.parametrize(("hit", "slip"), [(0.95, 0.01), (0.9, 0.3), (0.4, 0.02), (0.5, 0.5)])
def test_the_least_that_people_may_find_beyond_the_model_is_hardly_ever_too_much(hit: float, slip: float) -> None:
    rng = np.random.default_rng(3)
    truth = 0.9
    real = (1 - truth) - ((1 - truth) * (1 - slip) + truth * (1 - hit))
    for labels in (20, 100, 400):
        found = [ppi.rectifier(world(rng, labels, labels, truth, hit, slip)[2]) for _ in range(500)]
        assert all(one.low <= real for one in found if one is not None)
        assert np.mean([one.shift for one in found if one is not None]) == pytest.approx(real, abs=0.02)
