"""Days that are removed, upgraded and erased while somebody reads them, and names that are no days."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from tests.traces.makers import NOON, SECOND, call, write
from tests.traces.test_layouts import DAY, LAYOUT_1, change_day, names_of, on_postgres, upgrader_of
from tidemill.core.kernel import Kernel
from tidemill.core.wire import new_id
from tidemill.traces.service import TraceStore
from tidemill.traces.store import day_cache, postgres
from tidemill.traces.store.postgres import PostgresDayStore
from tidemill.traces.store.responses import day_of_response
from tidemill.traces.types import TraceFilter, TracesUnavailable

__all__ = ["on_postgres"]

T = TypeVar("T")


def elsewhere(action: Callable[[], T]) -> T:
    """Do something in another thread, as another request would."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(action).result(60)


@pytest.fixture
def second(kernel: Kernel) -> Iterator[TraceStore]:
    """Another server's store on the same days."""
    store = TraceStore(kernel.settings, kernel.db)
    yield store
    store.close()


def test_a_day_that_was_removed_is_not_made_again(
    kernel: Kernel, second: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kernel, call(1, start=NOON, user="ada"))
    store = kernel.get(TraceStore)
    traces = store.traces_of_users(["ada"])
    assert second.erase_day(DAY) > 0
    assert store.erase_traces(DAY, traces) == 0
    assert store.list_days() == []
    write(kernel, call(1, start=NOON, user="ada"))
    update = store.days.update

    def remove_then_update(day: date) -> Any:
        second.erase_day(day)
        return update(day)

    monkeypatch.setattr(store.days, "update", remove_then_update)
    store.drop_minutes(DAY + timedelta(days=1))
    assert store.list_days() == second.list_days() == []


def test_a_removed_day_is_not_there_and_no_error(
    kernel: Kernel, second: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day goes after it was listed, and on PostgreSQL even after its snapshot was taken."""
    write(kernel, call(1, start=NOON, user="ada", response_id="chatcmpl-1"))
    store = kernel.get(TraceStore)
    if isinstance(store.days, PostgresDayStore):
        enter = store.days._enter

        def remove_then_enter(connection: Any, day: date, **then: Any) -> None:
            if second.list_days():
                second.erase_day(day)
            enter(connection, day, **then)

        monkeypatch.setattr(store.days, "_enter", remove_then_enter)
    else:
        list_days = store.days.list_days

        def list_then_remove() -> list[date]:
            days = list_days()
            for day in second.list_days():
                second.erase_day(day)
            return days

        monkeypatch.setattr(store.days, "list_days", list_then_remove)
    assert store.list_traces(TraceFilter(), limit=10) == []
    assert store.find_responses(["chatcmpl-1"], payload=True) == {}
    assert second.list_days() == []


def test_names_that_are_no_dates_are_no_days(kernel: Kernel) -> None:
    write(kernel, call(1, start=NOON))
    if kernel.db.is_sqlite:
        for name in ("9999-99-99", "abcd-ef-gh", "2026-02-30"):
            (kernel.settings.home / "traces" / f"{name}.db").touch()
    else:
        with kernel.db.begin() as conn:
            for name in ("traces_99999999", "traces_20260230", "traces_00000000"):
                conn.execute(sa.text(f"CREATE SCHEMA {name}"))
    store = kernel.get(TraceStore)
    assert store.list_days() == [DAY]
    assert len(store.list_traces(TraceFilter(), limit=10)) == 1


def test_an_id_belongs_to_a_day_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    response_id = new_id("chatcmpl").replace("_", "-")
    before = datetime.now(UTC).date()
    try:
        for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):  # at every moment it is another day in one of them
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert day_of_response(response_id) in (before, datetime.now(UTC).date())
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_upgrade_gives_way_to_a_reader(on_postgres: Kernel) -> None:
    """It waits half a second for its locks, so it neither blocks new readers nor ends one of them as a deadlock."""
    write(on_postgres, call(1, start=NOON, user="ada"))
    change_day(on_postgres, LAYOUT_1, 1)
    store = TraceStore(on_postgres.settings, on_postgres.db)
    upgrader = upgrader_of(store)
    with store.days.read(DAY, upgrade=False) as reader:
        assert reader is not None
        assert reader.rows("SELECT count(*) FROM traces") == [(1,)]
        upgrader.request(DAY)
        upgrader.join()  # it gave up
        assert len(elsewhere(lambda: store.list_traces(TraceFilter(user="ada"), limit=10))) == 1
        with pytest.raises(TracesUnavailable, match="reads the traces") as caught:
            elsewhere(lambda: store.write([call(2, start=NOON, user="ada")]))
        assert caught.value.status == 503
        assert reader.rows("SELECT count(*) FROM spans") == [(1,)]
        store.close()  # and hangs at nothing
    again = TraceStore(on_postgres.settings, on_postgres.db)
    assert again.write([call(2, start=NOON, user="ada")]) == 1
    again.close()
    assert "traces_user" not in names_of(on_postgres)[1]


@pytest.mark.parametrize("is_patient", [True, False])
def test_removing_and_rewriting_a_day_wait_for_its_readers_but_not_in_their_way(
    on_postgres: Kernel, monkeypatch: pytest.MonkeyPatch, is_patient: bool
) -> None:
    monkeypatch.setattr(postgres, "BUSY_S", 60.0 if is_patient else 0.0)
    write(on_postgres, call(1, trace=1, start=NOON, user="ada"), call(2, trace=2, start=NOON, user="bob"))
    store = on_postgres.get(TraceStore)
    errors: list[Exception] = []

    def erase_then_remove() -> None:
        for action in (
            lambda: store.erase_traces(DAY, {(1).to_bytes(16, "big")}),
            lambda: store.erase_day(DAY),
        ):
            try:
                action()
            except TracesUnavailable as error:
                errors.append(error)

    thread = threading.Thread(target=erase_then_remove)
    with store.days.read(DAY) as reader:
        assert reader is not None
        thread.start()
        for _ in range(20):
            assert len(elsewhere(lambda: store.list_traces(TraceFilter(user="bob"), limit=10))) == 1
            time.sleep(0.05)
        assert reader.rows("SELECT count(*) FROM blocks") == [(1,)]
        if not is_patient:
            thread.join(60)
    thread.join(60)
    assert not thread.is_alive()
    assert len(errors) == (0 if is_patient else 2)
    assert store.list_days() == ([] if is_patient else [DAY])


def test_the_strings_of_a_day_are_cached_up_to_a_number_of_bytes(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_cache.CachedStrings.__init__, "__defaults__", (20_000,))
    store = kernel.get(TraceStore)
    for at in range(3):
        spans = [
            call(number, trace=number, start=NOON + number * SECOND, user=f"{number}-".ljust(1000, "é"))
            for number in range(at * 50 + 1, at * 50 + 51)
        ]
        write(kernel, *spans)
        assert store.write(spans) == 0
    users = [trace.user for _, trace in store.list_traces(TraceFilter(), limit=200)]
    assert users == [f"{number}-".ljust(1000, "é") for number in range(150, 0, -1)]
    cached = [strings for cache in (store._numbers, store._stored._texts) for _, strings in cache._cached.values()]
    assert len(cached) == 2
    for strings in cached:
        assert sum(sys.getsizeof(part) for entry in strings._entries.items() for part in entry) <= 20_000
