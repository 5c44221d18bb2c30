"""Runs: each step once, nothing twice, and what may be done with a run."""

import threading

import pytest

from tests.deployments.live import wait_for
from tests.pipelines.conftest import Desk, small
from tidemill.core import events
from tidemill.core.actors import OWNER
from tidemill.data import service as data
from tidemill.evals import jobs as eval_jobs
from tidemill.jobs.service import JobQueue
from tidemill.pipelines import step_registry
from tidemill.pipelines.types import (
    NothingMeasured,
    PipelineBusy,
    PipelineNotFound,
    RunEnded,
    RunNotFound,
    RunNotRetryable,
    StepNotFound,
)


def states(run) -> dict[str, str]:
    return {step.name: step.state for step in run.steps}


def test_a_loop_is_turned_and_the_second_turn_does_nothing_and_says_so(both: Desk) -> None:
    path = both.write()
    plan = both.pipelines.plan(path)
    assert plan.new
    assert {c.action for c in plan.changes} == {"add"}
    assert [s.name for s in plan.steps] == ["data", "eval-set/questions-test", "naive-bayes/questions-test"]
    assert {s.action for s in plan.steps} == {"run"}
    assert both.pipelines.list().items == []  # a plan changes nothing

    assert both.pipelines.apply(path).pipeline.number == 1
    assert both.pipelines.apply(path).changes == []
    first = both.turned()
    assert (first.state, first.changed, first.ref) == ("succeeded", True, "small#1"), first
    assert set(states(first).values()) == {"succeeded"}
    bayes = first.step("naive-bayes/questions-test")
    assert bayes.outputs["means"]["accuracy"] > 0.9

    assert {s.action for s in both.pipelines.plan(path).steps} == {"cached"}
    second = both.turned()
    assert (second.state, second.changed) == ("succeeded", False)
    assert set(states(second).values()) == {"cached"}
    assert "Nothing has changed" in second.summary
    assert {s.cached_from for s in second.steps} == {"small#1"}
    assert both.jobs.list(kind="evals.run").items[0].id == bayes.job_id


def test_a_change_does_again_what_reads_it_and_nothing_else(desk: Desk) -> None:
    path = desk.write()
    desk.pipelines.apply(path)
    desk.turned()
    document = small()
    document["evals"][0]["scorers"].append({"scorer": "exact", "name": "exact"})
    path = desk.write(document, rows=0)
    plan = desk.pipelines.plan(path)
    assert [(c.action, c.path) for c in plan.changes] == [("add", "evals.questions-test.scorers.exact")]
    assert [s.action for s in plan.steps] == ["cached", "cached", "run"]
    desk.pipelines.apply(path)
    run = desk.turned()
    assert run.version == 2
    assert list(states(run).values()) == ["cached", "cached", "succeeded"]


def test_fresh_does_everything_again(desk: Desk) -> None:
    desk.pipelines.apply(desk.write())
    desk.turned()
    run = desk.turned(fresh=True)
    assert states(run)["naive-bayes/questions-test"] == "succeeded"
    assert run.changed


def test_a_new_file_is_a_new_version_and_the_old_one_is_found_again(desk: Desk) -> None:
    path = desk.write(rows=60)
    desk.pipelines.apply(path)
    first = desk.turned().step("data").outputs
    desk.pipelines.apply(desk.write(rows=90))
    second = desk.turned().step("data").outputs
    assert (first["ref"], second["ref"]) == ("questions@1", "questions@2")
    desk.pipelines.apply(desk.write(rows=60))
    third = desk.turned()
    assert third.step("data").outputs == first
    assert not third.changed


@pytest.mark.slow
def test_a_failed_step_says_why_and_goes_on_after_a_retry(desk: Desk) -> None:
    """The import fails on the rows; the run can go on without, and what needs the rows says so."""
    path = desk.write()
    (desk.folder / "questions.jsonl").write_text('{"text": "who", "label": "HUM"}\n' * 3)
    desk.pipelines.apply(path)
    run = desk.turned()
    assert run.state == "failed"
    assert run.exit_code == 1
    failed = run.step("data")
    assert failed.state == "failed"
    assert failed.error.code == run.error.code == "split_empty"
    assert run.summary == failed.error.message

    again = desk.runs.wait(desk.runs.retry(run.ref).id, check=False, timeout=120)
    assert (again.id, again.state, again.step("data").attempt) == (run.id, "failed", 2)
    assert again.step("data").job_id == failed.job_id  # its own job went on, no second one began

    with pytest.raises(StepNotFound, match="dat'"):
        desk.runs.skip(run.ref, "dat", reason="x")
    desk.runs.skip(run.ref, "data", reason="the rows are there already")
    last = desk.runs.wait(desk.runs.retry(run.ref).id, check=False, timeout=120)
    assert last.step("data").state == "skipped"
    assert (last.step("data").note, last.step("data").skipped_by) == ("the rows are there already", "owner")
    assert last.error.code == "pipeline_input_missing"
    with pytest.raises(NothingMeasured):
        desk.runs.wait(run.ref)


@pytest.mark.slow
def test_a_retry_from_a_step_does_it_and_what_follows_again(desk: Desk) -> None:
    document = small()
    document["evals"].append({**document["evals"][0], "name": "broken", "mapping": {"expected": "nothing"}})
    desk.pipelines.apply(desk.write(document))
    run = desk.turned()
    assert run.state == "failed"
    assert run.step("eval-set/broken").state == "failed"
    assert run.step("eval-set/questions-test").state == "succeeded"
    again = desk.runs.wait(desk.runs.retry(run.ref, step="data").id, check=False, timeout=120)
    assert [s.attempt for s in again.steps[:3]] == [2, 2, 2]
    for name in ("eval-set/broken", "naive-bayes/broken"):
        desk.runs.skip(run.ref, name, reason="not now")
    done = desk.runs.wait(desk.runs.retry(run.ref).id, timeout=120)
    assert done.state == "succeeded"
    assert "2 skipped" in done.summary
    with pytest.raises(RunNotRetryable):
        desk.runs.retry(run.ref)
    with pytest.raises(RunEnded):
        desk.runs.skip(run.ref, "data", reason="x")


def test_a_run_is_cancelled_with_the_job_it_waits_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    release_event = threading.Event()
    real = eval_jobs.NaiveBayes

    class Slow(real):
        def __init__(self, *args: object) -> None:
            release_event.wait(60)
            super().__init__(*args)

    monkeypatch.setattr(eval_jobs, "NaiveBayes", Slow)
    desk.pipelines.apply(desk.write())
    run = desk.runs.start("small")
    wait_for(lambda: desk.runs.get(run.id).step("naive-bayes/questions-test").job_id is not None)
    desk.runs.cancel(run.ref)
    done = desk.runs.wait(run.id, check=False, timeout=120)
    release_event.set()
    assert (done.state, done.summary) == ("cancelled", "Cancelled.")
    step = done.step("naive-bayes/questions-test")
    assert step.state == "cancelled"
    child = desk.jobs.wait(step.job_id, check=False, timeout=120)
    assert child.state == "cancelled"
    with pytest.raises(RunEnded):
        desk.runs.cancel(run.ref)
    again = desk.runs.wait(desk.runs.retry(run.ref).id, timeout=120)
    assert again.state == "succeeded"


def test_a_run_before_its_start_can_be_cancelled(desk: Desk) -> None:
    desk.kernel.get(JobQueue).stop()
    desk.pipelines.apply(desk.write())
    run = desk.runs.start("small")
    assert desk.runs.cancel(run.ref).state == "cancelled"
    assert desk.runs.start("small").number == 2


def test_while_a_run_is_on_its_way_there_is_no_second_one(desk: Desk) -> None:
    desk.kernel.get(JobQueue).stop()
    desk.pipelines.apply(desk.write())
    first = desk.runs.start("small")
    second = desk.runs.start("small", note="me too")
    assert second.id == first.id
    assert [c.joined for c in second.causes] == [False, True]
    desk.pipelines.apply(desk.write(rows=90))
    with pytest.raises(PipelineBusy, match="small#1 follows small@1"):
        desk.runs.start("small")
    desk.kernel.get(JobQueue).start(desk.kernel)
    done = desk.runs.wait(first.id, timeout=120)
    assert done.step("data").outputs["rows"]["train"] == 42  # it follows the document it was started with


def test_an_unknown_run_or_pipeline_is_named(desk: Desk) -> None:
    desk.pipelines.apply(desk.write())
    with pytest.raises(PipelineNotFound) as caught:
        desk.runs.start("smal")
    assert "small" in (caught.value.hint or "")
    for ref in ("small#7", "plr_nothing", "small#x", "small"):
        with pytest.raises(RunNotFound):
            desk.runs.get(ref)


def test_what_happened_is_recorded(desk: Desk) -> None:
    desk.pipelines.apply(desk.write())
    run = desk.turned()
    with desk.kernel.read(OWNER) as ctx:
        about = [e.kind for e in events.list_events(ctx.conn, subject=run.id)]
    assert about == ["pipeline_run.succeeded", "pipeline_run.started"]


def test_a_step_of_a_kind_that_went_away_is_named_and_can_be_skipped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade may drop a kind of step while a run still has one."""
    desk.kernel.get(JobQueue).stop()
    desk.pipelines.apply(desk.write())
    run = desk.runs.start("small")
    monkeypatch.delitem(step_registry.KINDS, "naive-bayes")
    desk.kernel.get(JobQueue).start(desk.kernel)
    done = desk.runs.wait(run.id, check=False, timeout=120)
    assert "knows no step of the kind 'naive-bayes'" in done.summary
    desk.runs.skip(run.ref, "naive-bayes/questions-test", reason="gone")
    assert desk.runs.wait(desk.runs.retry(run.ref).id, timeout=120).state == "succeeded"


def test_a_new_catalogue_entry_reaches_the_dataset_without_a_new_version(desk: Desk) -> None:
    document = small()
    desk.pipelines.apply(desk.write(document))
    desk.turned()
    document["data"]["catalogue"] = {"owner": "dana", "licence": "MIT"}
    desk.pipelines.apply(desk.write(document))
    run = desk.turned()
    assert run.step("data").outputs["ref"] == "questions@1"
    assert list(states(run).values()) == ["succeeded", "cached", "cached"]
    with desk.kernel.read(OWNER) as ctx:
        assert data.get_dataset(ctx, "questions").catalogue.owner == "dana"
