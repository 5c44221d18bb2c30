"""Leases: of several servers only one makes a check."""

from datetime import timedelta
from threading import Barrier, Thread

from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.monitors import store


def test_of_several_servers_only_one_has_the_lease(kernel: Kernel) -> None:
    won, barrier = [], Barrier(6)
    now = utc_now()

    def take() -> None:
        barrier.wait()
        with kernel.write(OWNER) as ctx:
            won.append(store.acquire_lease(ctx.conn, "slo:answers", now, now + timedelta(seconds=60)))

    for _ in range(2):
        threads = [Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won.count(True) == 1, "the lease is new, and later not due"
    now += timedelta(seconds=61)
    won.clear()
    threads = [Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1
