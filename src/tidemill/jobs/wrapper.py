"""The small parent of a computing process: it starts one command, waits, and writes down how it ended.

It runs as a script of its own (`python -I -S wrapper.py <folder>`), so it imports only the standard library. It
leads a new session, so that a signal to its group reaches the command and everything the command started. It
ignores SIGTERM: the command may end in its own time while the wrapper stays to record the exit code.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SPEC, PROCESS, EXIT, CANCEL, LOG = "spec.json", "process.json", "exit.json", "cancel.json", "output.log"


def process_stamp(pid: int) -> str | None:
    """Return what tells this process from a later one with the same number; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _stamp_from_ps(pid)
    except ProcessLookupError:
        return None
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _stamp_from_ps(pid: int) -> str | None:
    run = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = run.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def write_once(path: Path, content: dict[str, Any]) -> bool:
    """Write a JSON file whole and durably; False, changing nothing, when it exists."""
    temp = path.with_name(f"{path.name}.{os.urandom(4).hex()}")  # two threads may write at the same time
    with temp.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temp, path)
    except FileExistsError:
        return False
    finally:
        temp.unlink()
    return True


def _limit_memory(limit: int | None) -> None:
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _launch(spec: dict[str, Any], cancelled: Path) -> int:
    """Run the command; returns its exit code, negative for a signal, 127 or 126 if it could not be started."""

    def prepare() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _limit_memory(spec["memory_bytes"])

    for name, value in spec["env"].items():
        os.putenv(name, value)  # added to what the command inherits anyway
    try:
        command = subprocess.Popen(spec["argv"], cwd=spec["workdir"], stdin=subprocess.DEVNULL, preexec_fn=prepare)
    except OSError as error:
        sys.stderr.write(f"Cannot start {spec['argv'][0]!r} in {spec['workdir']}: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126
    # Whoever cancelled while the command was being started has sent SIGTERM to a process that still ignored it.
    if cancelled.exists():
        command.terminate()
    return command.wait()


def main(folder: Path) -> int:
    """Claim the job in `folder`, run it, record its end. A second wrapper of one job does nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spec = json.loads((folder / SPEC).read_text())
    me = {"pid": os.getpid(), "stamp": process_stamp(os.getpid()), "at": time.time()}
    if not write_once(folder / PROCESS, me):
        return 0
    code = 143 if (folder / CANCEL).exists() else _launch(spec, folder / CANCEL)
    write_once(folder / EXIT, {"code": code, "at": time.time()})
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
