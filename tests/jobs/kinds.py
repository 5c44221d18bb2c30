"""Jobs for the tests, and a process that runs them and can be killed."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tidemill.core.actors import OWNER
from tidemill.core.blobs import open_blobs
from tidemill.core.db import Database
from tidemill.core.errors import Conflict
from tidemill.core.kernel import Context, Kernel
from tidemill.core.settings import Settings
from tidemill.jobs.compute import LocalCompute
from tidemill.jobs.context import JobContext
from tidemill.jobs.kinds import JobKind
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import Job


class Rotten(Conflict):
    """An error of a feature."""

    code = "rotten"


def note(path: str, text: str) -> str:
    with open(path, "a") as file:
        file.write(text + "\n")
    return text


def read(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def steps(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """`count` steps, each two lines in `path`; none ends before the file `gate` is there, when one is named."""
    done = []
    for number in range(args["count"]):

        def work(number: int = number) -> int:
            note(args["path"], f"begin {number}")
            time.sleep(args.get("pause", 0.0))
            while "gate" in args and not Path(args["gate"]).exists():
                time.sleep(0.01)
            note(args["path"], f"end {number}")
            return number

        done.append(job.step(f"step {number}", work))
        job.progress(number + 1, args["count"], "stepping", loss=float("nan"), speed=2.5)
    job.log("all steps done", count=len(done))
    return {"done": done}


def watched(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Goes one step further each time somebody has written down the last one."""
    for number in range(1, args["count"] + 1):
        job.progress(number, args["count"], "stepping")
        while str(number) not in read(Path(args["path"])):
            job.sleep(0.02)
    job.log("all steps done", count=args["count"])
    return {"done": args["count"]}


def fail(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Fails in its second step until the file `mended` exists."""
    path = Path(args["path"])
    job.step("first", note, str(path), "first")

    def second() -> str:
        note(str(path), "second")
        if not Path(args["mended"]).exists():
            raise (
                Rotten("The second step is rotten.", hint="Mend it.") if args["known"] else ZeroDivisionError("nought")
            )
        return "fine"

    return {"second": job.step("second", second)}


def odd(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Say what no database takes, wherever a job can say something; then fail with it when asked to."""
    odd_text = "a\x00b\ud800c"
    job.log(odd_text, seen=odd_text)
    job.progress(1, 2, odd_text, note=odd_text)
    text = job.step("odd", lambda: odd_text)
    if args["fail"]:
        raise ValueError(odd_text)
    return {"text": text}


def loop(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Goes on until it is cancelled."""
    note(args["path"], "begin")
    try:
        while True:
            job.sleep(60)
    finally:
        note(args["path"], "clean")


def heavy(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    def work() -> None:
        note(args["path"], "begin")
        time.sleep(0.2)
        note(args["path"], "end")

    job.step("work", work)
    return {}


def hold(job: JobContext, args: dict[str, Any]) -> None:
    """Works, and does not give its slot to others, until the file is there."""

    def work() -> None:
        while not Path(args["path"]).exists():
            time.sleep(0.02)

    job.step("work", work)


def wait(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Waits for two signals."""
    first = job.wait_for("approval", args.get("timeout"))
    job.step("between", note, args["path"], f"got {first}")
    return {"first": first, "second": job.wait_for("approval", args.get("timeout"))}


def parent(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Submits a heavy job once and waits for it, then for a line in the file."""
    path = Path(args["path"])

    def submit_child() -> str:
        with job.write() as ctx:
            return (
                job.kernel.get(JobQueue)
                .submit(ctx, args["child"], {"path": str(path), "mended": "/nowhere"} | args["with"])
                .id
            )

    child = job.wait_job(job.step("submit", submit_child))
    line = job.wait_until("line", lambda: next((x for x in read(path) if x.startswith("go")), None), poll=3600.0)
    return {"child": child.state, "line": line}


def process(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Runs a command as a process of its own."""
    lines: list[str] = []
    status = job.run_process("child", args["argv"], Path(args["workdir"]), watch=lines.append, poll=0.05)
    return {"status": status, "output": "".join(lines)}


def large(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    return {"text": job.step("large", lambda: "x" * (2**20 + 1))}


def _ended(ctx: Context, job: Job) -> None:
    if "ended" in job.args:
        note(job.args["ended"], f"{job.id} {job.state}")
    if job.args.get("hook_fails"):
        raise RuntimeError("the hook fails")


KINDS: dict[str, Any] = {
    "test.steps": JobKind(run=steps, ended=_ended),
    "test.odd": odd,
    "test.watched": watched,
    "test.fail": fail,
    "test.loop": JobKind(run=loop, ended=_ended),
    "test.heavy": JobKind(run=heavy, heavy=True),
    "test.hold": JobKind(run=hold, heavy=True),
    "test.wait": wait,
    "test.heavy_wait": JobKind(run=wait, heavy=True),
    "test.parent": JobKind(run=parent, heavy=True),
    "test.process": JobKind(run=process, ended=_ended),
    "test.large": large,
}


ROOT = Path(__file__).parents[2]


def open_kernel(home: Path, database_url: str | None) -> Kernel:
    """A kernel with the jobs of the tests."""
    settings = Settings(home=home, database_url=database_url)
    db = Database(settings.sql_url)
    db.migrate()
    kernel = Kernel(settings=settings, db=db, blobs=open_blobs(settings))
    kernel.register(JobQueue(db, LocalCompute(home / "work"), KINDS))
    return kernel


def start_server(home: Path, database_url: str | None) -> "subprocess.Popen[bytes]":
    """A process that runs jobs, ready when this returns."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.jobs.kinds", str(home), database_url or ""],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return server


def kill(server: "subprocess.Popen[bytes]") -> None:
    """kill -9."""
    server.kill()
    server.wait()
    assert server.stdout is not None
    server.stdout.close()


def submit(kernel: Kernel, kind: str, key: str | None = None, **args: Any) -> Job:
    with kernel.write(OWNER) as ctx:
        return kernel.get(JobQueue).submit(ctx, kind, args, key=key)


def get(kernel: Kernel, job_id: str) -> Job:
    with kernel.read(OWNER) as ctx:
        return kernel.get(JobQueue).get(ctx, job_id)


def ended(kernel: Kernel, job_id: str, timeout: float = 120.0) -> Job:
    """The job once it has ended."""
    until = time.monotonic() + timeout
    while not (job := get(kernel, job_id)).ended:
        assert time.monotonic() < until, f"still {job}"
        time.sleep(0.01)
    return job


def until(condition: Any, timeout: float = 120.0) -> None:
    """Return when the condition holds."""
    limit = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < limit, "the condition never came true"
        time.sleep(0.01)


if __name__ == "__main__":
    kernel = open_kernel(Path(sys.argv[1]), sys.argv[2] or None)
    kernel.get(JobQueue).start(kernel)
    print("ready", flush=True)
    time.sleep(600)
