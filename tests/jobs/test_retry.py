"""A retry that comes while the failed run is still on its way out."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.jobs.kinds import ROOT, ended, get, open_kernel, read, submit, until
from tidemill.core.actors import OWNER
from tidemill.core.errors import Conflict, Unavailable
from tidemill.core.kernel import Kernel
from tidemill.jobs import runner
from tidemill.jobs.service import JobQueue


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def mended(tmp_path: Path) -> Path:
    return tmp_path / "mended"


def fail_once(kernel: Kernel, path: Path, mended: Path) -> str:
    job_id = submit(kernel, "test.fail", path=str(path), mended=str(mended), known=True).id
    assert ended(kernel, job_id).state == "failed"
    return job_id


def retry(kernel: Kernel, job_id: str) -> None:
    with kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).retry(ctx, job_id)


def assert_all_slots_are_free(kernel: Kernel) -> None:
    running = kernel.get(JobQueue)._runner
    assert running is not None
    until(lambda: not running.active)
    until(lambda: running.slots.free(heavy=False) == runner.LIGHT_JOBS)
    assert running.slots.free(heavy=True) == kernel.settings.jobs_concurrency


def test_a_retry_waits_until_the_last_run_has_left_this_process(
    idle: Kernel, path: Path, mended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is committed, and the thread has not yet released its slot."""
    remove, leave, removed = runner.Runner._remove_active, threading.Event(), list[Any]()

    def remove_late(self: Any, running: Any) -> None:
        if not removed:
            removed.append(running)
            assert leave.wait(60)
        remove(self, running)

    monkeypatch.setattr(runner.Runner, "_remove_active", remove_late)
    idle.get(JobQueue).start(idle)
    job_id = fail_once(idle, path, mended)
    mended.touch()
    retry(idle, job_id)
    other = submit(idle, "test.steps", count=1, path=str(path))  # claimed past the one that has to wait
    assert ended(idle, other.id).state == "succeeded"
    assert get(idle, job_id).state == "queued"
    leave.set()
    assert ended(idle, job_id).state == "succeeded"
    assert read(path) == ["first", "second", "begin 0", "end 0", "second"]
    assert_all_slots_are_free(idle)


def test_jobs_that_could_not_be_begun_give_their_slots_back(
    idle: Kernel, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SEARCH_SECONDS", 0.1)
    jobs = [submit(idle, "test.steps", count=1, path=str(path)).id for _ in range(3)]
    begin, broken = runner.DbosLog.begin, [True]

    def begin_badly(self: Any, *args: Any, **kwargs: Any) -> None:
        if broken:
            broken.clear()
            raise Unavailable("The step log is busy.")
        begin(self, *args, **kwargs)

    monkeypatch.setattr(runner.DbosLog, "begin", begin_badly)
    idle.get(JobQueue).start(idle)
    assert {ended(idle, job_id).state for job_id in jobs} == {"succeeded"}
    assert_all_slots_are_free(idle)


def test_a_retry_does_the_failed_step_again_before_the_log_knows_of_the_failure(
    idle: Kernel, path: Path, mended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DBOS records the outcome of a run only after our own table has it and the next run may begin."""
    from dbos._sys_db import SystemDatabase

    record, go_on, delayed = SystemDatabase.update_workflow_outcome, threading.Event(), list[Any]()

    def record_late(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not delayed:
            delayed.append(args)
            assert go_on.wait(60)
        return record(self, *args, **kwargs)

    monkeypatch.setattr(SystemDatabase, "update_workflow_outcome", record_late)
    idle.get(JobQueue).start(idle)
    job_id = fail_once(idle, path, mended)
    until(lambda: delayed)
    mended.touch()
    retry(idle, job_id)
    try:
        assert ended(idle, job_id).state == "succeeded"
    finally:
        go_on.set()
    assert read(path) == ["first", "second", "second"]
    assert_all_slots_are_free(idle)


KILLED_AFTER_THE_COMMIT = """
import os, sys, time
from pathlib import Path
from tests.jobs.kinds import KINDS, fail, open_kernel, submit
from tidemill.jobs.kinds import JobKind
from tidemill.jobs.service import JobQueue

home, url, path, mended = sys.argv[1:]
KINDS["test.fail"] = JobKind(run=fail, ended=lambda ctx, job: ctx.once_committed(lambda: os._exit(9)))
kernel = open_kernel(Path(home), url or None)
kernel.get(JobQueue).start(kernel)
submit(kernel, "test.fail", key="only", path=path, mended=mended, known=True)
time.sleep(120)
"""


def test_a_retry_does_the_failed_step_again_when_the_server_died_right_after_the_end(
    home: Path, url: str | None, path: Path, mended: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    command = [sys.executable, "-c", KILLED_AFTER_THE_COMMIT, str(home), url or "", str(path), str(mended)]
    assert subprocess.run(command, env=environment, timeout=120, check=False).returncode == 9
    kernel = open_kernel(home, url)
    try:
        with kernel.read(OWNER) as ctx:
            (job,) = kernel.get(JobQueue).list(ctx).items
        assert job.state == "failed"
        mended.touch()
        kernel.get(JobQueue).start(kernel)
        retry(kernel, job.id)
        assert ended(kernel, job.id).state == "succeeded"
        assert read(path) == ["first", "second", "second"]
    finally:
        kernel.get(JobQueue).stop()
        kernel.close()


def test_no_line_is_lost_when_the_end_is_rolled_back(
    idle: Kernel, path: Path, mended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines were written in the transaction, and what came after them in it failed."""
    monkeypatch.setattr(runner, "FLUSH_SECONDS", 3600.0)
    update, broken = runner.store.update, [True]

    def update_badly(conn: sa.Connection, job_id: str, **values: Any) -> bool:
        if broken and "state" in values:
            broken.clear()
            raise Unavailable("The database is busy.")
        return update(conn, job_id, **values)

    monkeypatch.setattr(runner.store, "update", update_badly)
    idle.get(JobQueue).start(idle)
    job_id = fail_once(idle, path, mended)
    with idle.read(OWNER) as ctx:
        (line,) = idle.get(JobQueue).log(ctx, job_id).lines
    assert "The second step is rotten." in line.message
    done = submit(idle, "test.steps", count=1, path=str(path))
    broken.append(True)
    progress = ended(idle, done.id).progress
    assert progress is not None
    assert progress.done == 1


def test_a_runner_that_cannot_start_leaves_nothing_behind(idle: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_badly(self: Any, run: Any) -> None:
        raise Unavailable("The step log cannot be opened.")

    listeners = idle.db.changes._listeners
    with monkeypatch.context() as patch:
        patch.setattr(runner.DbosLog, "start", start_badly)
        for _ in range(2):
            with pytest.raises(Unavailable):
                idle.get(JobQueue).start(idle)
    assert idle.db.changes._listeners == listeners
    with idle.db.read() as conn:
        assert runner.store.list_workers(conn) == []


def test_of_many_who_retry_cancel_and_run_a_job_at_once_each_changes_only_the_state_it_saw(
    kernel: Kernel, path: Path, mended: Path
) -> None:
    """Whatever the order, a job that ended stays ended until a retry, and each retry counts once."""
    job_id = fail_once(kernel, path, mended)
    retried: list[int] = []
    start = threading.Barrier(4)

    def retry_or_refuse() -> None:
        start.wait()
        for _ in range(5):
            try:
                retry(kernel, job_id)
                retried.append(1)
            except Conflict:
                time.sleep(0.05)

    def cancel_or_refuse() -> None:
        start.wait()
        for _ in range(5):
            try:
                with kernel.write(OWNER) as ctx:
                    kernel.get(JobQueue).cancel(ctx, job_id)
            except Conflict:
                time.sleep(0.05)

    threads = [threading.Thread(target=work) for work in (retry_or_refuse, cancel_or_refuse) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    job = ended(kernel, job_id)
    assert job.state in ("failed", "cancelled")
    assert job.attempt == 1 + len(retried)
    with kernel.db.read() as conn:
        assert runner.store.get_ownership(conn, job_id).state == job.state  # type: ignore[union-attr]
    assert_all_slots_are_free(kernel)
