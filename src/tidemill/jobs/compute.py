"""Heavy work as a process: submitted under an id, looked at, read and cancelled from whichever process lives.

`LocalCompute` keeps `<root>/<job id>/` for each: `spec.json` (what to run), `process.json` (pid and start stamp,
written by the wrapper, and only by the first one), `output.log`, `cancel.json` (somebody asked for the end) and
`exit.json` (how it ended).
"""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from tidemill.core.errors import Invalid, NotFound, StorageFull, Unavailable
from tidemill.core.wire import Instant, Value
from tidemill.jobs import wrapper

ComputeState = Literal["queued", "running", "succeeded", "failed", "cancelled", "lost"]

START_SECONDS = 20.0
"""How long a wrapper may take to report that it runs; on an idle machine it takes 0.03 s."""

POLL_SECONDS = 0.02

ENDED: frozenset[ComputeState] = frozenset({"succeeded", "failed", "cancelled", "lost"})


class ComputeMissing(NotFound):
    """Nothing was submitted under this id."""

    code = "compute_missing"


class ComputeInvalid(Invalid):
    """The submission cannot be run as it is."""

    code = "compute_invalid"


class Resources(Value):
    """What a process may use. None means no limit."""

    memory_bytes: int | None = Field(default=None, ge=2**20, description="Private memory in bytes.")
    threads: int | None = Field(
        default=None, ge=1, description="Threads of numeric libraries, given as OMP_NUM_THREADS."
    )


class ComputeStatus(Value):
    """How a process stands."""

    job_id: str
    state: ComputeState = Field(
        description="`lost`: it ended without leaving an exit code, as when the machine was restarted."
    )
    exit_code: int | None = Field(default=None, description="Negative: the number of the signal that ended it.")
    pid: int | None = Field(default=None, description="Process id of the group's leader.")
    started_at: Instant | None = None
    ended_at: Instant | None = None

    @property
    def ended(self) -> bool:
        """Whether it will not change any more (a `lost` one may be submitted anew)."""
        return self.state in ENDED


class LogChunk(Value):
    """A piece of a log."""

    text: str
    next_offset: int = Field(description="Byte offset at which the next piece begins.")


class Compute(Protocol):
    """Runs commands. Everything is keyed by `job_id`, so that a new process finds what an old one started."""

    def submit(
        self,
        job_id: str,
        argv: Sequence[str],
        workdir: Path,
        env: Mapping[str, str] | None = None,
        resources: Resources | None = None,
    ) -> ComputeStatus:
        """Start `argv` in `workdir`; if `job_id` runs or has ended, only return its status.

        `env` is added to the environment of the caller. A lost one is started again, its log continued.
        Raises ComputeInvalid for an unusable id, an empty command or a missing `workdir`.
        """
        ...

    def status(self, job_id: str) -> ComputeStatus:
        """Return the state of the process. Raises ComputeMissing."""
        ...

    def logs(self, job_id: str, offset: int = 0, limit: int = 2**20) -> LogChunk:
        """Return its stdout and stderr: at most `limit` bytes from byte `offset` on. Raises ComputeMissing."""
        ...

    def cancel(self, job_id: str, grace: float = 10.0) -> ComputeStatus:
        """End the process and its children: ask, wait up to `grace` seconds, kill.

        One that has ended stays as it is.
        """
        ...

    def pause(self, job_id: str) -> None:
        """Kill the process without marking it cancelled, so that the next `submit` starts it again."""
        ...


class LocalCompute:
    """Runs commands as child processes of this machine. Any number of instances may share a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def submit(
        self,
        job_id: str,
        argv: Sequence[str],
        workdir: Path,
        env: Mapping[str, str] | None = None,
        resources: Resources | None = None,
    ) -> ComputeStatus:
        """Start `argv` in `workdir`; if `job_id` runs or has ended, only return its status."""
        folder = self._folder(job_id)
        spec = _spec(argv, workdir, env or {}, resources or Resources())
        with _disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _lock(folder / "lock"):
                if (folder / wrapper.SPEC).exists():
                    status = self.status(job_id)
                    if status.state not in ("queued", "lost"):
                        return status
                    for name in (wrapper.PROCESS, wrapper.SPEC, wrapper.CANCEL):
                        (folder / name).unlink(missing_ok=True)
                wrapper.write_once(folder / wrapper.SPEC, spec)
                _spawn(folder)
        return self.status(job_id)

    def status(self, job_id: str) -> ComputeStatus:
        """Return the state of the process. Raises ComputeMissing."""
        folder = self._existing_folder(job_id)
        process = _read(folder / wrapper.PROCESS)
        if process is None:
            return ComputeStatus(job_id=job_id, state="queued")
        alive = wrapper.process_stamp(process["pid"]) == process["stamp"]
        ended = _read(folder / wrapper.EXIT)
        cancellation = _read(folder / wrapper.CANCEL)
        state: ComputeState = "running"
        if ended is not None:
            stopped = cancellation is not None and cancellation["at"] <= ended["at"]
            state = "cancelled" if stopped else "succeeded" if ended["code"] == 0 else "failed"
        elif not alive:
            _kill_leaderless(process["pid"])
            state = "cancelled" if cancellation else "lost"
        return ComputeStatus(
            job_id=job_id,
            state=state,
            exit_code=ended["code"] if ended else None,
            pid=process["pid"],
            started_at=_instant(process["at"]),
            ended_at=_instant(ended["at"]) if ended else None,
        )

    def logs(self, job_id: str, offset: int = 0, limit: int = 2**20) -> LogChunk:
        """Return at most `limit` bytes of its output from byte `offset` on; never half a UTF-8 character."""
        log = self._existing_folder(job_id) / wrapper.LOG
        try:
            with log.open("rb") as file:
                file.seek(max(offset, 0))
                raw = file.read(max(limit, 4))
        except FileNotFoundError:
            return LogChunk(text="", next_offset=offset)
        complete = _whole_characters(raw)
        return LogChunk(text=complete.decode("utf-8", "replace"), next_offset=max(offset, 0) + len(complete))

    def cancel(self, job_id: str, grace: float = 10.0) -> ComputeStatus:
        """End the process and its children: SIGTERM, `grace` seconds, SIGKILL. One that has ended stays as it is."""
        folder = self._existing_folder(job_id)
        status = self.status(job_id)
        if status.ended:
            return status
        with _disk_errors(folder):
            wrapper.write_once(folder / wrapper.CANCEL, {"at": time.time()})
        if status.pid is None:  # its wrapper will find the mark and not start the command
            return self.status(job_id)
        _signal_group(status.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and not self.status(job_id).ended:
            time.sleep(POLL_SECONDS)
        # Even after an orderly end: what the command left running in its group must not stay.
        _signal_group(status.pid, signal.SIGKILL)
        while not (status := self.status(job_id)).ended and time.monotonic() < deadline + START_SECONDS:
            time.sleep(POLL_SECONDS)
        return status

    def pause(self, job_id: str) -> None:
        """Kill the process without marking it cancelled, so that the next `submit` starts it again."""
        status = self.status(job_id)
        if status.ended or status.pid is None:
            return
        _signal_group(status.pid, signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while not self.status(job_id).ended and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _folder(self, job_id: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}", job_id):
            raise ComputeInvalid(
                f"{job_id[:120]!r} cannot name a process.",
                hint="Use letters, digits, dot, underscore and hyphen; at most 120 characters.",
            )
        return self.root / job_id

    def _existing_folder(self, job_id: str) -> Path:
        folder = self._folder(job_id)
        if not (folder / wrapper.SPEC).exists():
            raise ComputeMissing(f"Nothing was submitted as {job_id!r}.", hint="Submit it first.")
        return folder


def _spec(argv: Sequence[str], workdir: Path, env: Mapping[str, str], resources: Resources) -> dict[str, Any]:
    if not argv:
        raise ComputeInvalid("The command is empty.", hint="Give the program and its arguments.")
    if not workdir.is_dir():
        raise ComputeInvalid(f"{str(workdir)!r} is not a folder.", hint="Make the working folder first.")
    threads = {} if resources.threads is None else {"OMP_NUM_THREADS": str(resources.threads)}
    return {
        "argv": list(argv),
        "workdir": str(workdir.resolve()),
        "env": threads | dict(env),
        "memory_bytes": resources.memory_bytes,
    }


def _spawn(folder: Path) -> None:
    with (folder / wrapper.LOG).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", wrapper.__file__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # A child that nobody waits for becomes a zombie when it ends. Daemon: waiting must not keep this process.
    threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while not (folder / wrapper.PROCESS).exists():
        if child.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(
                f"The process for {folder.name} did not start (code {child.poll()}).",
                hint=f"Look into {folder / wrapper.LOG}, then try again.",
            )
        time.sleep(0.002)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def _kill_leaderless(leader: int) -> None:
    """End what a killed wrapper left running: nobody would record its end, and it must not run twice.

    A number stays reserved while its group exists; if a process has it, it was given out anew: not ours.
    """
    if wrapper.process_stamp(leader) is None:
        _signal_group(leader, signal.SIGKILL)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _whole_characters(raw: bytes) -> bytes:
    for back in range(1, min(4, len(raw)) + 1):
        lead = raw[-back]
        if lead < 0x80 or lead >= 0xC0:
            length = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return raw if back >= length else raw[:-back]
    return raw


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"No room to write below {folder}: {error.strerror}.",
                hint="Free some disk space and try again.",
            ) from error
        raise Unavailable(
            f"Cannot start or stop the process of {folder.name}: {error.strerror or error}.",
            hint="Check the folder's permissions and the machine's process limits.",
        ) from error
