"""A client finds the server that answers, and waits for the end of one that is going away."""

import socket
import threading
from pathlib import Path

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
