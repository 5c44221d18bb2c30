"""Corrected SLOs: the pairs as the database finds them, and what rests on people's word."""

import secrets
from datetime import timedelta

import pytest
from pydantic import ValidationError

from tests.traffic import scores
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context, Kernel
from tidemill.feedback import service as feedback
from tidemill.feedback.types import ScoreFilter
from tidemill.notifications.service import alerts
from tidemill.slos import service as slos
from tidemill.slos.types import SloPut
from tidemill.stats import ppi


def test_the_verdict_rests_on_people_s_word(kernel: Kernel) -> None:
    ids = [secrets.token_hex(16) for _ in range(300)]
    with kernel.write(OWNER) as ctx:
        slos.put(ctx, "right", SloPut(kind="quality", goal=0.8, score="right", source="model", corrected=True))
        for i, trace_id in enumerate(ids):
            judge(ctx, trace_id, "model", 1.0 if i % 20 else 0.0)
        for i, trace_id in enumerate(ids[::3]):
            judge(ctx, trace_id, "person", 1.0 if i % 2 else 0.0)
            judge(ctx, trace_id, "person", 1.0 if i % 2 else 0.0, author="another")
        judge(ctx, ids[0], "person", 0.0, name="tone")
        pairs = feedback.sum_judged_pairs(ctx, ScoreFilter(name="right", source="model"), 0.5)
        found = slos.get_status(ctx, "right")
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
    slos.put(ctx, name, spec)


@pytest.mark.parametrize(("labels", "calls"), [(0, 0), (19, 0), (100, 0)])
def test_a_judge_that_is_too_strict_wakes_nobody_once_people_have_corrected_it(
    kernel: Kernel, labels: int, calls: int
) -> None:
    with kernel.write(OWNER) as ctx:
        quality(ctx, "corrected", corrected=True)
        quality(ctx, "as-it-is", corrected=False)
        answers(ctx, 300, bad=0.02, model_bad=0.8, labels=labels)
    found = slos.check(kernel, OWNER, "corrected")
    assert len(found.alerts) == calls
    assert len(slos.check(kernel, OWNER, "as-it-is").alerts) == 2
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
    found = slos.check(kernel, OWNER, "right")
    assert (found.rules[0].verdict, found.alerts) == ("quiet", [])
    with kernel.write(OWNER) as ctx:
        scores(ctx, "right", [0.0] * 1500, source="model", at=ctx.now, step=timedelta(seconds=2))
    slos.check(kernel, OWNER, "right")
    with kernel.read(OWNER) as ctx:
        opened = [a for a in alerts.list_unresolved(ctx) if a.severity == "page"]
    assert "by people's word" in opened[0].title
    assert opened[0].evidence["rectifier"]["labelled"] == 100
