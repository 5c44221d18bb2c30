"""How the server is doing: for people (`/api/status`), for orchestrators (`/healthz`, `/readyz`), for Prometheus."""

import asyncio
import json
import os
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from pydantic import Field

from tidemill import __version__
from tidemill.core.asgi import Receive, Scope, Send
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.core.web import RequestContext, role
from tidemill.core.wire import Instant, Value, utc_now
from tidemill.engines.types import Fleet
from tidemill.jobs.service import JobQueue
from tidemill.server.metrics import CONTENT_TYPE, render
from tidemill.storage.loop import StorageFigures
from tidemill.traces.types import WriterState
from tidemill.traces.writer import TraceWriter

router = APIRouter(tags=["server"])

PROBES = ("/healthz", "/readyz")
PROBE_TIMEOUT_S = 5.0
STARTED: datetime = utc_now()


class Health(Value):
    """The server's version and database."""

    version: str
    database: str
    schema_revision: str | None
    home: str


class ServerStatus(Health):
    """What the server does now."""

    pid: int
    started_at: Instant
    loops: dict[str, bool] = Field(description="What works beside the requests, by name: whether it is alive.")
    jobs: dict[str, int] = Field(description="State -> jobs, of all servers that share the database.")
    engines: Fleet
    spans: WriterState


@router.get("/api/health", openapi_extra=role("observer"))
def get_health(request: RequestContext) -> Health:
    """Version, database and schema."""
    return Health.model_validate(_health(request.kernel))


@router.get("/api/status", openapi_extra=role("observer"))
def get_status(request: RequestContext, http: Request) -> ServerStatus:
    """What the server does now: its loops, jobs, engines and the spans that wait."""
    kernel = request.kernel
    return ServerStatus(
        **_health(kernel),
        pid=os.getpid(),
        started_at=STARTED,
        loops={name: is_alive() for name, is_alive in sorted(kernel.loops.items())},
        jobs=request.read(kernel.get(JobQueue).count_by_state),
        engines=http.app.state.supervisor.get_fleet(),
        spans=kernel.get(TraceWriter).state,
    )


@router.get("/metrics", openapi_extra=role("observer"), response_class=PlainTextResponse)
def get_metrics(request: RequestContext, http: Request) -> PlainTextResponse:
    """Metrics in the text format of Prometheus. A scraper sends a viewer's key as its bearer token."""
    status = get_status(request, http)
    text = render(
        status.version,
        status.loops,
        status.jobs,
        status.engines,
        status.spans,
        request.kernel.get(StorageFigures).report,
        status.started_at.timestamp(),
    )
    return PlainTextResponse(text, media_type=CONTENT_TYPE)


def _health(kernel: Kernel) -> dict[str, str | None]:
    return {
        "version": __version__,
        "database": kernel.db.url.get_backend_name(),
        "schema_revision": kernel.db.revision(),
        "home": str(kernel.settings.home),
    }


class Probes:
    """Answers orchestrators, without a key and without details: 200, or 503 with the names of what is wrong.

    `/healthz`: whether this process should be left alone. `/readyz`: whether requests should be sent to it.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._ping: asyncio.Future[None] | None = None
        """Under way: a database that hangs holds one thread, however often it is asked for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request of a path in PROBES."""
        faults = [f"{name} stopped" for name, is_alive in self._kernel.loops.items() if not is_alive()]
        if scope["path"] == "/readyz":
            faults += await self._check_database()
        body = json.dumps({"status": "failing" if faults else "ok", "faults": faults}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 503 if faults else 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _check_database(self) -> list[str]:
        if self._ping is None or self._ping.done():
            self._ping = asyncio.ensure_future(asyncio.to_thread(self._kernel.db.ping))
            # Asked for here, so that asyncio does not log an error that comes after the probe has given up.
            self._ping.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            await asyncio.wait_for(asyncio.shield(self._ping), PROBE_TIMEOUT_S)
        except (TidemillError, TimeoutError):
            return ["the database does not answer"]
        return []
