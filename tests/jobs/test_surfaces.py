"""Jobs over HTTP, the SDK and the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.jobs.kinds import KINDS, get, note, read, submit, until
from tidemill.cli import app as commands
from tidemill.core.http import Http, InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import Job, JobCancelledError, JobEnded, JobFailed, JobNotFound, JobWaitTimeout
from tidemill.server import app as server


@pytest.fixture
def application(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[server.Application]:
    """The real application on an empty home, with the jobs of the tests, running them."""
    for name, kind in KINDS.items():
        monkeypatch.setitem(server.JOBS, name, kind)
    app = server.build(Settings(home=home))
    app.kernel.get(JobQueue).start(app.kernel)
    yield app
    app.kernel.get(JobQueue).stop()
    app.kernel.close()


@pytest.fixture
def kernel(application: server.Application) -> Kernel:
    return application.kernel


@pytest.fixture
def jobs(application: server.Application) -> Iterator[Jobs]:
    http = Http("http://tidemill.local", transport=InProcessTransport(application.asgi))
    yield Jobs(http)
    http.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def test_waiting_shows_progress_and_returns_the_ended_job(jobs: Jobs, kernel: Kernel, path: Path) -> None:
    job = submit(kernel, "test.watched", count=3, path=str(path))
    states: list[Job] = []

    def watch(job: Job) -> None:
        states.append(job)
        if job.progress is not None:
            note(str(path), f"{job.progress.done:g}")

    job = jobs.wait(job.id, timeout=120, watch=watch)
    assert job.result == {"done": 3}
    assert states[-1] == job
    assert {job.progress.done for job in states if job.progress is not None} == {1, 2, 3}
    assert jobs.get(job.id) == job
    assert jobs.list(kind="test.watched", state="succeeded").items == [job]
    log = jobs.logs(job.id)
    assert [(line.message, line.data) for line in log.lines] == [("all steps done", {"count": 3})]
    assert jobs.logs(job.id, offset=log.next_offset).lines == []


def test_waiting_for_a_failed_job_raises_what_failed(jobs: Jobs, kernel: Kernel, path: Path, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    job = submit(kernel, "test.fail", path=str(path), mended=str(mended), known=True)
    with pytest.raises(JobFailed, match="The second step is rotten") as caught:
        jobs.wait(job.id, timeout=120)
    assert caught.value.hint == "Mend it."
    assert jobs.wait(job.id, check=False).error is not None
    mended.touch()
    assert jobs.retry(job.id).attempt == 2
    assert jobs.wait(job.id, timeout=120).state == "succeeded"


def test_cancel_signal_and_timeout(jobs: Jobs, kernel: Kernel, path: Path) -> None:
    job = submit(kernel, "test.wait", path=str(path))
    with pytest.raises(JobWaitTimeout):
        jobs.wait(job.id, timeout=0.2)
    jobs.signal(job.id, "approval", {"ok": True})
    until(lambda: read(path) == ["got {'ok': True}"])
    jobs.cancel(job.id)
    with pytest.raises(JobCancelledError):
        jobs.wait(job.id, timeout=120)
    with pytest.raises(JobEnded):
        jobs.cancel(job.id)
    with pytest.raises(JobNotFound):
        jobs.get("job_none")


def run(*argv: str, code: int = 0) -> str:
    result = CliRunner().invoke(commands, list(argv), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_line(kernel: Kernel, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    good = submit(kernel, "test.steps", count=2, path=str(path))
    bad = submit(kernel, "test.fail", path=str(path), mended=str(tmp_path / "mended"), known=False)
    until(lambda: get(kernel, good.id).ended and get(kernel, bad.id).ended)

    listed = run("jobs", "list").splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [
        [bad.id, "test.fail", "failed"],
        [good.id, "test.steps", "succeeded"],
    ]
    assert max(map(len, listed)) <= 80, "one job is one line of 80 characters"
    page = json.loads(run("--json", "jobs", "list", "--state", "failed"))
    assert [item["id"] for item in page["items"]] == [bad.id]
    assert json.loads(run("--json", "jobs", "show", good.id))["result"] == {"done": [0, 1]}
    assert "Traceback" in run("jobs", "logs", bad.id)
    assert "all steps done" in json.loads(run("--json", "jobs", "logs", good.id))["lines"][0]["message"]

    waiting = submit(kernel, "test.wait", path=str(path))
    assert json.loads(run("--json", "jobs", "cancel", waiting.id))["cancel_requested"]
    until(lambda: get(kernel, waiting.id).ended)
    (tmp_path / "mended").touch()
    assert json.loads(run("--json", "jobs", "retry", bad.id))["state"] == "queued"
    until(lambda: get(kernel, bad.id).state == "succeeded")
