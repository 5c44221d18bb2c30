"""The server process: one home, one port, the job workers and the engines, until a signal stops it."""

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from granian.constants import Interfaces
from granian.server.embed import Server

from tidemill.access.service import ensure_admin
from tidemill.core import server_lock
from tidemill.core.errors import Conflict, Failed
from tidemill.core.imports import restore_imports
from tidemill.core.machine import this_machine
from tidemill.core.settings import Settings
from tidemill.server.app import Application, build

log = logging.getLogger("tidemill.server")


class PortInUse(Conflict):
    """Another process listens on the port."""

    code = "port_in_use"


@dataclass(frozen=True)
class StartedServer:
    """The address of a server that answers, and the first admin's key, if it was just created."""

    url: str
    admin_key: str | None


def run(settings: Settings, *, ephemeral: bool = False, started: Callable[[StartedServer], None]) -> None:
    """Serve until SIGINT or SIGTERM; an ephemeral server also ends when its standard input closes.

    Raises HomeInUse, PortInUse.
    """
    with server_lock.acquire(settings.home):
        port = _free_port(settings.host, settings.port)
        _log_to_file(settings)
        asyncio.run(_serve(settings, port, ephemeral, started))


async def _serve(settings: Settings, port: int, ephemeral: bool, started: Callable[[StartedServer], None]) -> None:
    application = build(settings)
    restore_imports()  # for the processes that it starts
    admin_key = None if ephemeral else ensure_admin(application.kernel)
    # Somebody who stops a command wants the processor back; a server that is upgraded wants its training to go on.
    application.kernel.pause_processes = ephemeral
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{host}:{port}"
    token = "tm-owner-" + secrets.token_urlsafe(32)
    application.kernel.self_url, application.kernel.owner_token = url, token
    stop = _stop_event(ephemeral)
    listener = _Listener(application, settings.host, port, url)
    try:
        await application.start(listener)
        _tune_garbage_collection()
        server_lock.publish(
            settings.home, server_lock.ServerAddress(url=url, pid=os.getpid(), token=token, machine=this_machine())
        )
        started(StartedServer(url=url, admin_key=admin_key))
        ends = [asyncio.create_task(listener.ended()), asyncio.create_task(stop.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await application.stop(listener)
        application.kernel.close()


def _tune_garbage_collection() -> None:
    """Exclude permanent objects from garbage collection, and collect the others less often.

    With Python's defaults it scans the whole application again and again while spans come in, which took a
    tenth of the processor and held up answers for a tenth of a second.
    """
    gc.collect()  # of what the start made: the imports are frozen already
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class _Listener:
    """The HTTP server and its socket, as a service."""

    def __init__(self, application: Application, host: str, port: int, url: str) -> None:
        self.application = application
        self.url = url
        self.server = Server(
            application.asgi,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            websockets=False,
            log_enabled=False,
            backlog=1024,
        )
        self.serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start listening, and return when requests are answered."""
        self.serving = asyncio.create_task(self.server.serve())
        await _wait_until_answering(self.url, str(self.application.kernel.owner_token), self.serving)

    async def stop(self) -> None:
        """Refuse new requests, and let running ones finish for ten seconds."""
        if self.serving is not None:
            self.server.stop()  # type: ignore[no-untyped-call]
            await asyncio.wait([self.serving], timeout=10)

    async def ended(self) -> None:
        """Wait until it no longer listens, for whatever reason."""
        if self.serving is not None:
            await asyncio.wait([self.serving])


def _free_port(host: str, port: int) -> int:
    # The server's own socket shares a port quietly with another process, so it is tried without sharing first.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"Cannot listen on {host}:{port}: {error.strerror}.",
                hint="Choose another port with --port, or 0 for a free one.",
            ) from error
        return int(probe.getsockname()[1])


def _stop_event(ephemeral: bool) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if ephemeral:

        def watch() -> None:
            while sys.stdin.buffer.read(65536):
                pass
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    return stop


async def _wait_until_answering(url: str, token: str, serving: "asyncio.Task[None]") -> None:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, trust_env=False) as client:
        for _ in range(1000):
            if serving.done():
                break
            try:
                if (await client.get(f"{url}/api/health")).status_code == 200:
                    return
            except httpx.TransportError as error:
                log.debug("not answering yet: %s", error)
            await asyncio.sleep(0.01)
    raise Failed("The server did not come up.", hint="The end of logs/server.log in the home folder says why.")


def _log_to_file(settings: Settings) -> None:
    folder = settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=folder / "server.log",
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # It writes every URL that is called, and those of notifiers are secrets.
    logging.getLogger("httpx").setLevel(logging.WARNING)
