"""The server as a process: first start, a port or a home that is taken, the end by signal and by kill."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tidemill.client import Client
from tidemill.core import server_lock

pytestmark = pytest.mark.slow


class Servers:
    """Starts `tidemill up` and sees to it that none stays."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def up(self, home: Path, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tidemill", "up", *options],
            env={**os.environ, "TIDEMILL_HOME": str(home), "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def live(self, home: Path, process: subprocess.Popen[str]) -> server_lock.ServerAddress:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            found = server_lock.find(home)
            if found is not None and found.pid == process.pid:
                return found
            time.sleep(0.05)
        raise AssertionError(f"the server did not come up: {process.stdout.read() if process.stdout else ''}")

    def output(self, process: subprocess.Popen[str]) -> str:
        out, _ = process.communicate(timeout=120)
        return out


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_first_start_prints_the_admin_key_once_and_it_works(servers: Servers, home: Path) -> None:
    first = servers.up(home, "--port", "0")
    live = servers.live(home, first)
    first.send_signal(signal.SIGTERM)
    text = servers.output(first)
    assert first.returncode == 0
    secret = re.search(r"tm-[\w-]{40,}", text)
    assert secret is not None
    assert live.url in text

    second = servers.up(home, "--port", "0")
    live = servers.live(home, second)
    headers = {"authorization": f"Bearer {secret.group()}"}
    assert httpx.get(f"{live.url}/api/access/me", headers=headers).json()["name"] == "admin"
    assert httpx.get(f"{live.url}/v1/models", headers=headers).json()["object"] == "list"
    second.send_signal(signal.SIGINT)
    assert "tm-" not in servers.output(second)


def test_a_second_server_on_the_home_is_refused_and_names_the_first(servers: Servers, home: Path) -> None:
    live = servers.live(home, servers.up(home, "--port", "0"))
    second = servers.up(home, "--port", "0")
    text = servers.output(second)
    assert second.returncode == 1
    assert "home_in_use" in text
    assert live.url in text
    with Client() as client:
        assert client.http.base_url == live.url


def test_a_port_in_use_is_refused_and_nothing_is_left_behind(servers: Servers, home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = servers.up(home, "--port", str(taken.getsockname()[1]))
        text = servers.output(process)
    assert process.returncode == 1
    assert "port_in_use" in text
    assert server_lock.find(home) is None
    assert not (home / "tidemill.db").exists()


def test_a_killed_server_frees_the_home_and_what_was_answered_is_there(servers: Servers, home: Path) -> None:
    first = servers.up(home, "--port", "0")
    servers.live(home, first)
    with Client() as client:
        client.prompts.create("hello", text="Say hello.")
        first.kill()
    first.wait()
    assert server_lock.find(home) is None
    servers.live(home, servers.up(home, "--port", "0"))
    with Client() as client:
        assert client.prompts.get("hello@1").text == "Say hello."


def test_an_ephemeral_server_ends_with_its_parent(servers: Servers, home: Path) -> None:
    process = servers.up(home, "--ephemeral", "--port", "0")
    servers.live(home, process)
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    assert process.wait(timeout=120) == 0
    assert server_lock.find(home) is None


def exchange(server: server_lock.ServerAddress, path: str, headers: str, body: bytes) -> bytes:
    """The first line of the reply to a request that ends with `body`, after which only the client's side is closed."""
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=60) as connection:
        head = f"Host: x\r\nAuthorization: Bearer {server.token}\r\nContent-Type: application/json\r\n{headers}"
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
        if body:
            connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").readline()


def test_bodies_that_are_too_large_or_cut_short_are_the_callers_fault(home: Path, servers: Servers) -> None:
    server = servers.live(home, servers.up(home, "--port", "0"))
    for path in ("/v1/chat/completions", "/v1/traces", "/api/prompts"):
        reply = exchange(server, path, "Content-Length: 2000000000", b"")
        assert b" 413 " in reply, f"{path} waits for a body that it will refuse: {reply!r}"
    for path in ("/v1/chat/completions", "/v1/traces", "/api/prompts", "/api/blobs"):
        reply = exchange(server, path, "Content-Length: 100", b'{"a":')
        assert not reply or b" 400 " in reply, f"{path}: {reply!r}"
