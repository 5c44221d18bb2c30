"""A person's yes or no, given while the run waits; and monitors that start runs."""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipelines.conftest import Desk, opened, small
from tests.releases.makers import BERT, add_model
from tidemill.core import events
from tidemill.core.actors import OWNER, SYSTEM
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.jobs.service import JobQueue
from tidemill.pipelines.types import ApprovalRejected, PipelineSpec, Run, RunDetail
from tidemill.releases import service as releases
from tidemill.releases.types import ApprovalDecision
from tidemill.server.app import build_kernel

SHIPPING = {"name": "ship", "model": "tiny", "release": {"name": "hello"}, "environments": ["prod"]}


def asking(desk: Desk) -> RunDetail:
    """A run that waits for a person."""
    with desk.kernel.write(OWNER) as ctx:
        add_model(ctx, desk.folder)
    desk.pipelines.apply(PipelineSpec.model_validate(SHIPPING))
    run = desk.runs.wait(desk.runs.start("ship").id, until_waiting=True, timeout=120)
    assert (run.state, run.step("approve/prod").state) == ("waiting", "waiting")
    return run


def decide(kernel: Kernel, decision: str) -> None:
    with kernel.write(BERT) as ctx:
        approval = releases.list_approvals(ctx, limit=1).items[0]
        body = ApprovalDecision.model_validate({"decision": decision, "reason": "I looked", "override": "first one"})
        releases.decide_approval(ctx, approval.id, body)


def test_a_run_goes_on_when_the_approval_is_given(both: Desk) -> None:
    run = asking(both)
    decide(both.kernel, "approve")
    done = both.runs.wait(run.id, check=False, timeout=120)
    assert done.step("approve/prod").state == "succeeded"
    assert done.step("approve/prod").note == "bert approved it: I looked"
    assert done.error.code == "promotion_out_of_order"  # it was never live in dev and qa
    both.runs.skip(run.ref, "deploy/prod", reason="no engine here")
    assert both.runs.wait(both.runs.retry(run.ref).id, timeout=120).state == "succeeded"


def test_a_run_ends_rejected_when_the_approval_is_refused(desk: Desk) -> None:
    run = asking(desk)
    decide(desk.kernel, "reject")
    done = desk.runs.wait(run.id, check=False, timeout=120)
    assert (done.state, done.exit_code) == ("rejected", 1)
    assert "bert rejected it: I looked" in done.summary
    with pytest.raises(ApprovalRejected):
        desk.runs.wait(run.id)
    again = desk.runs.wait(desk.runs.retry(run.ref).id, until_waiting=True, timeout=120)
    assert again.state == "waiting"  # a retry asks anew
    with desk.kernel.read(OWNER) as ctx:
        assert len(releases.list_approvals(ctx, limit=9).items) == 2
    desk.runs.cancel(run.ref)
    assert desk.runs.wait(run.id, check=False, timeout=120).state == "cancelled"


@pytest.mark.slow
def test_a_yes_that_was_given_while_no_server_ran_is_heard_after_the_upgrade(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's steps stand in its rows, so a version whose table would give others goes on with the old ones."""
    with contextmanager(opened)(Settings(home=home), tmp_path / "files") as desk:
        run = asking(desk)
    monkeypatch.setattr("tidemill.pipelines.step_registry.names", lambda spec: ["base", "something-new"])
    kernel = build_kernel(Settings(home=home))
    decide(kernel, "approve")  # nobody runs jobs
    kernel.close()
    with contextmanager(opened)(Settings(home=home), tmp_path / "files") as desk:
        done = desk.runs.wait(run.id, check=False, timeout=120)
    assert done.step("approve/prod").state == "succeeded"
    assert [s.name for s in done.steps] == ["base", "release", "approve/prod", "deploy/prod"]


def test_somebody_elses_request_is_waited_for_too(desk: Desk) -> None:
    run = asking(desk)
    with desk.kernel.read(OWNER) as ctx:
        first = releases.list_approvals(ctx, limit=9).items
    desk.runs.cancel(run.ref)
    desk.runs.wait(run.id, check=False, timeout=120)
    with desk.kernel.write(SYSTEM) as ctx:
        events.emit(ctx, "trigger.fired", "trg_1", {"pipeline": "ship"})
    again = desk.runs.wait("ship", until_waiting=True, timeout=120)
    assert again.number == 2
    with desk.kernel.read(OWNER) as ctx:
        assert releases.list_approvals(ctx, limit=9).items == first
    decide(desk.kernel, "reject")
    assert desk.runs.wait(again.id, check=False, timeout=120).state == "rejected"


def fire(kernel: Kernel, name: str, pipeline: str = "small") -> None:
    with kernel.write(SYSTEM) as ctx:
        data = {"pipeline": pipeline, "trigger": name, "reasons": ["inputs drifted", "quality fell"]}
        events.emit(ctx, "trigger.fired", f"trg_{name}", data)


def test_two_triggers_at_once_start_one_run_and_the_second_is_noted(both: Desk) -> None:
    both.kernel.get(JobQueue).stop()
    both.pipelines.apply(both.write())
    threads = [threading.Thread(target=fire, args=(both.kernel, name)) for name in ("drift", "age", "kpi")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs: list[Run] = both.runs.list(pipeline="small").items
    assert len(runs) == 1
    assert sorted(c.by for c in runs[0].causes) == ["age", "drift", "kpi"]
    assert [c.joined for c in runs[0].causes] == [False, True, True]
    assert runs[0].causes[0].reasons == ["inputs drifted", "quality fell"]
    assert runs[0].created_by == "system"
    both.kernel.get(JobQueue).start(both.kernel)
    assert both.runs.wait(runs[0].id, timeout=120).state == "succeeded"
    fire(both.kernel, "drift")
    assert both.runs.wait("small", timeout=120).number == 2


def test_a_trigger_for_a_pipeline_that_is_not_there_breaks_nothing(desk: Desk) -> None:
    fire(desk.kernel, "drift", pipeline="gone")
    assert desk.runs.list().items == []
    with desk.kernel.read(OWNER) as ctx:
        refusals = events.list_events(ctx.conn, kind="pipeline_run.refused")
    assert refusals[0].data == {"pipeline": "gone", "reason": "no such pipeline"}


def test_a_trigger_joins_the_run_of_an_earlier_document(desk: Desk) -> None:
    desk.kernel.get(JobQueue).stop()
    desk.pipelines.apply(desk.write())
    desk.runs.start("small")
    desk.pipelines.apply(desk.write(small(description="newer")))
    fire(desk.kernel, "drift")
    runs = desk.runs.list().items
    assert [len(r.causes) for r in runs] == [2]
