"""Steps that stand or fall as one, on SQLite and on PostgreSQL."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.kinds import Rotten, ended, note, read, submit
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.jobs.context import JobContext
from tidemill.jobs.kinds import JobKind
from tidemill.jobs.service import JobQueue


def _rotten() -> None:
    raise Rotten("One of several ways.")


def prove(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Trains once; makes and judges again until the file `mended` is there."""
    path = args["path"]
    with suppress(Rotten):
        job.step("tried in vain", _rotten)
    job.step("train", note, path, "train")
    with job.together("proof"):
        job.step("make", note, path, "make")
        fine = job.step("judge", lambda: (note(path, "judge"), Path(args["mended"]).exists())[1])
        if not fine:
            raise Rotten("The proof is rotten.")
    return {"after": job.step("tidy", note, path, "tidy")}


@pytest.fixture
def kernel(idle: Kernel) -> Kernel:
    idle.get(JobQueue).kinds["test.prove"] = JobKind(run=prove)
    idle.get(JobQueue).start(idle)
    return idle


def test_a_retry_does_again_what_was_judged_and_nothing_before(kernel: Kernel, tmp_path: Path) -> None:
    path, mended = tmp_path / "notes", tmp_path / "mended"
    job = ended(kernel, submit(kernel, "test.prove", path=str(path), mended=str(mended)).id)
    assert job.error is not None
    assert job.error.code == "rotten"
    for _ in ("still rotten", "mended"):
        with kernel.write(OWNER) as ctx:
            kernel.get(JobQueue).retry(ctx, job.id)
        job = ended(kernel, job.id)
        mended.touch()
    assert (job.state, job.attempt, job.result) == ("succeeded", 3, {"after": "tidy"})
    assert read(path) == ["train", "make", "judge", "make", "judge", "make", "judge", "tidy"]
