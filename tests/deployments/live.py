"""A real server process on a home of its own, with a release of the packaged model."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tidemill.client import Client
from tidemill.core import server_lock

UP = [sys.executable, "-m", "tidemill", "up", "--port", "0"]

ENDLESS = {"0": -100, "2": -100}
"""A `logit_bias` for the packaged model, whose answers end with one of these tokens."""

PATIENCE_S = 120
"""How long anything is waited for: what hangs is found, and a loaded machine is not taken for it."""


class LiveServer:
    """`tidemill up` as a child process, which can be killed and started again on the same home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = ""
        self.token = ""
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_") or k == "TIDEMILL_THREADS"}
        env = kept | {"TIDEMILL_HOME": str(self.home), "TIDEMILL_GATEWAY_PATIENCE_SECONDS": str(PATIENCE_S)}
        self._child = subprocess.Popen(UP, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(lambda: server_lock.find(self.home) is not None or self._child.poll() is not None)
        live = server_lock.find(self.home)
        assert live is not None, self._child.stdout.read().decode()
        self.url, self.token = live.url, live.token

    @property
    def pid(self) -> int:
        """The process of the server."""
        assert self._child is not None
        return self._child.pid

    def kill(self) -> None:
        """kill -9."""
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()

    def stop(self) -> None:
        """SIGTERM, as `Ctrl-C` would."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                raise
        if self._child is not None and not self._child.stdout.closed:
            self._child.stdout.close()

    def client(self, api_key: str | None = None) -> Client:
        """The SDK over the network."""
        return Client(self.url, api_key=api_key or self.token)

    @property
    def log(self) -> str:
        """What the server has logged."""
        return (self.home / "logs" / "server.log").read_text()


def wait_for(condition: Callable[[], object]) -> None:
    """Return when `condition` holds; fail when it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def fill(home: Path) -> None:
    """Put the releases hello@1 (greedy) and hello@2 of the packaged model into a home."""
    with Client(home=home) as client:
        client.models.add_packaged("smollm2")
        client.prompts.create("terse", messages=[{"role": "system", "content": "Answer {{style}}."}])
        client.releases.create("hello", model="smollm2", sampling={"temperature": 0.0, "max_tokens": 24})
        client.releases.create("hello", model="smollm2", sampling={"temperature": 0.0, "max_tokens": 12})


@contextlib.contextmanager
def served(home: Path, filled: Path) -> Iterator[LiveServer]:
    """A server on a copy of the filled home, with hello@1 live in dev."""
    shutil.copytree(filled, home)
    server = LiveServer(home)
    server.start()
    try:
        with server.client() as client:
            ordered = client.deployments.deploy("hello@1", "dev")
            assert client.deployments.wait(ordered.id, timeout=PATIENCE_S).state == "live"
        yield server
    finally:
        server.stop()
