"""Loops that rest until something is committed."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import sqlalchemy as sa

from tidemill.core.background import BackgroundLoop
from tidemill.core.changes import Pace
from tidemill.core.db import Database

AGES = 3600.0
"""Seconds that no test waits for."""


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    with opened.begin() as conn:
        conn.execute(sa.text("CREATE TABLE things (name VARCHAR(20))"))
    yield opened
    with opened.begin() as conn:
        conn.execute(sa.text("DROP TABLE things"))
    opened.close()


def commit(db: Database) -> None:
    with db.begin() as conn:
        conn.execute(sa.text("INSERT INTO things VALUES ('a thing')"))


def ends(work: Callable[[], None], meanwhile: Callable[[], None]) -> bool:
    """Whether `work`, begun in a thread, ends after `meanwhile`."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    meanwhile()
    thread.join(timeout=60)
    return not thread.is_alive()


def test_a_commit_calls_every_listener_and_what_is_rolled_back_calls_none(db: Database) -> None:
    heard: list[str] = []
    listeners = [lambda: heard.append("first"), lambda: heard.append("second")]
    for listener in listeners:
        db.changes._listeners += (listener,)  # without the watcher, which would call them too
    with suppress(ZeroDivisionError), db.begin():
        raise ZeroDivisionError
    with db.read():
        pass
    assert heard == []
    commit(db)
    assert heard == ["first", "second"]
    db.changes.unsubscribe(listeners[0])
    commit(db)
    assert heard == ["first", "second", "second"]


def test_a_wait_ends_when_it_is_woken_however_long_the_calm(db: Database) -> None:
    pace = Pace(db.changes, AGES)
    assert ends(lambda: pace.wait(AGES), pace.wake)
    pace.wake()
    assert ends(lambda: pace.wait(AGES), lambda: None), "a call before the wait counts"
    assert ends(lambda: pace.wait(AGES), pace.close)


def test_a_wait_ends_with_a_commit_before_or_during_it(db: Database) -> None:
    pace = Pace(db.changes, 0.01)
    commit(db)
    assert ends(lambda: pace.wait(AGES), lambda: None)
    assert ends(lambda: pace.wait(AGES), lambda: commit(db))


def test_a_wait_ends_with_a_commit_of_another_process(db: Database, database_url: str) -> None:
    other = Database(database_url)
    pace = Pace(db.changes, 0.01)
    assert ends(lambda: pace.wait(AGES), lambda: commit(other))
    other.close()


def test_the_watch_of_other_processes_ends_with_the_database(database_url: str) -> None:
    db = Database(database_url)
    Pace(db.changes, 0.01)
    watcher = db.changes._watcher
    assert watcher is not None
    assert watcher.is_alive()
    db.close()
    assert not watcher.is_alive()


def test_a_loop_rests_until_a_commit(home) -> None:
    """On SQLite, where nothing is committed, nothing is looked for."""
    db = Database(f"sqlite:///{home / 'things.db'}")
    with db.begin() as conn:
        conn.execute(sa.text("CREATE TABLE things (name VARCHAR(20))"))
    steps = threading.Semaphore(0)

    def step() -> bool:
        steps.release()
        return False

    loop = BackgroundLoop("test", step, lambda: AGES, db.changes, logging.getLogger("test"), tick_s=0.01)
    loop.start()
    assert steps.acquire(timeout=60)
    while steps.acquire(timeout=2.5):  # the watch itself may begin with one call
        pass
    commit(db)
    assert steps.acquire(timeout=60)
    loop.stop(60)
    assert not loop.thread.is_alive()
    db.close()
