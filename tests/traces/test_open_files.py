"""Connections to days in files: how many stay open, and whether they are those of the file that is there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import pytest

from tidemill.traces.store import sqlite
from tidemill.traces.store.sqlite import SqliteDayStore

FIRST = date(2026, 8, 1)
DAYS = [FIRST + timedelta(number) for number in range(100)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "traces"


@pytest.fixture
def days(folder: Path) -> Iterator[SqliteDayStore]:
    store = SqliteDayStore(folder, searchable=True)
    yield store
    store.close()


def open_files(folder: Path) -> int:
    """Files of a folder that this process has open."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except FileNotFoundError:
            continue  # the one that the listing itself had open
    return sum(link.startswith(f"{folder}/") for link in links)


def add_string(days: SqliteDayStore, day: date, text: str) -> None:
    with days.write(day) as writer:
        writer.insert("strings", ("text",), [(text,)])


def strings(days: SqliteDayStore, day: date) -> list[str]:
    with days.read(day) as reader:
        return [row[0] for row in reader.rows("SELECT text FROM strings")] if reader is not None else []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_a_hundred_days_with_four_readers_keep_few_files_open(days: SqliteDayStore, folder: Path) -> None:
    add_string(days, FIRST, "hello")
    days.close()
    for day in DAYS[1:]:
        shutil.copyfile(days.path(FIRST), days.path(day))
    for _ in range(2):
        for day in DAYS:
            with ExitStack() as stack:
                for _ in range(4):
                    reader = stack.enter_context(days.read(day))
                    assert reader is not None
                    assert reader.rows("SELECT text FROM strings") == [("hello",)]
    assert 0 < open_files(folder) <= 3 * sqlite.IDLE_READERS
    for day in DAYS:
        add_string(days, day, "there")
    assert open_files(folder) <= 3 * (sqlite.IDLE_READERS + sqlite.OPEN_DAYS)
    days.close()
    assert open_files(folder) == 0


def test_the_reader_used_last_is_kept_and_the_oldest_closed(
    days: SqliteDayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "IDLE_READERS", 2)
    for day in DAYS[:3]:
        add_string(days, day, day.isoformat())
    for day in (DAYS[0], DAYS[1], DAYS[0], DAYS[2]):
        assert strings(days, day) == [day.isoformat()]
    assert [reader.day for reader in days._idle] == [DAYS[0], DAYS[2]]


def test_a_day_that_another_process_removed_and_made_again_is_the_new_one(days: SqliteDayStore, folder: Path) -> None:
    other = SqliteDayStore(folder, searchable=True)
    add_string(days, FIRST, "old")
    assert strings(days, FIRST) == ["old"]
    other.remove(FIRST)
    assert strings(days, FIRST) == []
    add_string(other, FIRST, "new")
    assert strings(days, FIRST) == ["new"]
    add_string(days, FIRST, "newer")
    assert strings(other, FIRST) == strings(days, FIRST) == ["new", "newer"]
    other.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_readers_in_use_while_the_store_is_closed_are_closed_after_their_use(
    days: SqliteDayStore, folder: Path
) -> None:
    add_string(days, FIRST, "hello")
    with days.read(FIRST) as reader:
        assert reader is not None
        days.close()
        assert reader.rows("SELECT text FROM strings") == [("hello",)]
    assert open_files(folder) == 0
    assert strings(days, FIRST) == ["hello"]
