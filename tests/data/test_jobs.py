"""The import as a durable job: it survives its process, can be cancelled, and needs little memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data.conftest import Desk, jsonl
from tidemill.client import Client
from tidemill.core.settings import Settings
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.types import JobCancelledError

WORDS = [
    f"{a}{b}" for a in ("wind", "stone", "river", "cloud", "light", "moss") for b in ("mill", "fall", "gate", "bow")
]


def long_file(folder: Path, megabytes: int) -> Path:
    """Different rows of about a kilobyte each."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "long.jsonl"
    with path.open("w") as out:
        for number in range(megabytes * 1000):
            words = (f"{WORDS[(number * 31 + place * 7) % 24]}{number * 13 + place}" for place in range(65))
            out.write(jsonl({"text": " ".join(words)}))
    return path


def test_a_running_import_can_be_cancelled_and_leaves_nothing(desk: Desk) -> None:
    started = desk.data.submit(long_file(desk.folder, 6), name="long")
    assert started.job is not None
    jobs = Jobs(desk.data._http)
    jobs.cancel(started.job.id)
    with pytest.raises(JobCancelledError):
        jobs.wait(started.job.id, timeout=120)
    assert desk.data.list().items == []
    assert not [path for path in (desk.kernel.settings.home / "work").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_an_import_goes_on_after_its_server_was_killed(home: Path, tmp_path: Path) -> None:
    settings = Settings(home=home)
    argv = [sys.executable, "-m", "tidemill", "up", "--port", "0"]
    server = subprocess.Popen(argv, env=settings.child_environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    with server:
        while not (home / "run" / "server.json").exists():
            assert server.poll() is None
            time.sleep(0.05)
        with Client(home=home) as client:
            submitted = client.data.submit(long_file(tmp_path, 4), name="long")
            assert submitted.job is not None
            while client.jobs.get(submitted.job.id).state == "queued":
                time.sleep(0.02)
            os.kill(server.pid, signal.SIGKILL)
    with Client(home=home, workers=True) as client:
        job = client.jobs.wait(submitted.job.id, timeout=120)
        version = client.data.finished(job)
        assert version.rows == 4000
        assert [item.id for item in client.data.versions("long").items] == [version.id]


_PEAK = """
import pathlib, sys, tempfile, threading
from tidemill.data.builder import ENGINE, Builder
from tidemill.data.types import *

def anonymous():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

steps = [step for step in default_recipe().steps if step.step not in ("pii", "near_duplicates")]  # the slow ones
plan = ImportPlan(engine=ENGINE, sources=[SourceRef(name="long.jsonl", hash="sha256:" + "0" * 64)], row_schema="text",
            read=ReadSpec(), mapping=MapSpec(fields={"text": "text"}), recipe=Recipe(steps=steps),
            split=SplitSpec(ratios={"train": 0.9, "test": 0.1}, near_duplicates=None))
peak = [0]
def note(stage, rows):
    peak[0] = max(peak[0], anonymous())
with tempfile.TemporaryDirectory() as folder:
    built = Builder(plan, [pathlib.Path(sys.argv[1])], pathlib.Path(folder), note).build()
    print(peak[0], sum(built.rows.values()))
"""


@pytest.mark.slow
def test_memory_grows_with_rows_but_not_with_text(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (10, 60):
        path = long_file(tmp_path / str(megabytes), megabytes)
        out = subprocess.run(
            [sys.executable, "-c", _PEAK, str(path)], capture_output=True, text=True, check=True
        ).stdout
        peak, rows = map(int, out.split())
        assert rows == megabytes * 1000
        peaks.append(peak)
    grown = (peaks[1] - peaks[0]) / 1024
    assert grown < 25, f"50 MB more of input took {grown:.0f} MB more of memory ({peaks} KiB)"
