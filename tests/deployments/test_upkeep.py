"""The supervisor keeps engines whatever the database refuses, without an engine: only the processes are imagined."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.deployments.test_service import live, order
from tests.releases.makers import make_release
from tidemill.core.actors import OWNER
from tidemill.core.errors import StorageFull
from tidemill.core.kernel import Context, Kernel
from tidemill.core.settings import Settings
from tidemill.deployments import service
from tidemill.deployments.reconciler import Reconciler
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.retirements import store as retirements_store
from tidemill.deployments.retirements.types import RetirementCreate
from tidemill.deployments.types import Deployment
from tidemill.engines import supervisor as supervisors
from tidemill.engines.supervisor import Supervisor
from tidemill.engines.types import Servable
from tidemill.rollouts.shadow import ShadowSamplers
from tidemill.server.app import build_kernel


class ImaginedReplica:
    """A replica whose process starts at once and lives until it is ended or `dead`."""

    def __init__(self, kernel: Kernel, servable: Servable) -> None:
        self.id, self.servable, self.state = "rep_x", servable, "starting"
        self.in_flight = self.suspect = self.health_checks = 0
        self.since = time.monotonic()
        self.log_path = kernel.folder("logs") / "engine.log"
        self.base_url = "http://127.0.0.1:1"
        self.dead = False

    def start(self) -> None:
        pass

    def alive(self) -> bool:
        return not self.dead

    def healthy(self) -> bool:
        self.health_checks += 1
        return True

    def stop(self, grace: float = 5.0) -> None:
        self.dead = True


class World:
    """`hello` is live in dev; `adieu` and `ciao` are about to be."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.kernel = build_kernel(Settings(home=home))
        with self.kernel.write(OWNER) as ctx:
            self.hello = make_release(ctx, folder).id
            self.live = live(ctx, "hello")
            self.starting = []
            for name in ("adieu", "ciao"):
                make_release(ctx, folder, name)
                self.starting.append(order(ctx, name))

    def state(self, deployment: Deployment) -> str:
        with self.kernel.read(OWNER) as ctx:
            return service.get(ctx, deployment.id).state

    def run(self, scenario: Callable[[Supervisor, Reconciler], Awaitable[None]]) -> None:
        async def run() -> None:
            supervisor = Supervisor(self.kernel)
            reconciler = Reconciler(self.kernel, supervisor, ShadowSamplers())
            await supervisor.start()
            try:
                await scenario(supervisor, reconciler)
            finally:
                await supervisor.stop()

        asyncio.run(run())


@pytest.fixture
def world(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(supervisors, "RunningReplica", ImaginedReplica)
    monkeypatch.setattr(supervisors, "TICK_S", 0.02)
    monkeypatch.setattr(supervisors, "HEALTH_EVERY_S", 0.05)
    return World(home, tmp_path)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def failed_lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [r.message for r in caplog.records if r.levelno == logging.ERROR and text in r.message]


async def replace_the_dead(world: World, supervisor: Supervisor) -> None:
    """End the engine of `hello`, and wait for another one that is asked for its health."""
    pool = supervisor.pools[world.hello]
    await until(lambda: pool.ready)
    pool.replicas[0].dead = True
    await until(lambda: pool.ready and pool.replicas[0].health_checks)


def test_what_cannot_be_promoted_holds_back_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_live, refused = service.go_live, [world.starting[0].id]
    tries = []

    def go_live_or_fail(ctx: Context, deployment_id: str) -> Deployment | None:
        if deployment_id in refused:
            tries.append(deployment_id)
            raise StorageFull("The disk is full.")
        return go_live(ctx, deployment_id)

    monkeypatch.setattr(service, "go_live", go_live_or_fail)

    async def scenario(supervisor: Supervisor, _: Reconciler) -> None:
        await until(lambda: world.state(world.starting[1]) == "live")
        await until(lambda: len(tries) > 3)
        await replace_the_dead(world, supervisor)
        assert world.state(world.starting[0]) == "starting"
        refused.clear()
        await until(lambda: world.state(world.starting[0]) == "live")

    with caplog.at_level("INFO", "tidemill"):
        world.run(scenario)
    assert failed_lines(caplog, "Promoting") == [
        "Promoting adieu@1 in dev failed, and is tried again: The disk is full."
    ]
    assert "Promoting adieu@1 in dev works again" in [r.message for r in caplog.records]


def test_a_name_past_its_date_that_cannot_be_ended_stops_neither_start_nor_upkeep(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with world.kernel.write(OWNER) as ctx:
        day = ctx.now.replace(year=ctx.now.year + 1)
        body = RetirementCreate(name="dev/adieu", sunset=day, successor="dev/hello")
        retirement = retirements.announce(ctx, body).items[0]
        row = retirements_store.retirements.c.id == retirement.id
        ctx.conn.execute(retirements_store.retirements.update().where(row).values(sunset=ctx.now))
    end_due, tries, broken = retirements.end_due, [], [True]

    def end_or_fail(ctx: Context, now: object) -> object:
        tries.append(now)
        if broken:
            raise StorageFull("The disk is full.")
        return end_due(ctx, now)

    monkeypatch.setattr(retirements, "end_due", end_or_fail)

    async def scenario(supervisor: Supervisor, _: Reconciler) -> None:
        assert not tries, "the start only reads"
        await until(lambda: len(tries) > 3)
        await replace_the_dead(world, supervisor)
        assert world.starting[0].release_id not in supervisor.pools, "an engine for a name that is out of service"
        broken.clear()
        await until(lambda: world.state(world.starting[0]) == "stopped")

    world.run(scenario)
    assert len(failed_lines(caplog, "Stopping retired names")) == 1


def test_engines_are_kept_while_the_database_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fail(ctx: Context) -> None:
        tries.append(ctx)
        raise StorageFull("The disk is full.")

    async def scenario(supervisor: Supervisor, reconciler: Reconciler) -> None:
        await until(lambda: len(reconciler.routes) == 3)
        routes = reconciler.routes
        monkeypatch.setattr(service, "get_desired_state", fail)
        await until(lambda: len(tries) > 3)
        await replace_the_dead(world, supervisor)
        assert reconciler.routes == routes

    world.run(scenario)
    assert len(failed_lines(caplog, "Reading what is deployed")) == 1
