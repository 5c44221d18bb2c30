"""Scorers on live traffic: the share, the budget, corrections, and going on after a kill."""

from datetime import timedelta
from typing import Any

import pytest

from tests.traces.answers import answer, store, trace_id
from tidemill.core import lineage
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.plugins import PluginMissing
from tidemill.evals.online import service
from tidemill.evals.online.judge import JudgedPage, in_share
from tidemill.evals.online.worker import OnlineEvaluation
from tidemill.evals.types import (
    AnswerScore,
    OnlineChange,
    OnlineCreate,
    OnlineEvaluator,
    OnlineExists,
    OnlineNotFound,
    ScorerInvalid,
)
from tidemill.feedback import service as feedback
from tidemill.feedback.types import Feedback, ReleaseUnknown, Score

SCHEMA = {"type": "object", "properties": {"type": {"enum": ["LOC", "HUM"]}}, "required": ["type"]}
VALID = {"scorer": "json_schema", "name": "valid", "config": {"json_schema": SCHEMA}}


def create(kernel: Kernel, name: str = "valid", scorer: Any = None, **more: Any) -> OnlineEvaluator:
    with kernel.write(OWNER) as ctx:
        body = {"name": name, "scorer": scorer or VALID, "share": 1.0} | more
        return service.create(ctx, OnlineCreate.model_validate(body))


def now(kernel: Kernel, name: str = "valid") -> OnlineEvaluator:
    with kernel.read(OWNER) as ctx:
        return service.get(ctx, name)


def scores(kernel: Kernel, **filters: Any) -> list[Score]:
    with kernel.read(OWNER) as ctx:
        return feedback.list_scores(ctx, **filters)


def work_off(kernel: Kernel, worker: OnlineEvaluation | None = None) -> None:
    worker = worker or OnlineEvaluation(kernel)
    while worker.round():
        pass


def test_live_calls_are_scored_from_now_on_and_each_once(kernel: Kernel) -> None:
    store(kernel, answer(0))
    create(kernel)
    worker = OnlineEvaluation(kernel)
    work_off(kernel, worker)
    assert scores(kernel) == []
    store(kernel, answer(1), answer(2, said="LOC"), answer(3, said='{"type": "NUM"}'), answer(4, kind="tool"))
    store(kernel, answer(5, said=None), answer(6, status="error"))
    work_off(kernel, worker)
    work_off(kernel)
    by_response = {s.response_id: s for s in scores(kernel)}
    assert {k: (s.value, s.label) for k, s in by_response.items()} == {
        "chatcmpl-1": (1.0, None),
        "chatcmpl-2": (0.0, "(invalid)"),
        "chatcmpl-3": (0.0, None),
    }
    one = by_response["chatcmpl-1"]
    assert (one.name, one.source, one.scorer, one.author) == ("valid", "code", "json_schema", "online/valid")
    assert (one.release_id, one.environment) == ("rel_one", "prod")
    counts = now(kernel).counts
    assert (counts.seen, counts.sampled, counts.scored, counts.unanswered) == (5, 5, 3, 2)


def test_the_share_is_the_same_for_all_and_nested(kernel: Kernel) -> None:
    create(kernel, "small", share=0.2)
    create(kernel, "large", scorer={"scorer": "regex", "config": {"pattern": "LOC"}}, share=0.5)
    store(kernel, *(answer(n) for n in range(300)))
    work_off(kernel)
    small = {s.trace_id for s in scores(kernel, author="online/small", limit=1000)}
    large = {s.trace_id for s in scores(kernel, author="online/large", limit=1000)}
    assert small < large
    assert small == {trace_id(n) for n in range(300) if in_share(trace_id(n), 0.2)}
    assert 30 < len(small) < 90
    assert 110 < len(large) < 190


def test_the_days_budget_is_kept_and_said(kernel: Kernel) -> None:
    create(kernel, per_day=5)
    store(kernel, *(answer(n) for n in range(8)))
    work_off(kernel)
    first = now(kernel)
    assert (first.counts.scored, first.counts.over_budget, first.judged_today) == (5, 3, 5)
    with kernel.write(OWNER) as ctx:
        service.change(ctx, "valid", OnlineChange(per_day=6))
    store(kernel, answer(20), answer(21))
    work_off(kernel)
    assert now(kernel).counts.scored == 6
    assert service.budget_left(now(kernel), (first.created_at + timedelta(days=2)).date().isoformat()).judgements == 6


def test_a_filter_leaves_the_rest_alone(kernel: Kernel) -> None:
    create(kernel, filter={"release_id": "rel_two", "environment": "qa"})
    store(kernel, answer(1), answer(2, release_id="rel_two"), answer(3, release_id="rel_two", environment="qa"))
    work_off(kernel)
    assert [s.response_id for s in scores(kernel)] == ["chatcmpl-3"]
    assert now(kernel).counts.seen == 1


def test_another_process_that_read_the_same_page_writes_nothing(kernel: Kernel) -> None:
    evaluator = create(kernel)
    store(kernel, answer(1))
    with kernel.read(OWNER) as ctx:
        here = service.store.get_position(ctx.conn, evaluator.id)
    work_off(kernel)
    with kernel.write(OWNER) as ctx:
        assert service.record_page(ctx, evaluator.id, here, "elsewhere", JudgedPage([], evaluator.counts, 0)) is False
    assert (len(scores(kernel)), now(kernel).counts.seen) == (1, 1)


def test_paused_it_waits_and_then_goes_on_where_it_stopped(kernel: Kernel) -> None:
    create(kernel)
    with kernel.write(OWNER) as ctx:
        assert service.change(ctx, "valid", OnlineChange(state="paused")).state == "paused"
    store(kernel, answer(1))
    work_off(kernel)
    assert scores(kernel) == []
    with kernel.write(OWNER) as ctx:
        service.change(ctx, "valid", OnlineChange(state="active"))
    work_off(kernel)
    assert len(scores(kernel)) == 1


def test_from_the_start_it_scores_what_is_there(kernel: Kernel) -> None:
    store(kernel, answer(1), answer(2))
    create(kernel, from_start=True)
    work_off(kernel)
    assert len(scores(kernel)) == 2
    with kernel.write(OWNER) as ctx:
        service.delete(ctx, "valid")
    assert len(scores(kernel)) == 2
    with pytest.raises(OnlineNotFound):
        now(kernel)


def test_a_scorer_that_needs_an_expected_answer_is_refused_or_waits_for_corrections(kernel: Kernel) -> None:
    with pytest.raises(ScorerInvalid, match="live calls come without one") as caught:
        create(kernel, "right", scorer={"scorer": "exact"})
    assert "--expected correction" in str(caught.value.hint)
    with pytest.raises(ScorerInvalid, match="need not wait"):
        create(kernel, expected="correction")
    labels = {"labels": ["LOC", "HUM"], "json_field": "type"}
    create(kernel, "right", scorer={"scorer": "label_accuracy", "config": labels}, expected="correction")
    store(kernel, answer(1), answer(2), answer(3))
    work_off(kernel)
    assert scores(kernel) == []

    def correct(number: int, correction: Any, **more: Any) -> None:
        with kernel.write(OWNER) as ctx:
            feedback.give_feedback(ctx, Feedback(response_id=f"chatcmpl-{number}", correction=correction, **more))

    correct(1, "HUM")
    correct(2, {"type": "LOC"})
    correct(3, "NUM")
    assert now(kernel, "right").waiting == 3
    work_off(kernel)
    work_off(kernel)
    judged = {s.response_id: s.value for s in scores(kernel, source="code")}
    assert judged == {"chatcmpl-1": 0.0, "chatcmpl-2": 1.0}
    after = now(kernel, "right")
    assert (after.waiting, after.counts.failed, after.counts.scored) == (0, 1, 2)
    assert "not in the label set" in str(after.last_error)
    correct(1, "LOC")
    work_off(kernel)
    assert {s.response_id: s.value for s in scores(kernel, source="code")}["chatcmpl-1"] == 1.0


def test_what_cannot_run_is_refused_at_once(kernel: Kernel) -> None:
    with pytest.raises(PluginMissing, match="jsonschema"):
        create(kernel, scorer={"scorer": "jsonschema"})
    with pytest.raises(ScorerInvalid, match="settings"):
        create(kernel, scorer={"scorer": "json_schema"})
    create(kernel)
    with pytest.raises(OnlineExists):
        create(kernel)
    with kernel.read(OWNER) as ctx, pytest.raises(OnlineNotFound) as caught:
        service.get(ctx, "valit")
    assert "valid" in str(caught.value.hint)


class Broken:
    """A scorer of somebody else's that fails on some answers."""

    needs_expected = False

    def score(self, item: Any, text: str) -> Any:
        """Fail on NUM."""
        if "NUM" in text:
            raise ZeroDivisionError("no numbers")
        return AnswerScore(value=1)


def test_a_scorer_that_fails_is_told_and_the_next_call_is_scored(kernel: Kernel) -> None:
    create(kernel)
    worker = OnlineEvaluation(kernel)
    worker._scorers[now(kernel).id] = Broken()
    store(kernel, answer(1, said="NUM"), answer(2, said="LOC"))
    work_off(kernel, worker)
    after = now(kernel)
    assert [s.response_id for s in scores(kernel)] == ["chatcmpl-2"]
    assert (after.counts.failed, after.counts.scored, after.judged_today) == (1, 1, 2)
    assert after.last_error == "ZeroDivisionError: no numbers"


def test_a_kill_between_two_pages_neither_loses_nor_doubles(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.evals.online.worker.PAGE", 10)
    create(kernel)
    store(kernel, *(answer(n) for n in range(45)))
    upsert_scores = feedback.upsert_scores
    pages = 0

    def dying(*args: Any) -> None:
        nonlocal pages
        pages += 1
        upsert_scores(*args)
        if pages == 2:  # written, but not committed
            raise KeyboardInterrupt

    monkeypatch.setattr(feedback, "upsert_scores", dying)
    worker = OnlineEvaluation(kernel)
    with pytest.raises(KeyboardInterrupt):
        work_off(kernel, worker)
    assert len(scores(kernel)) == now(kernel).counts.scored == 10
    work_off(kernel, OnlineEvaluation(kernel))
    all_scores = scores(kernel)
    assert sorted(s.trace_id for s in all_scores) == sorted(trace_id(n) for n in range(45))
    assert now(kernel).counts.scored == 45


def test_a_scorer_that_is_gone_keeps_back_no_other(kernel: Kernel) -> None:
    orphan = create(kernel, "gone")
    create(kernel)
    with kernel.write(OWNER) as ctx:
        scorer = orphan.spec.scorer.model_copy(update={"scorer": "of-a-package-that-was-removed"})
        spec = orphan.spec.model_copy(update={"scorer": scorer})
        service.store.change(ctx.conn, orphan.id, spec=service.store.spec_values(spec))
    store(kernel, answer(1))
    work_off(kernel)
    assert [s.author for s in scores(kernel)] == ["online/valid"]
    assert "of-a-package-that-was-removed" in str(now(kernel, "gone").last_error)


def test_a_release_is_named_or_refused(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        lineage.record(ctx, lineage.LineageNode(id="rel_two", kind="release", label="hello@2"))
    evaluator = create(kernel, filter={"release_id": "hello@2"})
    assert (evaluator.release, evaluator.spec.filter.release_id) == ("hello@2", "rel_two")
    with kernel.read(OWNER) as ctx:
        assert [one.release for one in service.list_evaluators(ctx).items] == ["hello@2"]
    with pytest.raises(ReleaseUnknown, match="hello@3"):
        create(kernel, "other", filter={"release_id": "hello@3"})
