"""The scheduler: everything in its time, once for all servers, through an outage of the database."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.notifications.receivers import Receiver, http_receiver, until
from tests.notifications.test_notifiers import burn, save, told
from tests.postgres import Postgres
from tests.traffic import keep_scores, traffic
from tidemill.core import background
from tidemill.core.actors import OWNER, Actor
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.core.wire import utc_now
from tidemill.kpis import service as kpis
from tidemill.kpis.types import KpiPut
from tidemill.monitors.scheduler import Scheduler
from tidemill.notifications.outbox_worker import OutboxWorker
from tidemill.notifications.service import alerts
from tidemill.server.app import build_kernel
from tidemill.slos import service as slos
from tidemill.slos.types import SloPut, SloStatus


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "TICK_S", 0.05)
    monkeypatch.setattr(background, "OUTAGE_S", 0.1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


@contextmanager
def running(*kernels: Kernel) -> Iterator[None]:
    """The scheduler and the outbox worker of each server."""
    services = [service(kernel) for kernel in kernels for service in (OutboxWorker, Scheduler)]
    for service in services:
        asyncio.run(service.start())
    try:
        yield
    finally:
        for service in services:
            asyncio.run(service.stop())
            assert service._loop is not None
            assert not service._loop.thread.is_alive()


def make_slo(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        slos.put(ctx, "answers", SloPut(kind="errors", goal=0.99))


def titles(kernel: Kernel) -> list[str]:
    with kernel.read(OWNER) as ctx:
        return [f"{a.kind} {a.name} {a.severity}" for a in alerts.list_unresolved(ctx)]


def test_what_goes_wrong_is_noticed_and_told_without_anybody_asking(kernel: Kernel, receiver: Receiver) -> None:
    make_slo(kernel)
    with kernel.write(OWNER) as ctx:
        kpis.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
    save(kernel, url=receiver.url)
    traffic(kernel, utc_now(), timedelta(hours=1), 100, bad=50)
    keep_scores(kernel, "feedback", [1.0, 0.0] * 40)
    with running(kernel):
        assert until(lambda: len(receiver.got) >= 3)
    assert sorted(titles(kernel)) == ["kpi thumbs ticket", "slo answers page", "slo answers ticket"]
    assert {d.state for d in told(kernel)} == {"sent"}


def test_two_servers_on_one_database_look_once(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    make_slo(kernel)
    looked = []
    check = slos.check

    def counted(kernel: Kernel, actor: Actor, name: str) -> SloStatus:
        looked.append(name)
        return check(kernel, actor, name)

    monkeypatch.setattr(slos, "check", counted)
    other = build_kernel(kernel.settings)
    with running(kernel, other):
        assert until(lambda: looked)
        time.sleep(0.5)
    other.close()
    assert looked == ["answers"], "the lease is taken once in a minute"


def test_a_check_comes_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = build_kernel(Settings(home=home, monitor_seconds=0.1))
    make_slo(kernel)
    looked = []
    monkeypatch.setattr(slos, "check", lambda *args: looked.append(args))
    with running(kernel):
        assert until(lambda: len(looked) > 3)
    kernel.close()


def test_one_look_that_goes_wrong_ends_no_other(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    make_slo(kernel)
    with kernel.write(OWNER) as ctx:
        kpis.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
    keep_scores(kernel, "feedback", [0.0] * 40)

    def broken(*_: object) -> SloStatus:
        raise ZeroDivisionError

    monkeypatch.setattr(slos, "check", broken)
    with running(kernel):
        assert until(lambda: titles(kernel) == ["kpi thumbs ticket"])


def test_the_database_goes_away_and_comes_back(
    home: Path, postgres: Postgres, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.clone()
    kernel = build_kernel(Settings(home=home, database_url=url, monitor_seconds=0.1))
    name = url.rpartition("/")[2]
    save(kernel, url=receiver.url)
    make_slo(kernel)
    with running(kernel):
        postgres._admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres._admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert until(lambda: "does not answer" in caplog.text)
        postgres._admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        traffic(kernel, utc_now(), timedelta(hours=1), 100, bad=50)
        assert until(lambda: len(receiver.got) == 2), "it goes on by itself"
    kernel.close()


def test_a_server_that_stops_leaves_what_hangs_in_the_outbox(kernel: Kernel, receiver: Receiver) -> None:
    receiver.behaviour = "hang"
    save(kernel, url=receiver.url)
    burn(kernel)
    with running(kernel):
        assert until(lambda: receiver.got)
    assert told(kernel)[0].state == "waiting"
