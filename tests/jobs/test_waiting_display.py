"""What a person sees who waits for a job: how far it is, what it waits for, and what Ctrl-C leaves."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.jobs.kinds import ROOT, get, kill, open_kernel, start_server, submit, until
from tidemill.core.wire import utc_now
from tidemill.jobs.cli import describe
from tidemill.jobs.types import Job, Progress


def job_with(**changes: object) -> Job:
    values = {
        "id": "job_2", "kind": "evals.run", "state": "running", "subject": None, "args": {}, "key": None, "attempt": 1,
        "progress": None, "waiting_for": None, "cancel_requested": False, "error": None, "result": None,
        "actor_id": "p", "actor_name": "ana", "created_at": datetime(2026, 1, 1, tzinfo=UTC), "started_at": None,
        "finished_at": None,
    }  # fmt: skip
    return Job.model_validate(values | changes)


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        ({"done": 1200, "total": 3527, "unit": "answers", "message": "asking", "figures": {"failed": 3}},
         "asking  1,200/3,527 answers  3 failed"),
        ({"done": 5, "message": "training", "unit": "steps",
          "figures": {"loss": 0.51234, "tokens_per_s": 812.4, "eta_s": 250.0}},
         "training  5 steps  loss 0.5123  812.4 tokens/s  4 min 10 s left"),
        ({"message": "reading", "figures": {"rows": 12000}}, "reading  12,000 rows"),
        ({"done": 1, "total": 2}, "1/2"),
    ],
)  # fmt: skip
def test_figures_have_their_units(progress: dict[str, object], text: str) -> None:
    assert describe(job_with(progress=Progress.model_validate(progress | {"at": utc_now()}))) == text


def test_a_queued_job_names_what_it_waits_for(
    home: Path, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_JOBS_CONCURRENCY", "1")
    kernel = open_kernel(home, database_url)
    server = start_server(home, database_url)
    try:
        first = submit(kernel, "test.hold", path=str(tmp_path / "first"))
        until(lambda: get(kernel, first.id).state == "running")
        light = submit(kernel, "test.wait", path=str(tmp_path / "light"))
        second, third = (submit(kernel, "test.hold", path=str(tmp_path / name)) for name in ("second", "third"))
        until(lambda: get(kernel, light.id).state == "running")
        assert get(kernel, first.id).queued_behind == []
        assert get(kernel, second.id).queued_behind == [first.id]
        assert get(kernel, third.id).queued_behind == [first.id, second.id]
        assert describe(get(kernel, third.id)) == f"queued behind {first.id} and 1 more"
        (tmp_path / "first").touch()
        until(lambda: get(kernel, second.id).state == "running")
        assert get(kernel, third.id).queued_behind == [second.id]
    finally:
        kill(server)
        kernel.close()


@pytest.mark.slow
def test_ctrl_c_says_that_the_job_goes_on(home: Path, tmp_path: Path) -> None:
    kernel = open_kernel(home, None)
    server = start_server(home, None)
    job = submit(kernel, "test.watched", count=3, path=str(tmp_path / "notes"))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TIDEMILL_HOME": str(home)}
    argv = [sys.executable, "-m", "tidemill", "jobs", "wait", job.id]
    command = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert command.stderr is not None
        assert "test.watched: stepping  1/3" in command.stderr.readline()
        command.send_signal(signal.SIGINT)
        _, text = command.communicate(timeout=120)
        assert command.returncode == 130
        assert f"The job {job.id} is not cancelled: it goes on while a server runs" in text
        assert f"See it: tidemill jobs show {job.id}   End it: tidemill jobs cancel {job.id}" in text
        assert "Traceback" not in text
        assert get(kernel, job.id).state == "running"
    finally:
        command.kill()
        command.communicate()
        kill(server)
        kernel.close()
