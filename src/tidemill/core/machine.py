"""Which machine this is, and whether a process runs on it."""

import os
import socket
from contextlib import suppress
from pathlib import Path


def this_machine() -> str:
    """Return where a process number means something: host name, boot and, on Linux, the space of process numbers."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return ":".join(parts)


def is_running(pid: int) -> bool:
    """Return whether a process of this machine lives. One that was killed and is not gone yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    with suppress(OSError):
        # After the name, which may hold anything: Z is a process that ended, also while a thread of it still writes.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return True
