import contextlib
import threading
import time
from pathlib import Path

import pytest

from tests.jobs.kinds import KINDS, ended, get, note, open_kernel, read, submit, until
from tidemill.core import events
from tidemill.core.actors import OWNER, Actor
from tidemill.core.errors import Unavailable
from tidemill.core.kernel import Kernel
from tidemill.jobs import runner, store
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import JobEnded, JobKeyReused, JobKindUnknown, JobNotEnded, JobNotFound


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def lines(kernel: Kernel, job_id: str) -> list[str]:
    with kernel.read(OWNER) as ctx:
        return [line.message for line in kernel.get(JobQueue).log(ctx, job_id).lines]


def test_a_job_runs_its_steps_and_keeps_its_result(kernel: Kernel, path: Path) -> None:
    job = ended(kernel, submit(kernel, "test.steps", count=3, path=str(path)).id)

    assert job.state == "succeeded"
    assert job.result == {"done": [0, 1, 2]}
    assert job.error is None
    assert job.started_at is not None
    assert job.finished_at is not None
    assert read(path) == ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]
    assert job.progress is not None
    assert (job.progress.done, job.progress.total, job.progress.message) == (3, 3, "stepping")
    assert job.progress.figures == {"loss": None, "speed": 2.5}  # JSON has no NaN
    assert lines(kernel, job.id) == ["all steps done"]


@pytest.mark.parametrize("fail", [False, True])
def test_a_job_may_say_what_no_database_takes(kernel: Kernel, fail: bool) -> None:
    """NUL on PostgreSQL, and half of a surrogate pair on both, once ended the thread that stores notes."""
    shown = "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"
    job = ended(kernel, submit(kernel, "test.odd", fail=fail).id)

    assert job.state == ("failed" if fail else "succeeded")
    assert job.progress is not None
    assert (job.progress.message, job.progress.figures) == (shown, {"note": shown})
    assert lines(kernel, job.id)[0] == shown
    if fail:
        assert job.error is not None
        assert job.error.message == f"ValueError: {shown}"
    else:
        assert job.result == {"text": shown}
    # Its threads live: the next job is run.
    assert ended(kernel, submit(kernel, "test.odd", fail=False).id).state == "succeeded"


def test_a_fault_of_any_family_pauses_the_runner_and_ends_nothing(
    kernel: Kernel, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([KeyError("claim"), RuntimeError("notes")])
    claim, add_lines = store.claim, store.add_lines

    def faulty(function, fault):
        pending = [fault]

        def call(*args, **kwargs):
            if pending:
                raise pending.pop()
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(runner, "OUTAGE_S", 0.05)
    monkeypatch.setattr(store, "claim", faulty(claim, next(faults)))
    monkeypatch.setattr(store, "add_lines", faulty(add_lines, next(faults)))
    job = ended(kernel, submit(kernel, "test.steps", count=2, path=str(path), pause=0.6).id)
    assert job.state == "succeeded"
    assert lines(kernel, job.id) == ["all steps done"]


@pytest.fixture
def _no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner acts only when it is woken."""
    monkeypatch.setattr(runner, "TICK_SECONDS", 3600.0)


@pytest.mark.usefixtures("_no_looks")
def test_a_job_starts_at_once_when_this_process_submitted_it(kernel: Kernel, path: Path) -> None:
    job = ended(kernel, submit(kernel, "test.steps", count=1, path=str(path)).id)
    assert job.state == "succeeded"


def test_the_step_log_rests_after_the_last_job_and_opens_for_the_next(
    kernel: Kernel, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "REST_SECONDS", 0.0)

    def rests() -> bool:
        return not any(thread.name == "dbos-background-jobs" for thread in threading.enumerate())

    mended = tmp_path / "mended"
    args = {"path": str(path), "mended": str(mended), "known": True}
    failed = submit(kernel, "test.fail", **args).id
    assert ended(kernel, failed).state == "failed"
    until(rests)
    assert ended(kernel, submit(kernel, "test.steps", count=1, path=str(path)).id).state == "succeeded"
    until(rests)
    mended.touch()
    with kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).retry(ctx, failed)
    assert ended(kernel, failed).state == "succeeded"
    assert read(path) == ["first", "second", "begin 0", "end 0", "second"]


def test_a_job_of_another_process_is_found(kernel: Kernel, path: Path, home: Path, url: str | None) -> None:
    other = open_kernel(home, url)
    job = submit(other, "test.steps", count=1, path=str(path))
    assert ended(kernel, job.id).state == "succeeded"
    other.close()


def test_a_rolled_back_submission_never_runs(kernel: Kernel, path: Path) -> None:
    job_ids: list[str] = []

    def submit_and_fail() -> None:
        with kernel.write(OWNER) as ctx:
            job_ids.append(kernel.get(JobQueue).submit(ctx, "test.steps", {"count": 1, "path": str(path)}).id)
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        submit_and_fail()
    with pytest.raises(JobNotFound):
        get(kernel, job_ids[0])
    time.sleep(1.2)
    assert read(path) == []


def test_a_key_makes_one_job_of_two_submissions(kernel: Kernel, path: Path) -> None:
    first = submit(kernel, "test.steps", key="k", count=1, path=str(path))
    ended(kernel, first.id)
    again = submit(kernel, "test.steps", key="k", count=1, path=str(path))
    assert again.id == first.id
    assert again.state == "succeeded"
    with pytest.raises(JobKeyReused):
        submit(kernel, "test.steps", key="k", count=2, path=str(path))
    assert read(path) == ["begin 0", "end 0"]


def test_an_unknown_kind_is_refused_with_what_was_meant(kernel: Kernel) -> None:
    with pytest.raises(JobKindUnknown) as caught:
        submit(kernel, "test.step")
    assert caught.value.hint is not None
    assert "test.steps" in caught.value.hint


@pytest.mark.parametrize("as_tidemill_error", [True, False])
def test_a_failure_has_a_body_and_a_traceback_in_the_log_and_can_be_retried(
    kernel: Kernel, path: Path, tmp_path: Path, as_tidemill_error: bool
) -> None:
    mended = tmp_path / "mended"
    job = ended(kernel, submit(kernel, "test.fail", path=str(path), mended=str(mended), known=as_tidemill_error).id)

    assert job.state == "failed"
    assert job.error is not None
    if as_tidemill_error:
        assert (job.error.code, job.error.hint) == ("rotten", "Mend it.")
        assert job.error.message == "The second step is rotten."
    else:
        assert (job.error.code, job.error.message) == ("job_failed", "ZeroDivisionError: nought")
    assert "Traceback" not in job.error.message
    assert any("Traceback" in line and "second" in line for line in lines(kernel, job.id))

    mended.touch()
    with kernel.write(OWNER) as ctx:
        assert kernel.get(JobQueue).retry(ctx, job.id).state == "queued"
    job = ended(kernel, job.id)
    assert (job.state, job.attempt, job.error) == ("succeeded", 2, None)
    assert job.result == {"second": "fine"}
    assert read(path) == ["first", "second", "second"]  # the first step was not done again


def test_only_a_failed_or_cancelled_job_can_be_retried(kernel: Kernel, path: Path) -> None:
    job = ended(kernel, submit(kernel, "test.steps", count=1, path=str(path)).id)
    with pytest.raises(JobNotEnded), kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).retry(ctx, job.id)


@pytest.mark.usefixtures("_no_looks")
def test_cancelling_a_running_job_lets_it_clean_up(kernel: Kernel, path: Path, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    job = submit(kernel, "test.loop", path=str(path), ended=str(hook))
    until(lambda: read(path) == ["begin"])
    with kernel.write(OWNER) as ctx:
        assert kernel.get(JobQueue).cancel(ctx, job.id).cancel_requested
    assert ended(kernel, job.id).state == "cancelled"
    assert read(path) == ["begin", "clean"]
    assert read(hook) == [f"{job.id} cancelled"]
    with pytest.raises(JobEnded), kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).cancel(ctx, job.id)


def test_cancelling_a_job_that_never_ran_ends_it_at_once(idle: Kernel, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    job = submit(idle, "test.loop", path=str(tmp_path / "notes"), ended=str(hook))
    with idle.write(OWNER) as ctx:
        assert idle.get(JobQueue).cancel(ctx, job.id).state == "cancelled"
    assert read(hook) == [f"{job.id} cancelled"]


def test_heavy_jobs_run_one_at_a_time(kernel: Kernel, path: Path) -> None:
    jobs = [submit(kernel, "test.heavy", path=str(path)) for _ in range(3)]
    for job in jobs:
        assert ended(kernel, job.id).state == "succeeded"
    assert read(path) == ["begin", "end"] * 3


@pytest.mark.usefixtures("_no_looks")
def test_a_signal_wakes_a_waiting_job_which_gives_way_meanwhile(kernel: Kernel, path: Path) -> None:
    job = submit(kernel, "test.heavy_wait", path=str(path))
    until(lambda: get(kernel, job.id).waiting_for == "approval")
    other = submit(kernel, "test.heavy", path=str(path))
    assert ended(kernel, other.id).state == "succeeded"  # although only one heavy job may run
    with kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).signal(ctx, job.id, "approval", {"by": "ann"})
        kernel.get(JobQueue).signal(ctx, job.id, "approval", "again")
    job = ended(kernel, job.id)
    assert job.result == {"first": {"by": "ann"}, "second": "again"}
    with pytest.raises(JobEnded), kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).signal(ctx, job.id, "approval")


def test_waiting_ends_after_its_timeout(kernel: Kernel, path: Path) -> None:
    job = ended(kernel, submit(kernel, "test.wait", path=str(path), timeout=0.1).id)
    assert job.result == {"first": None, "second": None}


def test_a_waiting_job_can_be_cancelled(kernel: Kernel, path: Path) -> None:
    job = submit(kernel, "test.wait", path=str(path))
    until(lambda: get(kernel, job.id).waiting_for is not None)
    with kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).cancel(ctx, job.id)
    job = ended(kernel, job.id)
    assert (job.state, job.waiting_for) == ("cancelled", None)


def test_a_job_that_waits_for_another_one_gives_way_to_it(kernel: Kernel, path: Path) -> None:
    """With one place for heavy jobs the parent must not keep its child from running."""
    job = submit(kernel, "test.parent", path=str(path), child="test.heavy", **{"with": {}})
    until(lambda: get(kernel, job.id).waiting_for == "line")
    note(str(path), "go on")
    # Without the signal it would poll again after an hour; it may also read the note at once and end before it.
    with contextlib.suppress(JobEnded), kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).signal(ctx, job.id, "line")
    job = ended(kernel, job.id)
    assert job.result == {"child": "succeeded", "line": "go on"}
    assert job.waiting_for is None


def test_a_job_that_waits_for_a_failed_one_sees_how_it_ended(kernel: Kernel, path: Path) -> None:
    note(str(path), "go")
    job = submit(kernel, "test.parent", path=str(path), child="test.fail", **{"with": {"known": True}})
    assert ended(kernel, job.id).result == {"child": "failed", "line": "go"}


def test_a_job_that_waits_for_another_one_can_be_cancelled(kernel: Kernel, path: Path) -> None:
    job = submit(kernel, "test.parent", path=str(path), child="test.loop", **{"with": {}})
    until(lambda: "begin" in read(path))
    with kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).cancel(ctx, job.id)
    assert ended(kernel, job.id).state == "cancelled"


def test_a_waiting_job_outlasts_a_database_that_goes_away(
    kernel: Kernel, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(kernel, "test.parent", path=str(path), child="test.heavy", **{"with": {}})
    until(lambda: get(kernel, job.id).waiting_for == "line")
    gone = 0
    real = store.clear_signals

    def away(*args: object) -> None:
        nonlocal gone
        gone += 1
        if gone < 3:
            raise Unavailable("The database does not answer.")
        real(*args)

    monkeypatch.setattr(store, "clear_signals", away)
    for _ in range(3):
        with kernel.write(OWNER) as ctx:
            kernel.get(JobQueue).signal(ctx, job.id, "line")
        seen = gone
        until(lambda seen=seen: gone > seen)
    assert get(kernel, job.id).state == "running"
    note(str(path), "go")
    with contextlib.suppress(JobEnded), kernel.write(OWNER) as ctx:  # it may read the note before it is told
        kernel.get(JobQueue).signal(ctx, job.id, "line")
    assert ended(kernel, job.id).state == "succeeded"


def test_a_result_too_large_is_refused(kernel: Kernel) -> None:
    job = ended(kernel, submit(kernel, "test.large").id)
    assert job.error is not None
    assert job.error.code == "job_result_too_large"


def test_a_failing_hook_does_not_keep_the_job_from_ending(kernel: Kernel, path: Path) -> None:
    job = ended(kernel, submit(kernel, "test.steps", count=1, path=str(path), hook_fails=True).id)
    assert job.state == "succeeded"
    assert any("the hook fails" in line for line in lines(kernel, job.id))


@pytest.mark.slow
def test_stopping_suspends_jobs_and_the_next_start_goes_on(idle: Kernel, path: Path) -> None:
    idle.get(JobQueue).start(idle)
    job = submit(idle, "test.steps", count=4, path=str(path), pause=0.3)
    until(lambda: "begin 1" in read(path))
    assert idle.get(JobQueue).stop()
    assert get(idle, job.id).state == "queued"
    before = read(path)
    assert before[-1].startswith("end")  # the step was finished, the next not begun
    idle.get(JobQueue).start(idle)
    assert ended(idle, job.id).result == {"done": [0, 1, 2, 3]}
    assert sorted(read(path)) == sorted(f"{word} {n}" for n in range(4) for word in ("begin", "end"))


def test_a_job_acts_as_who_submitted_it_and_leaves_facts(kernel: Kernel, path: Path) -> None:
    ann = Actor(id="per_ann", name="ann", roles=frozenset({"developer"}))
    with kernel.write(ann) as ctx:
        job = kernel.get(JobQueue).submit(ctx, "test.steps", {"count": 1, "path": str(path)}, subject="ds_1")
    assert (job.actor_id, job.actor_name, job.subject) == ("per_ann", "ann", "ds_1")
    ended(kernel, job.id)
    with kernel.read(OWNER) as ctx:
        [fact] = events.list_events(ctx.conn, subject=job.id)
    assert (fact.kind, fact.actor_id) == ("job.succeeded", "per_ann")


def test_listing_filters_and_pages(idle: Kernel, path: Path) -> None:
    jobs = [submit(idle, "test.steps", count=1, path=str(path)) for _ in range(3)]
    other = submit(idle, "test.heavy", path=str(path))
    with idle.read(OWNER) as ctx:
        first = idle.get(JobQueue).list(ctx, kind="test.steps", state="queued", limit=2)
        rest = idle.get(JobQueue).list(ctx, kind="test.steps", limit=2, cursor=first.next_cursor)
        every = idle.get(JobQueue).list(ctx)
        none = idle.get(JobQueue).list(ctx, subject="nothing")
    assert [j.id for j in first.items + rest.items] == [j.id for j in reversed(jobs)]
    assert rest.next_cursor is None
    assert every.items[0].id == other.id
    assert none.items == []


def test_one_process_runs_the_jobs_of_one_home(kernel: Kernel, tmp_path: Path) -> None:
    other = open_kernel(tmp_path / "other", None)
    with pytest.raises(Unavailable, match="another home"):
        other.get(JobQueue).start(other)
    assert not other.get(JobQueue).running
    other.close()


def test_every_kind_of_the_tests_is_known(idle: Kernel) -> None:
    assert set(idle.get(JobQueue).kinds) == set(KINDS)
