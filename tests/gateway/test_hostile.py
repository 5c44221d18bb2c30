"""Hostile requests on `/v1`: none is answered by 5xx, none hangs, and the server and its engine go on."""

import contextlib
import http.client
import io
import json
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests import quick
from tests.deployments.live import PATIENCE_S, LiveServer, wait_for
from tests.gateway import hostile
from tests.gateway.hostile import CHAT, HI, Hostile
from tests.shared import make_once
from tests.tiny import make_tiny
from tidemill.client import Client

pytestmark = [pytest.mark.engine, pytest.mark.slow]

CALLERS = 6
"""Requests at once."""
BARE = (400, 414, 431)
"""What the HTTP server answers by itself, without a body, to what is no HTTP."""


@pytest.fixture(scope="module")
@quick.needs("engine")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with a tiny model, whose chat template takes tools, live in dev as `tooled`."""
    model = make_once(tmp_path_factory, "tooled", lambda folder: make_tiny(folder, hostile.TOOL_TEMPLATE))
    home = tmp_path_factory.mktemp("hostile") / "home"
    with Client(home=home) as client:
        client.models.add(model / "tiny-q4_1.gguf", name="tooled")
        client.releases.create("tooled", model="tooled", sampling={"temperature": 0.0, "max_tokens": 2})
    live_server = LiveServer(home)
    live_server.start()
    try:
        with live_server.client() as client:
            ordered = client.deployments.deploy("tooled", "dev")
            assert client.deployments.wait(ordered.id, timeout=PATIENCE_S).state == "live"
        yield live_server
    finally:
        live_server.stop()


@pytest.fixture(autouse=True)
def _goes_on(server: LiveServer) -> Iterator[None]:
    """After each test the same engine answers, nothing is left running, and nothing failed inside the server."""
    yield
    reply = exchange(server, Hostile("a good one", hostile.chat_body()))
    assert reply[0] == 200, reply
    with server.client() as client:
        wait_for(lambda: not any(r.in_flight for r in client.deployments.engines().replicas))
        assert [r.restarts for r in client.deployments.engines().replicas] == [0]
    assert "Traceback" not in server.log


def connect(server: LiveServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S)


def authorization(server: LiveServer) -> str:
    return f"Bearer {server.token}"


def exchange(server: LiveServer, request: Hostile) -> tuple[int, bytes]:
    """Send a request as it is, right or wrong; return status and body. Raises TimeoutError when no answer comes."""
    sent = {"host": "x", "authorization": authorization(server), "connection": "close"} | request.headers
    if request.content or request.method == "POST":
        sent = {"content-length": str(len(request.content))} | sent
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    with connect(server) as line:
        # It may be refused before it is complete: the answer is there all the same.
        with contextlib.suppress(ConnectionError):
            line.sendall("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + request.content)
        reply = http.client.HTTPResponse(line, method=request.method)
        reply.begin()
        return reply.status, reply.read()


def fault(request: Hostile, status: int, body: bytes) -> str | None:
    """Return what is wrong with an answer; None when it is a success or an error in OpenAI's shape."""
    if status >= 500:
        return f"{request.name}: {status} {body[:300]!r}"
    if status < 400:
        return f"{request.name}: {body[-300:]!r}" if b'"server_error"' in body else None
    if request.path == "/v1/traces":
        return None  # OTLP has a shape of its own, in the content type of the request
    if request.method == "HEAD" or (status in BARE and not body):
        return None
    try:
        error = json.loads(body)["error"]
        right = (
            isinstance(error["message"], str) and error["type"] != "server_error" and {"param", "code"} <= set(error)
        )
    except (ValueError, KeyError, TypeError):
        right = False
    return None if right else f"{request.name}: {status} {body[:300]!r}"


def check(server: LiveServer, requests: Iterable[Hostile]) -> list[int]:
    """Send all and return their statuses; fail with every answer that is wrong."""
    cases = list(requests)
    with ThreadPoolExecutor(CALLERS) as callers:
        replies = list(callers.map(lambda case: exchange(server, case), cases))
    faults = [fault(case, *reply) for case, reply in zip(cases, replies, strict=True)]
    assert [one for one in faults if one is not None] == []
    return [status for status, _ in replies]


@pytest.mark.parametrize(
    ("cases", "least"),
    [
        (hostile.field_values, 1500),
        (hostile.messages, 500),
        (hostile.schemas, 150),
        (hostile.raw_bodies, 100),
        (hostile.endpoints, 200),
        (hostile.headers, 40),
        (hostile.spans, 300),
    ],
)
def test_no_request_is_answered_by_a_fault_of_the_server(
    server: LiveServer, cases: Callable[[], Iterator[Hostile]], least: int
) -> None:
    statuses = check(server, cases())
    assert len(statuses) >= least
    assert any(400 <= status < 500 for status in statuses)


def _last_words(line: socket.socket) -> bytes:
    received = io.BytesIO()
    while True:
        try:
            piece = line.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        received.write(piece)
    return received.getvalue()


def test_what_is_no_http_is_refused_or_cut_off(server: LiveServer) -> None:
    def break_off(content: bytes) -> bytes:
        with connect(server) as line:
            # The server may have closed already.
            with contextlib.suppress(OSError):
                line.sendall(content)
                line.shutdown(socket.SHUT_WR)
            return _last_words(line)

    requests = hostile.broken_requests(authorization(server))
    with ThreadPoolExecutor(CALLERS) as callers:
        replies = dict(zip(requests, callers.map(break_off, requests.values()), strict=True))
    assert {name: reply for name, reply in replies.items() if reply[:12].startswith(b"HTTP/1.1 5")} == {}
    assert b"body_incomplete" in replies["a body that is shorter"]


def test_connections_that_are_reset_leave_nothing_behind(server: LiveServer) -> None:
    streamed = hostile.chat_body(stream=True, max_tokens=300, logit_bias={"2": -100})
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization(server)}\r\n"
    whole = f"{head}content-length: {len(streamed)}\r\n\r\n".encode() + streamed

    def reset(bytes_sent: int, bytes_read: int) -> None:
        line = connect(server)
        # Close by RST, as a process that dies does.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.sendall(whole[:bytes_sent])
        if bytes_read:
            line.recv(bytes_read)
        line.close()

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(reset, range(1, len(whole), 11), [0] * len(whole)))
        list(callers.map(reset, [len(whole)] * 20, [0, 1] * 10))
    with server.client() as client:
        wait_for(lambda: len(client.gateway.calls(status="aborted").items) >= 10)
        assert {call.http_status for call in client.gateway.calls(status="aborted").items} == {499}


def test_slow_bodies_hold_up_nobody(server: LiveServer) -> None:
    body = hostile.chat_body()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization(server)}\r\n"
    lines = [connect(server) for _ in range(40)]
    try:
        for line in lines:
            line.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode())
        for position in range(0, len(body) - 1, 40):
            for line in lines:
                line.sendall(body[position : min(position + 40, len(body) - 1)])
            assert exchange(server, Hostile("between", hostile.chat_body()))[0] == 200
            time.sleep(0.01)
        for line in lines:
            line.sendall(body[-1:])
        for line in lines:
            reply = http.client.HTTPResponse(line)
            reply.begin()
            assert reply.status == 200
    finally:
        for line in lines:
            line.close()


def test_one_connection_takes_good_requests_after_bad_ones(server: LiveServer) -> None:
    address = urlsplit(server.url)
    line = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_S)
    known = {"authorization": authorization(server)}
    try:
        for content in (b"{", hostile.deep(100_000), b"\xff", json.dumps({"model": "x", "messages": HI}).encode()):
            for body, statuses in ((content, (400, 404)), (hostile.chat_body(), (200,))):
                line.request("POST", CHAT, body, known)
                reply = line.getresponse()
                assert reply.status in statuses, reply.read()
                reply.read()
    finally:
        line.close()
