"""The log of a day is copied beside the writing: it stays short, and nothing is lost on the way."""

import random
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tidemill.traces.store import checkpoints
from tidemill.traces.store.sqlite import SqliteDayStore

DAY = date(2026, 11, 20)


def fill(days: SqliteDayStore, number: int) -> None:
    """One commit of a thousand blocks."""
    chance = random.Random(number)
    rows = [(number * 1000 + at, chance.randbytes(32)) for at in range(1000)]
    with days.write(DAY) as writer:
        writer.insert("blocks", ("id", "data"), rows)


def count(days: SqliteDayStore) -> int:
    with days.read(DAY) as look:
        assert look is not None
        assert look.rows("PRAGMA integrity_check") == [("ok",)]
        return int(look.rows("SELECT count(*) FROM blocks")[0][0])


def copied(days: SqliteDayStore) -> None:
    """Wait for the thread, so that a test does not depend on how fast it is."""
    running = days._writers[DAY]._running
    if running is not None:
        running.join()


@pytest.fixture
def days(tmp_path: Path) -> Iterator[SqliteDayStore]:
    made = SqliteDayStore(tmp_path / "traces", searchable=True)
    yield made
    made.close()


def test_the_log_is_copied_and_begun_again(days: SqliteDayStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MIN_PAGES", 40)
    log = Path(f"{days.path(DAY)}-wal")
    sizes = []
    for number in range(40):
        fill(days, number)
        sizes.append(log.stat().st_size)
        copied(days)
    assert max(sizes) < 2 * sizes[10], "the log grows though it is copied"
    assert count(days) == 40_000
    days.close()
    assert not log.exists()


def test_a_thread_copies_the_log_into_the_file(days: SqliteDayStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(days, 0)
    monkeypatch.setattr(checkpoints, "MIN_PAGES", 1)
    fill(days, 1)
    copied(days)
    assert days.path(DAY).stat().st_size > 2000 * 16, "the thread has copied nothing into the file"


def test_a_reader_holds_the_log_but_not_the_writer(days: SqliteDayStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MIN_PAGES", 20)
    fill(days, 0)
    with days.read(DAY) as look:
        assert look is not None
        assert look.rows("SELECT count(*) FROM blocks") == [(1000,)]
        for number in range(1, 15):
            fill(days, number)
        assert look.rows("SELECT count(*) FROM blocks") == [(1000,)]
    assert count(days) == 15_000
