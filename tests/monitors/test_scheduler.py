"""The scheduler: everything in its time, once for all servers, through an outage of the database."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.deployments.live import LiveServer
from tests.monitors.receivers import Receiver, http_receiver, until
from tests.monitors.test_notifiers import burn, save, sent, told
from tests.monitors.worlds import keep_scores, traffic
from tests.postgres import Postgres
from tidemill.core.actors import OWNER, Actor
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.core.wire import utc_now
from tidemill.monitors import alerts, indicators, objectives, scheduler, sending
from tidemill.monitors.scheduler import Scheduler
from tidemill.monitors.sending import Sender
from tidemill.monitors.store import outbox
from tidemill.monitors.types import KpiPut, SloPut, SloStatus
from tidemill.server.app import build_kernel


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "TICK_S", 0.05)
    monkeypatch.setattr(scheduler, "OUTAGE_S", 0.1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


@contextmanager
def running(*kernels: Kernel) -> Iterator[list[Scheduler]]:
    made = [Scheduler(kernel) for kernel in kernels]
    for each in made:
        asyncio.run(each.start())
    try:
        yield made
    finally:
        for each in made:
            asyncio.run(each.stop())
            assert not any(loop.thread.is_alive() for loop in each._loops)


def objective(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        objectives.put(ctx, "answers", SloPut(kind="errors", goal=0.99))


def titles(kernel: Kernel) -> list[str]:
    with kernel.read(OWNER) as ctx:
        return [f"{a.kind} {a.name} {a.severity}" for a in alerts.unresolved(ctx)]


def test_what_goes_wrong_is_noticed_and_told_without_anybody_asking(kernel: Kernel, receiver: Receiver) -> None:
    objective(kernel)
    with kernel.write(OWNER) as ctx:
        indicators.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
    save(kernel, url=receiver.url)
    traffic(kernel, utc_now(), timedelta(hours=1), 100, bad=50)
    keep_scores(kernel, "feedback", [1.0, 0.0] * 40)
    with running(kernel):
        assert until(lambda: len(receiver.got) >= 3)
    assert sorted(titles(kernel)) == ["kpi thumbs ticket", "slo answers page", "slo answers ticket"]
    assert {d.state for d in told(kernel)} == {"sent"}


def test_two_servers_on_one_database_look_once(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    objective(kernel)
    looked = []
    check = objectives.check

    def counted(kernel: Kernel, actor: Actor, name: str) -> SloStatus:
        looked.append(name)
        return check(kernel, actor, name)

    monkeypatch.setattr(objectives, "check", counted)
    other = build_kernel(kernel.settings)
    with running(kernel, other):
        assert until(lambda: looked)
        time.sleep(0.5)
    other.close()
    assert looked == ["answers"], "the turn is taken once in a minute"


def test_a_turn_comes_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = build_kernel(Settings(home=home, monitor_seconds=0.1))
    objective(kernel)
    looked = []
    monkeypatch.setattr(objectives, "check", lambda *args: looked.append(args))
    with running(kernel):
        assert until(lambda: len(looked) > 3)
    kernel.close()


def test_one_look_that_goes_wrong_ends_no_other(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    objective(kernel)
    with kernel.write(OWNER) as ctx:
        indicators.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
    keep_scores(kernel, "feedback", [0.0] * 40)

    def broken(*_: object) -> SloStatus:
        raise ZeroDivisionError

    monkeypatch.setattr(objectives, "check", broken)
    with running(kernel):
        assert until(lambda: titles(kernel) == ["kpi thumbs ticket"])


def test_the_database_goes_away_and_comes_back(
    home: Path, postgres: Postgres, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.clone()
    kernel = build_kernel(Settings(home=home, database_url=url, monitor_seconds=0.1))
    name = url.rpartition("/")[2]
    save(kernel, url=receiver.url)
    objective(kernel)
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


def test_two_senders_share_the_outbox_and_a_dead_one_s_message_comes_back(kernel: Kernel, receiver: Receiver) -> None:
    save(kernel, url=receiver.url)
    burn(kernel)
    now = utc_now()
    with kernel.write(OWNER) as ctx:
        (taken,) = outbox.claim(ctx.conn, now, now + sending.CLAIM, [], 10)
    other = Sender(kernel)
    assert not other.step(), "it belongs to the first"
    with kernel.write(OWNER) as ctx:
        outbox.update(ctx.conn, taken["id"], next_at=now)  # its time is over
    assert sent(kernel, other)


@pytest.mark.slow
def test_what_was_to_be_told_survives_kill_9(tmp_path: Path, receiver: Receiver) -> None:
    receiver.behaviour = "500"
    server = LiveServer(tmp_path / "home")
    server.start()
    try:
        with server.client() as client:
            client.notifiers.put("ops", kind="webhook", url=receiver.url)
            delivery = client.notifiers.test("ops")
            assert until(lambda: client.notifiers.deliveries("ops").items[0].attempts > 0)
        server.kill()
        receiver.behaviour = "ok"
        server.start()
        with server.client() as client:
            assert until(lambda: client.notifiers.deliveries("ops").items[0].state == "sent")
        assert {headers["tidemill-delivery"] for headers, _ in receiver.got} == {delivery.id}
    finally:
        server.stop()
