"""What happens to jobs when their process is killed with signal 9."""

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.jobs.kinds import ROOT, ended, get, kill, note, open_kernel, read, start_server, submit, until
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.jobs import context, runner, store
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import JobEnded
from tidemill.jobs.wrapper import process_stamp

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def servers(home: Path, url: str | None) -> Iterator[list]:
    """Call `servers.append(start_server(...))`; all are killed at the end."""
    started: list = []
    yield started
    for server in started:
        if server.poll() is None:
            kill(server)


def test_a_killed_job_goes_on_and_does_no_finished_step_twice(
    idle: Kernel, servers: list, home: Path, url: str | None, path: Path
) -> None:
    job = submit(idle, "test.steps", count=12, path=str(path), pause=0.1)
    for step in (2, 5, 8):
        servers.append(start_server(home, url))
        until(lambda step=step: f"begin {step}" in read(path))
        kill(servers[-1])
    idle.get(JobQueue).start(idle)
    job = ended(idle, job.id)

    assert job.state == "succeeded"
    assert job.result == {"done": list(range(12))}
    finished = Counter(line for line in read(path) if line.startswith("end"))
    begun = Counter(line for line in read(path) if line.startswith("begin"))
    # Only the three steps that were interrupted may have begun twice (or ended right before the kill).
    assert set(finished) == {f"end {n}" for n in range(12)}
    assert sum(begun.values()) <= 12 + 3
    assert sum(finished.values()) <= 12 + 3


def test_a_submitted_job_survives_the_death_of_its_submitter(idle: Kernel, path: Path) -> None:
    # `idle` never ran it: the row alone is the promise.
    job = submit(idle, "test.steps", count=1, path=str(path))
    idle.get(JobQueue).start(idle)
    assert ended(idle, job.id).state == "succeeded"


def test_a_process_outlives_the_server_and_is_found_again(
    idle: Kernel, servers: list, home: Path, url: str | None, tmp_path: Path, path: Path
) -> None:
    go = tmp_path / "go"
    code = (
        "import os, sys, time\n"
        f"open({str(path)!r}, 'a').write('begin\\n')\n"
        "for n in range(20): print(n, flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        f"open({str(path)!r}, 'a').write('end\\n')\n"
    )
    servers.append(start_server(home, url))
    job = submit(idle, "test.process", argv=[sys.executable, "-c", code], workdir=str(tmp_path))
    until(lambda: read(path) == ["begin"])
    kill(servers[-1])
    pid = idle.get(JobQueue).compute.status(f"{job.id}.child").pid
    assert pid is not None
    assert process_stamp(pid) is not None  # it runs on

    idle.get(JobQueue).start(idle)
    until(lambda: "19" in idle.get(JobQueue).compute.logs(f"{job.id}.child").text)
    go.touch()
    job = ended(idle, job.id)
    assert job.state == "succeeded"
    assert job.result is not None
    assert job.result["status"]["state"] == "succeeded"
    assert job.result["status"]["pid"] == pid
    assert job.result["output"] == "".join(f"{n}\n" for n in range(20))
    assert read(path) == ["begin", "end"]  # ran once


def test_a_process_that_ended_while_no_server_ran_is_found_with_its_exit_code(
    idle: Kernel, servers: list, home: Path, url: str | None, tmp_path: Path, path: Path
) -> None:
    go = tmp_path / "go"
    code = (
        f"import os, sys, time; open({str(path)!r}, 'a').write('begin\\n')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('bad'); sys.exit(7)"
    )
    servers.append(start_server(home, url))
    job = submit(idle, "test.process", argv=[sys.executable, "-c", code], workdir=str(tmp_path))
    until(lambda: read(path) == ["begin"])
    kill(servers[-1])
    go.touch()
    until(lambda: idle.get(JobQueue).compute.status(f"{job.id}.child").ended)

    idle.get(JobQueue).start(idle)
    job = ended(idle, job.id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "job_process_failed"
    assert job.error.details == {"exit_code": 7, "state": "failed"}
    assert "bad" in job.error.message
    assert read(path) == ["begin"]


def test_cancelling_a_job_whose_server_died_ends_its_process_at_the_next_start(
    idle: Kernel, servers: list, home: Path, url: str | None, tmp_path: Path, path: Path
) -> None:
    code = f"import time; open({str(path)!r}, 'a').write('begin\\n'); time.sleep(600)"
    servers.append(start_server(home, url))
    job = submit(idle, "test.process", argv=[sys.executable, "-c", code], workdir=str(tmp_path))
    until(lambda: read(path) == ["begin"])
    kill(servers[-1])
    with idle.write(OWNER) as ctx:
        assert idle.get(JobQueue).cancel(ctx, job.id).cancel_requested
    assert idle.get(JobQueue).compute.status(f"{job.id}.child").state == "running"

    idle.get(JobQueue).start(idle)
    assert ended(idle, job.id).state == "cancelled"
    assert idle.get(JobQueue).compute.status(f"{job.id}.child").state == "cancelled"


def test_a_waiting_job_survives_and_hears_what_was_said_meanwhile(
    idle: Kernel, servers: list, home: Path, url: str | None, path: Path
) -> None:
    servers.append(start_server(home, url))
    job = submit(idle, "test.wait", path=str(path))
    until(lambda: get(idle, job.id).waiting_for == "approval")
    with idle.write(OWNER) as ctx:
        idle.get(JobQueue).signal(ctx, job.id, "approval", 1)
    until(lambda: read(path) == ["got 1"])
    until(lambda: get(idle, job.id).waiting_for == "approval")  # so the step that wrote the line is recorded
    kill(servers[-1])
    with idle.write(OWNER) as ctx:  # nobody listens
        idle.get(JobQueue).signal(ctx, job.id, "approval", 2)

    idle.get(JobQueue).start(idle)
    assert ended(idle, job.id).result == {"first": 1, "second": 2}
    assert read(path) == ["got 1"]


def test_a_job_that_waits_for_another_one_survives_both_being_killed(
    idle: Kernel, servers: list, home: Path, url: str | None, path: Path
) -> None:
    servers.append(start_server(home, url))
    job = submit(idle, "test.parent", path=str(path), child="test.wait", **{"with": {"timeout": None}})
    until(lambda: get(idle, job.id).waiting_for is not None)
    kill(servers[-1])
    child = get(idle, str(get(idle, job.id).waiting_for))
    with idle.write(OWNER) as ctx:
        idle.get(JobQueue).signal(ctx, child.id, "approval", 1)
        idle.get(JobQueue).signal(ctx, child.id, "approval", 2)
        idle.get(JobQueue).signal(ctx, job.id, "line")
    note(str(path), "go")
    idle.get(JobQueue).start(idle)
    assert ended(idle, job.id).result == {"child": "succeeded", "line": "go"}
    with idle.read(OWNER) as ctx:
        assert len(idle.get(JobQueue).list(ctx, kind="test.wait").items) == 1


def test_a_living_server_takes_over_from_a_killed_one(
    kernel: Kernel, servers: list, home: Path, url: str | None, path: Path
) -> None:
    """Two servers on one database share the work; when one dies the other finishes it."""
    servers.append(start_server(home, url))
    jobs = [submit(kernel, "test.steps", count=30, path=str(path), pause=0.1) for _ in range(30)]
    until(lambda: len(holders(kernel)) == 2)
    kill(servers[-1])
    until(lambda: len(holders(kernel)) == 1)
    with kernel.write(OWNER) as ctx:
        for job in jobs:
            with contextlib.suppress(JobEnded):  # the living server goes on meanwhile
                kernel.get(JobQueue).cancel(ctx, job.id)
    for job in jobs:
        assert ended(kernel, job.id).state in ("cancelled", "succeeded")


def holders(kernel: Kernel) -> set[str]:
    with kernel.db.read() as conn:
        return {e for e in conn.execute(sa.select(store.jobs.c.executor).distinct()).scalars() if e}


def test_a_server_on_another_machine_is_dead_when_its_heart_stands_still(
    idle: Kernel, url: str | None, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "DEAD_SECONDS", 0.5)
    monkeypatch.setattr(runner, "SEARCH_SECONDS", 0.2)
    far = store.Worker(id="wrk_far", machine="elsewhere", pid=1, stamp="x", beat=3)
    job = submit(idle, "test.steps", count=1, path=str(path))
    with idle.db.begin() as conn:
        store.register(conn, far, utc_now())
        assert [c.id for c in store.claim(conn, ["test.steps"], far.id, 1, utc_now())] == [job.id]
    begun = time.monotonic()
    idle.get(JobQueue).start(idle)
    assert ended(idle, job.id).state == "succeeded"
    if url is not None:  # SQLite is on one machine, so there nothing is waited for
        assert time.monotonic() - begun > 0.5


def test_a_process_that_lost_its_job_leaves_it_at_the_next_step(kernel: Kernel, path: Path) -> None:
    """As after a laptop's sleep, when another server has taken over meanwhile."""
    gate = path.with_name("gate")
    job = submit(kernel, "test.steps", count=3, path=str(path), gate=str(gate))
    until(lambda: "begin 0" in read(path))
    with kernel.db.begin() as conn:
        conn.execute(store.jobs.update().where(store.jobs.c.id == job.id).values(executor="wrk_other"))
    gate.touch()
    until(lambda: job.id not in kernel.get(JobQueue)._runner.active)
    assert read(path) == ["begin 0", "end 0"]
    assert get(kernel, job.id).state == "running"  # the other's


def test_a_job_that_always_takes_the_server_down_is_given_up(idle: Kernel, path: Path) -> None:
    job = submit(idle, "test.steps", count=1, path=str(path))
    with idle.db.begin() as conn:
        conn.execute(store.jobs.update().values(starts=runner.START_LIMIT))
    idle.get(JobQueue).start(idle)
    job = ended(idle, job.id)
    assert job.error is not None
    assert job.error.code == "job_keeps_crashing"
    assert read(path) == []


def test_a_waiting_job_is_not_blamed_for_restarts(idle: Kernel, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of days sees many upgrades, and a server that ends with each command."""
    monkeypatch.setattr(runner, "START_LIMIT", 2)
    job = submit(idle, "test.parent", path=str(path), child="test.heavy", **{"with": {}})
    for _ in range(5):
        idle.get(JobQueue).start(idle)
        until(lambda: get(idle, job.id).waiting_for == "line")
        idle.get(JobQueue).stop()
    note(str(path), "go")
    idle.get(JobQueue).start(idle)
    assert ended(idle, job.id).state == "succeeded"


def test_a_waiting_job_is_not_blamed_for_crashes_while_it_waited_calmly(
    kernel: Kernel, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "CALM_SECONDS", 0.1)
    monkeypatch.setattr(context, "JOB_POLL_SECONDS", 0.2)
    job = submit(kernel, "test.parent", path=str(path), child="test.wait", **{"with": {"timeout": None}})
    until(lambda: get(kernel, job.id).waiting_for is not None)
    running = kernel.get(JobQueue)._runner.active[job.id]
    running.claim = running.claim.model_copy(update={"starts": 20})
    until(lambda: running.claim.starts == 1)
    with kernel.db.read() as conn:
        assert conn.scalar(sa.select(store.jobs.c.starts).where(store.jobs.c.id == job.id)) == 1


def test_a_long_step_does_not_keep_the_process_from_ending(home: Path, path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.jobs.kinds import *\n"
        "kernel = open_kernel(Path(sys.argv[1]), None); kernel.get(JobQueue).start(kernel)\n"
        "submit(kernel, 'test.steps', count=2, path=sys.argv[2], pause=600)\n"
        "until(lambda: read(Path(sys.argv[2])))\n"
        "print(kernel.get(JobQueue).stop(grace=0.2), flush=True)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(home), str(path)], cwd=ROOT, timeout=120, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "False\n", "")

    kernel = open_kernel(home, None)  # the job is taken up again, from the step that was interrupted
    kernel.get(JobQueue).start(kernel)
    until(lambda: read(path) == ["begin 0", "begin 0"])
    assert not kernel.get(JobQueue).stop(grace=0.2)
    kernel.close()


def test_running_jobs_opens_no_connection_and_prints_nothing(home: Path, path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "outward = ('socket.connect', 'socket.getaddrinfo')\n"
        "sys.addaudithook(lambda event, args: event in outward and print(event, args))\n"
        "from tests.jobs.kinds import *\n"
        "kernel = open_kernel(Path(sys.argv[1]), None); kernel.get(JobQueue).start(kernel)\n"
        "ended(kernel, submit(kernel, 'test.steps', count=2, path=sys.argv[2]).id)\n"
        "kernel.get(JobQueue).stop(); kernel.close()"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(home), str(path)], cwd=ROOT, timeout=120, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_step_log_is_plain_json_in_wal_mode(kernel: Kernel, home: Path, url: str | None, path: Path) -> None:
    job = submit(kernel, "test.steps", count=1, path=str(path))
    ended(kernel, job.id)
    if url is not None:
        with kernel.db.read() as conn:
            rows = conn.execute(sa.text("SELECT output FROM tidemill_jobs.operation_outputs")).scalars().all()
    else:
        engine = sa.create_engine(f"sqlite:///{home / 'jobs.db'}")
        with engine.connect() as conn:
            assert conn.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
            rows = conn.execute(sa.text("SELECT output FROM operation_outputs")).scalars().all()
        engine.dispose()
    assert [json.loads(row) for row in rows] == [{"value": 0}]
