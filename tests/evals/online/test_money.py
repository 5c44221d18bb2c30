"""What judging may cost a day: it stops there, says so, and goes on the next day where it stopped."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.evals.online.test_online import create, now, scores, work_off
from tests.traces.answers import answer, store, trace_id
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core import events
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.evals import scorers
from tidemill.evals.online import service
from tidemill.evals.online import worker as workers
from tidemill.evals.online.judge import judge
from tidemill.evals.online.worker import OnlineEvaluation
from tidemill.evals.types import AnswerScore, OnlineChange
from tidemill.traces import service as traces


class Paid:
    """A judge that takes 10 cents for each answer."""

    needs_expected = False
    asks_model = True

    def score(self, item: Any, text: str) -> AnswerScore:
        """All pass."""
        return AnswerScore(value=1, cost=0.1)


@pytest.fixture(autouse=True)
def _paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers.JsonSchemaValid, "score", lambda self, item, text: Paid().score(item, text))
    monkeypatch.setattr(scorers.JsonSchemaValid, "asks_model", True, raising=False)


def judged(kernel: Kernel) -> list[str]:
    return sorted(s.trace_id for s in scores(kernel, limit=1000))


def test_it_stops_when_the_days_money_is_spent_and_leaves_no_gap(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PAGE", 10)
    create(kernel, usd_per_day=1.25)
    store(kernel, *(answer(n) for n in range(40)))
    worker = OnlineEvaluation(kernel)
    work_off(kernel, worker)
    first = now(kernel)
    assert first.spent_today == pytest.approx(1.3), "the last judgement may go beyond it"
    assert (first.counts.scored, first.counts.over_budget, first.counts.seen) == (13, 0, 13)
    assert first.resumes_at is not None
    assert first.resumes_at - first.scored_at <= timedelta(days=1)
    assert (first.resumes_at.hour, first.resumes_at.minute) == (0, 0)
    assert {s.source for s in scores(kernel)} == {"model"}
    store(kernel, answer(40))
    work_off(kernel, worker)
    work_off(kernel, OnlineEvaluation(kernel))  # another start of the server
    assert now(kernel) == first
    with kernel.read(OWNER) as ctx:
        assert len(events.list_events(ctx.conn, kind="online_evaluator.money_spent")) == 1

    with kernel.write(OWNER) as ctx:  # a day later
        yesterday = (ctx.now - timedelta(days=1)).date().isoformat()
        ended = ctx.now - timedelta(seconds=1)
        service.store.change(ctx.conn, first.id, day=yesterday, resumes_at=ended)
    work_off(kernel, worker)
    second = now(kernel)
    assert (second.counts.scored, second.counts.seen) == (26, 26)
    assert second.spent_today == pytest.approx(1.3)
    assert judged(kernel) == sorted(trace_id(n) for n in range(26)), "in order, none twice, none left out"


def test_with_more_money_it_goes_on_at_once(kernel: Kernel) -> None:
    create(kernel, usd_per_day=0.2)
    store(kernel, *(answer(n) for n in range(9)))
    work_off(kernel)
    assert now(kernel).counts.scored == 2
    with kernel.write(OWNER) as ctx:
        assert service.change(ctx, "valid", OnlineChange(usd_per_day=0.5)).resumes_at is None
    work_off(kernel)
    assert (now(kernel).counts.scored, now(kernel).counts.seen) == (5, 5)
    with kernel.write(OWNER) as ctx:
        service.change(ctx, "valid", OnlineChange(usd_per_day=50))
    work_off(kernel)
    assert (now(kernel).counts.scored, now(kernel).resumes_at) == (9, None)


def test_judgements_are_passed_over_and_money_waits(kernel: Kernel) -> None:
    create(kernel, usd_per_day=10, per_day=3)
    store(kernel, *(answer(n) for n in range(5)))
    work_off(kernel)
    evaluator = now(kernel)
    assert (evaluator.counts.scored, evaluator.counts.over_budget, evaluator.resumes_at) == (3, 2, None)


def test_what_another_process_judged_in_vain_counts_as_spent(kernel: Kernel) -> None:
    evaluator = create(kernel, usd_per_day=1)
    store(kernel, answer(1))
    work_off(kernel)
    with kernel.read(OWNER) as ctx:
        spans = [(span, None) for span in traces.read_tail(ctx).spans]
    lost = judge(evaluator, Paid(), spans, service.budget_left(evaluator, ""))
    with kernel.write(OWNER) as ctx:
        assert service.record_page(ctx, evaluator.id, "elsewhere", "on", lost) is False
    assert (now(kernel).spent_today, now(kernel).counts.scored) == (pytest.approx(0.2), 1)


def test_a_pause_stays_and_no_money_is_forgotten_while_others_write(kernel: Kernel) -> None:
    evaluator = create(kernel, usd_per_day=100)
    store(kernel, answer(1))
    with kernel.read(OWNER) as ctx:
        spans = [(span, None) for span in traces.read_tail(ctx).spans]
    page = judge(evaluator, Paid(), spans, service.budget_left(evaluator, ""))

    def spend() -> None:
        for number in range(20):
            with kernel.write(OWNER) as ctx:
                service.record_page(ctx, evaluator.id, "elsewhere", "on", page)
                service.record_error(ctx, evaluator.id, f"error {number}")

    def change() -> None:
        for number in range(20):
            with kernel.write(OWNER) as ctx:
                state = "active" if number % 2 else "paused"
                service.change(ctx, "valid", OnlineChange(state=state, note=f"note {number}"))
        with kernel.write(OWNER) as ctx:
            service.change(ctx, "valid", OnlineChange(state="paused"))

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(job) for job in (spend, change, spend)]:
            future.result()
    after = now(kernel)
    assert after.spent_today == pytest.approx(4)
    assert (after.state, after.spec.note, after.last_error) == ("paused", "note 19", "error 19")


def test_what_another_process_took_from_the_queue_takes_nothing_else_out(kernel: Kernel) -> None:
    evaluator = create(kernel, usd_per_day=1)
    with kernel.write(OWNER) as ctx:
        waiting = [service.store.PendingCorrection(f"ocr_{n}", evaluator.id, f"scr_{n}") for n in range(2)]
        service.store.add_corrections(ctx.conn, waiting, ctx.now)
    store(kernel, answer(1))
    with kernel.read(OWNER) as ctx:
        spans = [(span, None) for span in traces.read_tail(ctx).spans]
    page = judge(evaluator, Paid(), spans, service.budget_left(evaluator, ""))
    with kernel.write(OWNER) as ctx:
        assert service.store.remove_pending(ctx.conn, ["ocr_0"])
    with kernel.write(OWNER) as ctx:
        assert not service.record_corrections(ctx, evaluator.id, ["ocr_0", "ocr_1"], page)
    assert (now(kernel).waiting, now(kernel).spent_today) == (1, pytest.approx(0.1))


def test_more_money_given_while_a_page_is_judged_lets_it_go_on(kernel: Kernel) -> None:
    evaluator = create(kernel, usd_per_day=0.05)
    store(kernel, answer(1))
    with kernel.read(OWNER) as ctx:
        spans = [(span, None) for span in traces.read_tail(ctx).spans]
        position = service.store.get_position(ctx.conn, evaluator.id)
    page = judge(evaluator, Paid(), spans, service.budget_left(evaluator, ""))
    with kernel.write(OWNER) as ctx:
        service.change(ctx, "valid", OnlineChange(usd_per_day=5))
    with kernel.write(OWNER) as ctx:
        assert service.record_page(ctx, evaluator.id, str(position), "on", page, stopped=True)
    assert now(kernel).resumes_at is None


def test_the_status_says_it_on_the_command_line(client: Client) -> None:
    spec = {"scorer": "json_schema", "name": "valid", "config": {"json_schema": {}}}
    client.evals.online.create("valid", spec, usd_per_day=2.5)
    listed = CliRunner().invoke(app, ["evals", "online", "list"], env={"COLUMNS": "220"})
    assert "0 of 1,000, $0.00 of $2.50" in listed.output
    changed = CliRunner().invoke(
        app, ["evals", "online", "change", "valid", "--usd-per-day", "5"], env={"COLUMNS": "220"}
    )
    assert "$0.00 of $5.00" in changed.output
    assert CliRunner().invoke(app, ["evals", "online", "change", "valid", "--usd-per-day", "0"]).exit_code != 0
