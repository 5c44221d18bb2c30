"""A client finds the server that answers, and waits for the end of one that is going away."""

import gc
import os
import socket
import threading
import weakref
from pathlib import Path

from tidemill.client import Client
from tidemill.connection import find_answering
from tidemill.core import server_lock


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
    gc.collect()
    assert count() == before
    assert [database() for database in databases] == [None] * 3
