"""The outbox on both databases: shared by several workers, and not lost with a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments.live import LiveServer
from tests.notifications.receivers import Receiver, http_receiver, until
from tests.notifications.test_notifiers import burn, save, sent
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.notifications import outbox_worker
from tidemill.notifications.outbox_worker import OutboxWorker
from tidemill.notifications.store import outbox


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


def test_two_workers_share_the_outbox_and_a_dead_one_s_message_comes_back(kernel: Kernel, receiver: Receiver) -> None:
    save(kernel, url=receiver.url)
    burn(kernel)
    now = utc_now()
    with kernel.write(OWNER) as ctx:
        (taken,) = outbox.claim(ctx.conn, now, now + outbox_worker.CLAIM_DURATION, [], 10)
    other = OutboxWorker(kernel)
    assert not other.step(), "it belongs to the first"
    with kernel.write(OWNER) as ctx:
        outbox.update(ctx.conn, taken.id, next_at=now)  # its time is over
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
