"""What is found by values that come in no order: runs written, merged and rolled back, and days of an old layout."""

import random
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import apsw
import numpy as np
import pytest
import sqlalchemy as sa

from tests.traces.makers import NOON, SECOND, call, context, differences, record, traffic, write
from tidemill.core.kernel import Kernel
from tidemill.traces import service
from tidemill.traces.service import TraceStore
from tidemill.traces.store import keys, runs
from tidemill.traces.store.days import Look
from tidemill.traces.store.sqlite import SqliteDays
from tidemill.traces.types import TraceFilter, TraceIdInvalid, TracesUnavailable

DAY = datetime.fromtimestamp(NOON / SECOND, UTC).date()


def pairs(look: Look, wanted: list[int], *, often: bool) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for key, number in zip(*runs.find(look, np.array(sorted(wanted), np.uint64), often=often), strict=True):
        found[int(key)].append(int(number))
    return {key: sorted(numbers) for key, numbers in found.items()}


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "FAN", 4)
    monkeypatch.setattr(runs, "PART", 8)
    monkeypatch.setattr(runs, "LARGEST", 600)
    monkeypatch.setattr(runs, "HELD", 6)


@pytest.mark.usefixtures("_small")
def test_every_entry_is_found_however_the_runs_were_merged(kernel: Kernel) -> None:
    store = kernel.get(TraceStore)
    chance = random.Random(5)
    known: dict[int, list[int]] = defaultdict(list)
    common = [chance.randrange(1 << 64) for _ in range(3)]  # keys that fill several parts of a run
    for commit in range(60):
        made = [chance.choice(common) if chance.random() < 0.3 else chance.randrange(1 << 64) for _ in range(20)]
        numbers = [commit * 20 + at for at in range(20)]
        with store.days.change(DAY) as change:
            runs.add(change, np.array(made, np.uint64), np.array(numbers, np.uint32))
        for key, number in zip(made, numbers, strict=True):
            known[key].append(number)
    asked = [*known, *(chance.randrange(1 << 64) for _ in range(500)), 0, (1 << 64) - 1]
    with store.days.look(DAY) as look:
        assert look is not None
        assert pairs(look, asked, often=False) == known
        assert pairs(look, asked, often=True) == known
        levels = look.rows("SELECT level, count(*), sum(size) FROM runs GROUP BY level ORDER BY level")
        assert sum(row[2] for row in levels) == 1200
        assert all(row[1] < 4 for row in levels if row[0] != runs.STAYS), levels
        assert any(row[0] == runs.STAYS for row in levels), levels
        assert look.rows("SELECT count(*) FROM parts WHERE id / (1 << 24) NOT IN (SELECT id FROM runs)") == [(0,)]
        low, high = 1 << 62, 3 << 62
        within = [number for portion in runs.between(look, low, high) for number in portion]
        assert sorted(within) == sorted(n for key, ns in known.items() if low <= key <= high for n in ns)


def test_what_is_rolled_back_is_not_found(kernel: Kernel) -> None:
    store = kernel.get(TraceStore)
    one = np.array([7], np.uint64)
    for number in (1, 2):  # the second run gets the id that the first would have had
        try:
            with store.days.change(DAY) as change:
                runs.add(change, one, np.array([number], np.uint32))
                assert pairs(change, [7], often=True) == {7: [number]}
                if number == 1:
                    raise KeyError
        except KeyError:
            pass
    with store.days.look(DAY) as look:
        assert look is not None
        assert pairs(look, [7], often=True) == {7: [2]}


def test_a_filter_passes_few_keys_that_are_not_there() -> None:
    chance = np.random.default_rng(3)
    held = chance.integers(0, 1 << 63, 20_000, dtype=np.uint64)
    words = runs._filter(held)
    assert runs._perhaps(words, *runs._marks(held)).all()
    others = chance.integers(1 << 63, (1 << 64) - 1, 20_000, dtype=np.uint64)
    assert runs._perhaps(words, *runs._marks(others)).mean() < 0.005


def test_traces_are_found_by_the_beginning_of_their_ids(kernel: Kernel) -> None:
    made = [bytes.fromhex(digits.ljust(32, "0")) for digits in ("ab12cd", "ab12345678aa", "ab12345678ab", "0")]
    made[3] = bytes(15) + b"\x07"  # as 64-bit ids are padded
    write(kernel, *(record(at, start=NOON, trace_id=trace) for at, trace in enumerate(made, 1)))
    ask = context(kernel)
    assert service.get_trace(ask, "ab12345678aa").summary.trace_id == made[1].hex()
    assert service.get_trace(ask, "0" * 31).summary.trace_id == made[3].hex()
    for several in ("ab1234", "ab1234567", "ab12345678a"):
        with pytest.raises(TraceIdInvalid, match="Several"):
            service.get_trace(ask, several)


@pytest.mark.parametrize("most", [20_000, 1])
def test_users_and_sessions_are_found_as_they_were_told_last(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(keys, "MOST", most)
    write(kernel, *traffic(400))
    write(kernel, call(2, trace=9, parent=1, start=NOON, user="ada", session="early"))
    write(kernel, record(1, trace=9, start=NOON, user="bob"))  # the root says whose the trace is
    ask = context(kernel)

    def found(**where: str) -> list[str]:
        return [one.trace_id for one in service.list_traces(ask, TraceFilter(**where), limit=200).items]

    assert found(user="ada") == []
    assert found(user="bob") == found(session="early") == found(user="bob", session="early") == ["0" * 31 + "9"]
    every = service.list_traces(ask, TraceFilter(), limit=200).items
    for user in ("user-3", "user-11"):
        assert found(user=user) == [one.trace_id for one in every if one.user == user] != []
    assert {one.trace_id for one in service.list_traces(ask, TraceFilter(user="user-3", calls=True), limit=200).items}
    assert found(user="nobody") == []


def test_a_day_of_a_newer_version_is_left_alone_and_said_to_be(tmp_path: Path) -> None:
    days = SqliteDays(tmp_path, searchable=True)
    with days.change(DAY):
        pass
    days.close()
    connection = apsw.Connection(str(days.path(DAY)))
    connection.execute("PRAGMA user_version = 99")
    for opened in (days.look, days.change):
        with pytest.raises(TracesUnavailable, match="newer version"), opened(DAY):
            pass
    assert connection.pragma("user_version") == 99
    connection.close()
    days.close()


def test_a_day_of_the_old_layout_is_brought_to_the_new_one(kernel: Kernel) -> None:
    store = kernel.get(TraceStore)
    given = traffic(100)
    write(kernel, *given, call(2, trace=9, start=NOON, user="ada", response_id="chatcmpl-1"))
    store.close()
    old = (
        "DROP TABLE runs",
        "DROP TABLE parts",
        "CREATE INDEX traces_session ON traces (session_id, start_us) WHERE session_id IS NOT NULL",
        "CREATE INDEX traces_user ON traces (user_id, start_us) WHERE user_id IS NOT NULL",
        "CREATE INDEX spans_response ON spans (response_id) WHERE response_id IS NOT NULL",
    )
    if isinstance(store.days, SqliteDays):
        connection = apsw.Connection(str(store.days.path(DAY)))
        for statement in (*old, "PRAGMA user_version = 1"):
            connection.execute(statement)
        connection.close()
    else:
        with kernel.db.engine.begin() as conn:
            conn.execute(sa.text(f"SET LOCAL search_path TO traces_{DAY:%Y%m%d}"))
            for statement in old:
                conn.execute(sa.text(statement))
    again = TraceStore(kernel.settings, kernel.db)
    try:
        with again.days.look(DAY) as look:
            assert look is not None
            assert keys.traces(look, [given[0].trace_id])
            assert len(keys.replies(look, ["chatcmpl-1"])) == 1
            assert keys.number_of(look, "ada") is not None
        assert again.write(given[:10]) == 0
        assert again.write([call(3, trace=9, start=NOON, user="ada", response_id="chatcmpl-2")]) == 1
    finally:
        again.close()
    assert not differences(kernel.get(TraceStore))
