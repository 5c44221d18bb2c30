"""A home with a bit of everything, a job for the tests, and a process that cleans and can be killed."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.jobs.context import JobContext
from tidemill.server import app
from tidemill.storage import service

DAY_S = 86400.0


def put_and_wait(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Put a blob, say which, and refer to it only when the file `gate` is there."""
    digest = job.step("put", lambda: job.kernel.blobs.put_bytes(args["content"].encode()).hash)
    Path(args["put"]).write_text(digest)
    while not Path(args["gate"]).exists():
        job.sleep(0.05)
    job.step("use", lambda: job.kernel.blobs.path(digest).read_text())
    return {"hash": digest}


def build(home: Path, url: str | None) -> Kernel:
    """The kernel of a server, which also knows the job above."""
    app.JOBS["test.put"] = put_and_wait
    return app.build_kernel(Settings(home=home, database_url=url))


def age(path: Path, days: float) -> None:
    """Let a file, or a folder with all in it, be last written so many days ago."""
    moment = time.time() - days * DAY_S
    for inner in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(inner, (moment, moment))


def old_blob(kernel: Kernel, content: bytes, days: float = 60.0) -> str:
    """Put a blob that nothing refers to, so many days ago."""
    digest = kernel.blobs.put_bytes(content).hash
    age(kernel.blobs.path(digest), days)
    return digest


def blob_files(home: Path) -> Iterator[Path]:
    return (path for path in (home / "blobs").glob("??/*") if path.is_file())


if __name__ == "__main__":  # cleans, and stops for good right after the record of the third removal
    home_path, url_text = Path(sys.argv[1]), sys.argv[2] or None
    finish = service.finish

    def finish_or_die(kernel: Kernel, removal: service.Removal) -> bool:
        finish_or_die.count += 1  # type: ignore[attr-defined]
        if finish_or_die.count == 3:  # type: ignore[attr-defined]
            os.kill(os.getpid(), 9)
        return finish(kernel, removal)

    finish_or_die.count = 0  # type: ignore[attr-defined]
    service.finish = finish_or_die
    service.clean(build(home_path, url_text), OWNER, 30, lambda done, total: None)
