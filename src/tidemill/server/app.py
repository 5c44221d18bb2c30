"""The composition of the application: routers, jobs, listeners, services and the gateway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from anyio import to_thread
from fastapi import Depends, FastAPI

from tidemill import __version__
from tidemill.access import routes as access
from tidemill.access.service import KeyAuthenticator
from tidemill.core.asgi import AsgiApp, Receive, Scope, Send
from tidemill.core.blobs import open_blobs
from tidemill.core.db import Database
from tidemill.core.kernel import Kernel, Listener
from tidemill.core.settings import Settings
from tidemill.core.vault import open_vault
from tidemill.data import routes as data
from tidemill.data.jobs import run_import
from tidemill.deployments import routes as deployments
from tidemill.deployments import service as deployment_service
from tidemill.deployments.reconciler import Reconciler
from tidemill.deployments.routing import EngineRouter
from tidemill.drift import routes as drift
from tidemill.drift.jobs import run_check
from tidemill.drift.service import CHECK_JOB
from tidemill.engines.supervisor import Supervisor
from tidemill.evals import routes as evals
from tidemill.evals.jobs import RUN as EVAL_RUN
from tidemill.evals.online import routes as online_evals
from tidemill.evals.online.service import LISTENERS as ONLINE_LISTENERS
from tidemill.evals.online.worker import OnlineEvaluation
from tidemill.feedback import routes as feedback
from tidemill.feedback import service as feedback_service
from tidemill.feedback.collections import routes as collections
from tidemill.feedback.erasure import routes as erasure
from tidemill.feedback.types import ShadowCopyIndex
from tidemill.gateway import routes as gateway
from tidemill.gateway.asgi import GatewayApp
from tidemill.gateway.call_journal import CallJournal
from tidemill.gateway.call_recorder import CallRecorder
from tidemill.gateway.types import EnvironmentNames
from tidemill.gateway.upstream import Upstream
from tidemill.governance import routes as governance
from tidemill.jobs import routes as jobs
from tidemill.jobs.compute import LocalCompute
from tidemill.jobs.kinds import JobFunction, JobKind
from tidemill.jobs.service import JobQueue
from tidemill.kpis import routes as kpis
from tidemill.monitors import routes as monitors
from tidemill.monitors.scheduler import Scheduler
from tidemill.monitors.service import LISTENERS as MONITOR_LISTENERS
from tidemill.notifications import routes as notifications
from tidemill.notifications.outbox_worker import OutboxWorker
from tidemill.notifications.service import notifiers
from tidemill.pipelines import routes as pipelines
from tidemill.pipelines import service as pipeline_service
from tidemill.pipelines.jobs import RUN as PIPELINE_RUN
from tidemill.pipelines.service import LISTENERS as PIPELINE_LISTENERS
from tidemill.prompts import routes as prompts
from tidemill.registry import routes as registry
from tidemill.releases import routes as releases
from tidemill.releases.types import LiveReleases
from tidemill.rollouts import routes as rollouts
from tidemill.rollouts import service as rollout_service
from tidemill.rollouts.controller import RolloutController
from tidemill.rollouts.shadow import ShadowSamplers
from tidemill.rollouts.traffic import HOOKS as ROLLOUT_HOOKS
from tidemill.server import blobs, error_responses, health
from tidemill.server.error_responses import ERROR_RESPONSES
from tidemill.server.health import PROBES, Probes
from tidemill.server.middleware import RequestMiddleware
from tidemill.slos import routes as slos
from tidemill.storage import routes as storage
from tidemill.storage.jobs import run_clean
from tidemill.storage.loop import StorageCleaner, StorageFigures
from tidemill.storage.service import CLEAN_JOB, explain_missing
from tidemill.traces import routes as traces
from tidemill.traces.masking import routes as masking
from tidemill.traces.masking.masker import Masker
from tidemill.traces.prices import routes as prices
from tidemill.traces.prices.book import PriceBook
from tidemill.traces.receiver import OtlpReceiver
from tidemill.traces.retention import Retention
from tidemill.traces.store import TraceStore
from tidemill.traces.truncation import Truncator
from tidemill.traces.types import SpanScores
from tidemill.traces.writer import TraceWriter
from tidemill.triggers import routes as triggers
from tidemill.triggers.service import LISTENERS as TRIGGER_LISTENERS
from tidemill.triggers.types import PipelineNames
from tidemill.tuning import jobs as tuning_jobs
from tidemill.tuning import routes as tuning

ROUTERS = (
    health.router,
    access.router,
    blobs.router,
    jobs.router,
    storage.router,
    prompts.router,
    data.router,
    registry.router,
    releases.router,
    governance.router,
    online_evals.router,
    evals.router,
    tuning.router,
    deployments.router,
    rollouts.router,
    monitors.router,
    slos.router,
    kpis.router,
    notifications.router,
    triggers.router,
    drift.router,
    pipelines.router,
    gateway.router,
    masking.router,
    prices.router,
    collections.router,
    feedback.router,
    erasure.router,
    traces.router,
)

JOBS: dict[str, JobKind | JobFunction] = {
    "data.import": run_import,
    "evals.run": EVAL_RUN,
    CHECK_JOB: run_check,
    "pipelines.run": PIPELINE_RUN,
    CLEAN_JOB: run_clean,
    "tuning.run": tuning_jobs.RUN,
    "tuning.compress": tuning_jobs.COMPRESS,
}
"""The kinds of durable jobs and the functions that run them."""


def merge_listeners(*tables: Mapping[str, Sequence[Listener]]) -> dict[str, list[Listener]]:
    """Return the listeners of all tables by kind. Listeners of several tables to one kind run in the given order."""
    merged: dict[str, list[Listener]] = {}
    for table in tables:
        for kind, listeners in table.items():
            merged.setdefault(kind, []).extend(listeners)
    return merged


LISTENERS = merge_listeners(PIPELINE_LISTENERS, ONLINE_LISTENERS, MONITOR_LISTENERS, TRIGGER_LISTENERS)
"""The listeners of each kind of event. They run in the transaction that records it."""


def build_kernel(settings: Settings) -> Kernel:
    """Open the database and the blob store, migrate the schema, and return the kernel with all its parts."""
    # Data, key hashes and the owner's token are in there: nobody else on the machine may look.
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = Database(settings.sql_url)
    db.migrate()
    kernel = Kernel(
        settings=settings,
        db=db,
        blobs=open_blobs(settings),
        listeners=LISTENERS,
    )
    kernel.blobs.explain = partial(explain_missing, kernel)
    kernel.register(StorageFigures())
    kernel.register(JobQueue(db, LocalCompute(settings.home / "work"), JOBS))
    kernel.register(open_vault(settings))
    notifiers.seal_all(kernel)
    store = TraceStore(settings, db)
    kernel.register(store)
    kernel.register(PipelineNames(pipeline_service.list_names))
    kernel.register(EnvironmentNames(deployment_service.list_environment_names))
    kernel.register(ROLLOUT_HOOKS)
    kernel.register(LiveReleases(deployment_service.find_live_since))
    kernel.register(ShadowCopyIndex(rollout_service.count_pairs, rollout_service.delete_pairs))
    kernel.register(SpanScores(feedback_service.delete_by_span_start))
    masker, book = Masker(kernel), PriceBook(kernel)
    kernel.register(masker)
    kernel.register(book)
    # Masked before it is cut: half a card number would not be recognised.
    writer = TraceWriter(store, [masker.apply, book.price, Truncator(settings.trace_max_value_bytes)])
    kernel.register(writer)
    kernel.loops["traces"] = writer.is_alive
    return kernel


def build_api(kernel: Kernel) -> FastAPI:
    """Return the management API under `/api`."""
    api = FastAPI(
        title="Tidemill",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(access.authorize)],
    )
    api.state.kernel = kernel
    api.state.keys = KeyAuthenticator(kernel)
    error_responses.register_handlers(api)
    for router in ROUTERS:
        api.include_router(router, responses=ERROR_RESPONSES)
    return api


class Service(Protocol):
    """A background service of the server."""

    async def start(self) -> None:
        """Start, and return when ready."""
        ...

    async def stop(self) -> None:
        """Stop cleanly."""
        ...


class JobWorkers:
    """Runs durable jobs while the server runs."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    async def start(self) -> None:
        """Recover the jobs of dead processes, then run submitted ones."""
        await to_thread.run_sync(self.kernel.get(JobQueue).start, self.kernel)

    async def stop(self) -> None:
        """Stop every job at its next step; it resumes at the next start."""
        await to_thread.run_sync(self.kernel.get(JobQueue).stop)


@dataclass
class Application:
    """Tidemill in one process: the management API, the gateway, and the background services."""

    kernel: Kernel
    api: FastAPI
    services: Sequence[Service]
    workers: Sequence[Service]
    management: AsgiApp
    gateway: GatewayApp
    receiver: OtlpReceiver
    probes: Probes

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request. `/v1` bypasses FastAPI: it goes to the OTLP receiver or the gateway."""
        if scope["type"] == "http" and scope["path"] in PROBES:
            await self.probes(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].rstrip("/") == "/v1/traces":
            await self.receiver(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await self.gateway(scope, receive, send)
        else:
            await self.management(scope, receive, send)

    async def start(self, listener: Service) -> None:
        """Start the services, then the listener, then the workers, which may send requests."""
        for service in (*self.services, listener, *self.workers):
            await service.start()

    async def stop(self, listener: Service) -> None:
        """Stop in the reverse order, so that no request reaches a stopped service."""
        for service in (*reversed(self.workers), listener, *reversed(self.services)):
            await service.stop()


def build(settings: Settings) -> Application:
    """Return the application, with nothing started."""
    kernel = build_kernel(settings)
    api = build_api(kernel)
    management = RequestMiddleware(
        api, settings.max_body_bytes, unlimited="/api/blobs", max_bytes_inside=settings.max_bytes_inside
    )
    supervisor = api.state.supervisor = Supervisor(kernel)
    samplers = ShadowSamplers()
    reconciler = Reconciler(kernel, supervisor, samplers)
    journal = CallJournal(settings.home / "run" / "calls.journal")
    recorder = CallRecorder(kernel.get(TraceWriter), settings.gateway_patience_seconds, journal)
    gateway = GatewayApp(
        api.state.keys,
        EngineRouter(reconciler),
        recorder,
        Upstream(),
        settings.max_body_bytes,
        settings.max_bytes_inside,
    )
    receiver = OtlpReceiver(api.state.keys, kernel.get(TraceWriter))
    # The gateway writes its last entries when the engines are done, and the receiver stores them after that.
    rollout_controller = RolloutController(kernel, reconciler, samplers)
    services: list[Service] = [receiver, gateway, supervisor, rollout_controller, Retention(kernel)]
    return Application(
        kernel=kernel,
        api=api,
        services=services,
        workers=[
            JobWorkers(kernel),
            OnlineEvaluation(kernel),
            OutboxWorker(kernel),
            Scheduler(kernel),
            StorageCleaner(kernel),
        ],
        management=management,
        gateway=gateway,
        receiver=receiver,
        probes=Probes(kernel),
    )
