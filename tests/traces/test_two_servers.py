"""Two servers on one database: what one erases or removes, the other does not store or show under an old number."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.traces.makers import NOON, SECOND, call
from tidemill.core.kernel import Kernel
from tidemill.traces.service import TraceStore
from tidemill.traces.types import TraceFilter

DAY = datetime.fromtimestamp(NOON / SECOND, UTC).date()


@pytest.fixture
def servers(kernel: Kernel) -> Iterator[tuple[TraceStore, TraceStore]]:
    stores = TraceStore(kernel.settings, kernel.db), TraceStore(kernel.settings, kernel.db)
    yield stores
    for store in stores:
        store.close()


def users(store: TraceStore, **where: str) -> list[str | None]:
    return [trace.user for _, trace in store.list_traces(TraceFilter.model_validate(where), limit=50)]


def strings(store: TraceStore) -> list[str]:
    with store.days.read(DAY) as reader:
        assert reader is not None
        return [row[0] for row in reader.rows("SELECT text FROM strings ORDER BY id")]


def erase(store: TraceStore, user: str) -> int:
    return store.erase_traces(DAY, store.traces_of_users([user]))


def test_a_user_whom_another_server_erased_comes_back_under_their_name(servers: tuple[TraceStore, TraceStore]) -> None:
    one, other = servers
    other.write([call(1, trace=1, start=NOON, user="alice", session="hers"), call(2, trace=2, start=NOON, user="bob")])
    assert users(other) == ["bob", "alice"]
    assert erase(one, "alice") == 1
    other.write([call(3, trace=3, start=NOON, user="alice", session="hers")])
    for store in servers:
        assert users(store) == ["alice", "bob"]
        assert users(store, user="alice") == users(store, session="hers") == ["alice"]
        assert len(store.traces_of_users(["alice"])) == 1
    assert erase(other, "alice") == erase(one, "bob") == 1
    assert set(strings(one)).isdisjoint({"alice", "bob", "hers"})


def test_a_day_that_another_server_removed_is_stored_and_shown_with_its_own_strings(
    servers: tuple[TraceStore, TraceStore],
) -> None:
    one, other = servers
    other.write([call(number, trace=number, start=NOON, user=f"user-{number}") for number in range(1, 4)])
    assert users(other) == ["user-3", "user-2", "user-1"]
    assert one.erase_day(DAY) > 0
    one.write([call(4, trace=4, start=NOON, user="carl"), call(5, trace=5, start=NOON, user="dora")])
    other.write([call(6, trace=6, start=NOON, user="user-1")])
    for store in servers:
        assert users(store) == ["user-1", "dora", "carl"]
        assert users(store, user="user-1") == ["user-1"]


def test_numbers_are_looked_up_once_while_nothing_is_erased(
    servers: tuple[TraceStore, TraceStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = servers
    for number, store in enumerate((one, other, one, other), 1):
        store.write([call(number, trace=number, start=NOON, user="ada")])
    with one.days.write(DAY) as writer:
        numbers = one._numbers.get(writer).known({"ada", "small", "span 2", "span 3"})
    assert set(numbers) == {"ada", "small", "span 3"}
    assert [numbers[text] for text in ("ada", "small")] == [strings(one).index(text) + 1 for text in ("ada", "small")]
