"""Real receivers for the notifiers' tests: an HTTP server that can misbehave, and an SMTP server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


class Receiver:
    """An HTTP server on loopback that keeps what it was sent. `behaviour` says how it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.behaviour = "ok"
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                """Be silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/s3cr3t-token?key=also-secret"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer as `behaviour` says: a status, `hang`, or `drip` (one byte of a header now and then)."""
        if self.behaviour == "hang":
            self.released.wait(600)
            return
        if self.behaviour == "drip":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while not self.released.wait(0.1):
                try:
                    handler.wfile.write(b"a")
                except OSError:
                    return
            return
        status = 200 if self.behaviour == "ok" else int(self.behaviour)
        handler.send_response(status)
        handler.send_header("location", "/elsewhere")
        handler.end_headers()


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """A running receiver."""
    receiver = Receiver()
    receiver.thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        receiver.server.shutdown()
        receiver.server.server_close()
        receiver.thread.join()


class Mailbox:
    """An SMTP server's handler that keeps mails; `refuse` is an address or a whole reply that it refuses with."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.refuse: str | None = None
        self.busy = False

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address == self.refuse:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.busy:
            return "451 try again later"
        self.mails.append(message_from_bytes(envelope.content))
        return "250 taken"


@contextmanager
def smtp_server(password: str | None = None, port: int = 0) -> Iterator[tuple[Mailbox, int]]:
    """A running SMTP server on loopback; with `password` it asks for a login."""
    box = Mailbox()

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: LoginPassword) -> AuthResult:
        return AuthResult(success=given.password == (password or "").encode())

    options: dict[str, Any] = {"authenticator": check, "auth_require_tls": False} if password else {}
    controller = Controller(box, hostname="127.0.0.1", port=port or free_port(), ready_timeout=120, **options)
    controller.start()
    try:
        yield box, controller.port
    finally:
        controller.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Any, seconds: float = 120.0) -> bool:
    """Whether `condition()` holds within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False
