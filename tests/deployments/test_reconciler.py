"""The reconciler on engines that do not start, without a server around it."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.releases.makers import make_release
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.deployments import service
from tidemill.deployments.reconciler import MAX_START_FAILURES, Reconciler
from tidemill.deployments.types import DeploymentCreate
from tidemill.engines.pool import Pool
from tidemill.engines.supervisor import Supervisor
from tidemill.rollouts.shadow import ShadowSamplers
from tidemill.server.app import build_kernel

pytestmark = pytest.mark.engine


async def until_it_failed(kernel: Kernel, supervisor: Supervisor, deployment_id: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        with kernel.read(OWNER) as ctx:
            if service.get(ctx, deployment_id).state == "failed":
                return
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)


@pytest.fixture
def kernel(home: Path) -> Kernel:
    return build_kernel(Settings(home=home))


async def fail_beside(kernel: Kernel, tmp_path: Path, *, live_in_dev: bool) -> list[Pool]:
    """Order a release whose engine does not start; returns the pool it had, when that is left."""
    with kernel.write(OWNER) as ctx:
        release = make_release(ctx, tmp_path)  # a GGUF file without a model's layers
        order = DeploymentCreate(release=release.ref, environment="dev")
        live = service.go_live(ctx, service.deploy(ctx, order).id)
        assert live is not None
        failing = service.deploy(ctx, order.model_copy(update={"environment": "qa"}))
        if not live_in_dev:
            service.stop(ctx, live.id)
    supervisor = Supervisor(kernel)
    Reconciler(kernel, supervisor, ShadowSamplers())
    await supervisor.start()
    try:
        pool = supervisor.pools[release.id]
        await until_it_failed(kernel, supervisor, failing.id)
        if live_in_dev:
            await asyncio.sleep(0.3)  # more than a round, in which it must stay
        else:
            async with asyncio.timeout(120):
                while pool in supervisor.pools.values():
                    await asyncio.sleep(0.02)
        return [left for left in supervisor.pools.values() if left is pool]
    finally:
        await supervisor.stop()


@pytest.mark.parametrize("live_in_dev", [True, False])
def test_a_failed_order_keeps_the_back_off_of_a_pool_that_another_environment_asks_for(
    kernel: Kernel, tmp_path: Path, live_in_dev: bool
) -> None:
    left = asyncio.run(fail_beside(kernel, tmp_path, live_in_dev=live_in_dev))
    assert len(left) == live_in_dev
    for pool in left:
        assert pool.failures >= MAX_START_FAILURES
        assert pool.pinned == 1
    kernel.close()
