"""A disk that fills, a database that goes away, a server that is killed: what was acknowledged is there."""

import os
import signal
import threading
import time
from pathlib import Path

import apsw
import httpx
import pytest
import sqlalchemy as sa

from tests.postgres import Postgres
from tests.server.test_process import Servers, servers
from tests.traces.makers import call, context, differences, write
from tests.traces.otlp_requests import PROTOBUF, request
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.server.app import build_kernel
from tidemill.traces import service
from tidemill.traces.service import TraceStore, TraceWriter
from tidemill.traces.store import sqlite
from tidemill.traces.types import TracesClosed, TracesFull, TracesUnavailable

__all__ = ["servers"]


@pytest.fixture
def local(home: Path):
    """A kernel on SQLite."""
    made = build_kernel(Settings(home=home))
    yield made
    made.close()


def test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room(local: Kernel) -> None:
    write(local, call(1))
    days = local.get(TraceStore).days
    assert isinstance(days, sqlite.SqliteDayStore)
    (writer,) = days._writers.values()
    connection = writer.connection
    pages = connection.pragma("page_count")
    connection.pragma("max_page_count", pages)  # SQLite itself refuses to grow, as on a full disk
    big = [call(number, trace=number, text=os.urandom(40_000).hex()) for number in range(2, 40)]
    with pytest.raises(TracesFull, match="full"):
        write(local, *big)
    assert [use.spans for use in service.list_days(context(local))] == [1]
    assert differences(local.get(TraceStore)) == []
    write(local, *big)  # a new connection, and there is room again
    assert [use.spans for use in service.list_days(context(local))] == [39]
    assert differences(local.get(TraceStore)) == []


def test_a_held_database_is_waited_for_then_told_and_taken_up_again(
    local: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MS", 100)
    write(local, call(1))
    days = local.get(TraceStore).days
    assert isinstance(days, sqlite.SqliteDayStore)
    other = apsw.Connection(str(days.path(days.list_days()[0])))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TracesUnavailable, match="locked"):
        write(local, call(2, trace=2))
    assert len(service.list_traces(context(local)).items) == 1, "reading goes on meanwhile"
    other.execute("ROLLBACK")
    other.close()
    write(local, call(2, trace=2))
    assert len(service.list_traces(context(local)).items) == 2


def test_a_database_server_that_goes_away_and_comes_back(home: Path, postgres: Postgres) -> None:
    url = postgres.clone()
    name = sa.make_url(url).database
    admin = sa.create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    made = build_kernel(Settings(home=home, database_url=url))
    try:
        write(made, call(1))
        with admin.connect() as conn:
            conn.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            conn.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        for _ in range(2):
            with pytest.raises(TracesUnavailable):
                made.get(TraceWriter).write([call(2, trace=2)])
        with admin.connect() as conn:
            conn.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        write(made, call(2, trace=2))
        assert len(service.list_traces(context(made)).items) == 2
        assert differences(made.get(TraceStore)) == []
    finally:
        made.close()
        admin.dispose()


def test_one_request_that_cannot_be_stored_does_not_hurt_the_others(
    local: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = local.get(TraceWriter)
    held, goes_on = threading.Event(), threading.Event()

    def hold(records: object) -> None:
        if not held.is_set():
            held.set()
            goes_on.wait(120)

    writer.prepare.append(hold)
    outcomes: dict[str, object] = {}

    def send(name: str, *records: object) -> None:
        try:
            writer.write(list(records))  # type: ignore[arg-type]
            outcomes[name] = "stored"
        except TidemillError as error:
            outcomes[name] = type(error).__name__

    bad = call(3, trace=3)
    bad.start_ns = 10**30
    senders = [threading.Thread(target=send, args=args) for args in (
        ("first", call(1)), ("good", call(2, trace=2)), ("bad", bad), ("after", call(4, trace=4)),
    )]  # fmt: skip
    senders[0].start()
    assert held.wait(120)
    for thread in senders[1:]:
        thread.start()
    while writer.state.waiting < 4:
        time.sleep(0.01)
    goes_on.set()
    for thread in senders:
        thread.join()
    assert outcomes == {"first": "stored", "good": "stored", "bad": "Failed", "after": "stored"}
    assert len(service.list_traces(context(local)).items) == 3


def test_a_writer_that_is_closed_has_written_what_waited(local: Kernel) -> None:
    writer = local.get(TraceWriter)
    senders = [threading.Thread(target=writer.write, args=([call(n, trace=n)],)) for n in range(1, 20)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    writer.close()
    assert len(service.list_traces(context(local)).items) == 19
    with pytest.raises(TracesClosed):
        writer.write([call(99)])


@pytest.mark.slow
def test_a_killed_server_has_every_span_that_it_acknowledged(servers: Servers, home: Path) -> None:
    process = servers.up(home, "--port", "0")
    live = servers.live(home, process)
    headers = PROTOBUF | {"authorization": f"Bearer {live.token}"}
    bodies = [request(100) for _ in range(400)]
    acknowledged: list[str] = []
    started = threading.Barrier(9)

    def send(own: list) -> None:  # type: ignore[type-arg]
        with httpx.Client(headers=headers, timeout=120) as client:
            started.wait()
            for one in own:
                try:
                    reply = client.post(f"{live.url}/v1/traces", content=one.SerializeToString())
                except httpx.TransportError:
                    return
                if reply.status_code == 200:
                    spans = one.resource_spans[0].scope_spans[0].spans
                    acknowledged.extend(span.trace_id.hex() for span in spans)

    senders = [threading.Thread(target=send, args=(bodies[at::8],)) for at in range(8)]
    for thread in senders:
        thread.start()
    started.wait()
    while len(acknowledged) < 10_000 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    for thread in senders:
        thread.join()
    assert 10_000 <= len(acknowledged) < 40_000, "it was killed in the middle"
    made = build_kernel(Settings(home=home))
    try:
        store = made.get(TraceStore)
        there: set[str] = set()
        for day in store.days.list_days():
            with store.days.read(day) as look:
                assert look is not None
                there |= {bytes(row[0]).hex() for row in look.rows("SELECT trace FROM traces")}
        assert set(acknowledged) <= there
        assert differences(store) == []
        write(made, call(1))
    finally:
        made.close()
