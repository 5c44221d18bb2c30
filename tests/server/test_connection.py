"""A client finds the server that answers, and waits for the end of one that is going away."""

import gc
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from tidemill.client import Client
from tidemill.connection import ServerUrlInvalid, find_answering, server_url
from tidemill.core import server_lock
from tidemill.core.http import NameUnknown, ServerUnreachable
from tidemill.core.machine import is_running
from tidemill.deployments.retirements.types import RetirementNotFound


def test_a_server_that_dies_is_waited_for_and_none_is_found(home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"  # nobody listens there
    begun, ended = threading.Event(), threading.Event()

    def dying() -> None:
        with server_lock.acquire(home):
            server_lock.publish(home, server_lock.ServerAddress(url=url, pid=1, token="t"))
            begun.set()
            ended.wait(0.3)

    thread = threading.Thread(target=dying)
    thread.start()
    assert begun.wait(10)
    assert find_answering(home) is None
    thread.join()


def test_a_server_that_listens_is_found_at_once(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, server_lock.acquire(home):
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        server_lock.publish(home, server_lock.ServerAddress(url=url, pid=1, token="t"))
        found = find_answering(home)
    assert found is not None
    assert found.url == url


def test_the_server_of_a_process_that_is_gone_is_not_taken_for_one_that_answers(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    with socket.create_server(("127.0.0.1", 0)) as server:  # the system takes connections until all of it is gone
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        begun, ended = threading.Event(), threading.Event()

        def hold() -> None:
            with server_lock.acquire(home):
                server_lock.publish(home, server_lock.ServerAddress(url=url, pid=gone.pid, token="t"))
                begun.set()
                ended.wait(0.3)

        thread = threading.Thread(target=hold)
        thread.start()
        assert begun.wait(10)
        assert find_answering(home) is None
        thread.join()


def test_a_server_that_neither_answers_nor_ends_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.connection.ENDING_S", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with server_lock.acquire(home):
        server_lock.publish(home, server_lock.ServerAddress(url=url, pid=os.getpid(), token="t"))
        with pytest.raises(ServerUnreachable, match=r"takes no connections at .* and has not ended"):
            find_answering(home)


def test_a_killed_process_that_nobody_waited_for_does_not_run() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert not is_running(child.pid)
    child.communicate()
    assert not is_running(child.pid)


def test_a_server_of_another_machine_is_not_waited_for(home: Path) -> None:
    with server_lock.acquire(home):
        address = server_lock.ServerAddress(url="http://127.0.0.1:9", pid=1, token="t", machine="another")
        server_lock.publish(home, address)
        assert find_answering(home) == address


def test_clients_of_one_process_leave_nothing_behind(home: Path) -> None:
    def count() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    databases = []
    for _ in range(3):
        with Client() as client:
            client.access.people()
            transport = client.http.client._transport
            databases.append(weakref.ref(transport.app.__self__.kernel.db))
            del transport
    gc.collect()
    before = count()
    for _ in range(5):
        with Client() as client:
            client.access.people()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # a thread that ends now may take a moment, and holds its database until then
        gc.collect()
        threads, files = count()
        remaining = [database for database in databases if database() is not None]
        if threads <= before[0] and files <= before[1] and not remaining:
            return
        time.sleep(0.1)
    pytest.fail(f"{before} threads and files before, {threads, files} after; {len(remaining)} databases of 3 remain")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://localhost:8484", "http://localhost:8484"),
        ("http://localhost:8484/", "http://localhost:8484"),
        ("http://localhost:8484/v1", "http://localhost:8484"),
        ("localhost:8484/v1/", "http://localhost:8484"),
        (" 127.0.0.1:8484 ", "http://127.0.0.1:8484"),
        ("https://ops.example/tidemill/v1", "https://ops.example/tidemill"),
        ("[::1]:8484", "http://[::1]:8484"),
        ("http://localhost:8484/api", "http://localhost:8484"),
    ],
)
def test_an_address_is_taken_as_people_write_it(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize("text", ["ftp://localhost", "http://", "http://local host:1", "http://localhost:port", "/v1"])
def test_what_is_no_address_is_said(text: str, home: Path) -> None:
    with pytest.raises(ServerUrlInvalid, match="is no address of a server") as caught:
        Client(url=text)
    assert "http://localhost:8484" in caught.value.hint


def test_a_name_with_a_slash_is_said_and_not_the_path_of_the_api(home: Path) -> None:
    with Client(home=home) as client:
        with pytest.raises(NameUnknown, match="'prompts/a/b': a name or an id has no slash in it"):
            client.prompts.get("a/b")
        with pytest.raises(RetirementNotFound, match="'support' is not being retired"):
            client.deployments.keep("support")
        assert client.http.release_names(["rel_none", None]) == {"rel_none": "rel_none"}
