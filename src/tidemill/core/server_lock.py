"""Which server, if any, lives in a home folder: a lock that dies with its holder, and a note of where it listens."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from tidemill.core.errors import Conflict
from tidemill.core.wire import Value


class HomeInUse(Conflict):
    """Another server already works in this home folder."""

    code = "home_in_use"


class ServerAddress(Value):
    """Where the live server of a home listens. Only who can read the home folder can read the token."""

    url: str
    pid: int
    token: str
    machine: str = ""
    """Where the process runs; empty when a server of 0.1.0 wrote this."""


def _lock_path(home: Path) -> Path:
    return home / "run" / "server.lock"


def _address_path(home: Path) -> Path:
    return home / "run" / "server.json"


@contextmanager
def acquire(home: Path) -> Iterator[None]:
    """Lock the home folder for this process. Raises HomeInUse while another process has it.

    The lock is the operating system's: it ends with the process, however that ends.
    """
    path = _lock_path(home)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.mkdir(exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _try_lock(handle):
            live = _read(home)
            where = f" (process {live.pid}, {live.url})" if live else ""
            raise HomeInUse(
                f"Another server already works in {home}{where}.",
                hint="Use that one, stop it, or set TIDEMILL_HOME to another folder.",
            )
        _address_path(home).unlink(missing_ok=True)  # a killed server could not take its note away
        try:
            yield
        finally:
            _address_path(home).unlink(missing_ok=True)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Take the lock; retry briefly, because `find` holds it for a moment too."""
    for _ in range(50):
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.01)
    return False


def publish(home: Path, address: ServerAddress) -> None:
    """Write where this process listens; the file is readable by its owner only."""
    path = _address_path(home)
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(address.model_dump(), file)
    fresh.replace(path)


def is_held(home: Path) -> bool:
    """Return whether a server has locked `home`, also one that does not listen yet."""
    try:
        handle = os.open(_lock_path(home), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def find(home: Path) -> ServerAddress | None:
    """Return the address of the live server of `home`, or None. A file left by a killed server does not count."""
    return _read(home) if is_held(home) else None


def _read(home: Path) -> ServerAddress | None:
    try:
        return ServerAddress.model_validate_json(_address_path(home).read_bytes())
    except (OSError, ValidationError):
        return None
