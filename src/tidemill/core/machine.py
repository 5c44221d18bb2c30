"""Which machine this is."""

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
