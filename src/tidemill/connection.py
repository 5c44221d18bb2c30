"""How a client reaches Tidemill: a server at a URL, the live server of the home, or the same application in process."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tidemill.core import server_lock
from tidemill.core.errors import Failed, Invalid
from tidemill.core.http import Http, InProcessTransport, ServerUnreachable
from tidemill.core.imports import import_at_once
from tidemill.core.machine import is_running, this_machine
from tidemill.core.settings import Settings

ENDING_S = 60.0
"""How long the end of a server that takes no connections any more is waited for, in seconds.

A killed process keeps its lock until its last write is on the disk, which takes long while a training writes too.
"""


class ServerUrlInvalid(Invalid):
    """The address of the server is none."""

    code = "server_url_invalid"


def find_answering(home: Path) -> server_lock.ServerAddress | None:
    """Return the address of the live server of `home`, or None. Waits for the end of one that is going away.

    A server publishes its address when it listens, so one that refuses connections is stopping or was killed, and its
    lock goes in a moment. Raises ServerUnreachable when it stays.
    """
    deadline = time.monotonic() + ENDING_S
    while (live := server_lock.find(home)) is not None:
        if _answers(live):
            return live
        if time.monotonic() > deadline:
            raise ServerUnreachable(
                f"The server of {home} (process {live.pid}) takes no connections at {live.url}, and has not ended.",
                hint=f"Wait for its end, or end it: kill -9 {live.pid}. Then try again.",
            )
        time.sleep(0.05)
    return None


def _answers(live: server_lock.ServerAddress) -> bool:
    # The process of another machine cannot be looked at, and may not be reachable from here at all.
    if live.machine not in ("", this_machine()):
        return True
    # Until a killed process is gone, the system still takes connections for it.
    return is_running(live.pid) and _accepts(live.url)


def _accepts(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), timeout=1).close()
    except TimeoutError:
        return True  # it is there, and busy
    except OSError:
        return False
    return True


def server_url(text: str) -> str:
    """Return the address of a server as people write it: without the scheme, or with /v1 at its end.

    Raises ServerUrlInvalid.
    """
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        address = urlsplit(url)
        fits = address.scheme in ("http", "https") and bool(address.hostname) and (address.port or 0) >= 0
    except ValueError:
        fits = False
    if not fits or any(char.isspace() for char in url):
        raise ServerUrlInvalid(
            f"{text!r} is no address of a server.", hint="Set TIDEMILL_URL to one such as http://localhost:8484."
        )
    path = address.path.rstrip("/").removesuffix("/v1").removesuffix("/api").rstrip("/")
    return f"{address.scheme}://{address.netloc}{path}"


class Connection:
    """The HTTP connection of a client, and the server that it started, if it did."""

    def __init__(
        self, settings: Settings, *, url: str | None = None, api_key: str | None = None, workers: bool = False
    ) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._close_application: Callable[[], None] | None = None
        key = api_key or (settings.api_key.get_secret_value() if settings.api_key else None)
        self.http = self._connect(settings, url or settings.url, key, workers)

    def _connect(self, settings: Settings, url: str | None, key: str | None, workers: bool) -> Http:
        if url:
            return Http(server_url(url), api_key=key)
        live = find_answering(settings.home)
        if live is None and workers:
            live = self._start(settings)
        if live is not None:
            return Http(live.url, api_key=key or live.token)
        # By name, so that a client of a live server does not load the server's code.
        application = import_at_once("tidemill.server.app").build(settings)
        self._close_application = application.kernel.close
        return Http(
            "http://tidemill.local",
            api_key=key,
            transport=InProcessTransport(application.asgi),
            workers=lambda: find_answering(settings.home) or self._start(settings),
        )

    def _start(self, settings: Settings) -> server_lock.ServerAddress:
        argv = [sys.executable, "-m", "tidemill", "up", "--ephemeral", "--port", "0"]
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=settings.child_environment(),
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            live = server_lock.find(settings.home)
            if live is not None and _answers(live):  # and not the address that a killed one left a moment ago
                return live
            # When two commands start a server at once, one of the two gives up and both use the other.
            if self._child.poll() is not None and not server_lock.is_held(settings.home):
                break
            time.sleep(0.05)
        text = self._child.stdout.read().decode(errors="replace") if self._child.stdout and self._child.poll() else ""
        self._end_child()
        raise Failed(f"The local server did not start. {text.strip()}", hint="See logs/server.log in the home folder.")

    def _end_child(self) -> None:
        if self._child is None:
            return
        if self._child.stdin:
            self._child.stdin.close()
        try:
            self._child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout:
            self._child.stdout.close()
        self._child = None

    def close(self) -> None:
        """Close the connection; ends the server that this one started, if it did."""
        self.http.close()
        if self._close_application is not None:
            self._close_application()
            self._close_application = None
        self._end_child()
