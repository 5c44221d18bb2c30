"""Days of older and newer layouts: upgraded beside everything else, or left alone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest
import sqlalchemy as sa

from tests.postgres import Postgres
from tests.traces.makers import NOON, SECOND, call, differences, record, traffic, write
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.server.app import build_kernel
from tidemill.traces import service
from tidemill.traces.service import TraceStore
from tidemill.traces.store import words
from tidemill.traces.store.postgres import PostgresDayStore
from tidemill.traces.store.sqlite import SqliteDayStore
from tidemill.traces.store.upgrades import DayUpgrader
from tidemill.traces.types import TraceFilter, TracesUnavailable

DAY = datetime.fromtimestamp(NOON / SECOND, UTC).date()
TOMORROW = NOON + 86_400 * SECOND

# What the days of earlier versions had, made of a day of today.
WITHOUT_INDEXES = (
    "DROP INDEX strings_text",
    "DROP INDEX traces_trace",
    "DROP INDEX traces_by_session",
    "DROP INDEX traces_by_user",
    "DROP INDEX spans_by_response",
)
LAYOUT_1 = (
    *WITHOUT_INDEXES,
    "CREATE UNIQUE INDEX strings_unique ON strings (text)",
    "CREATE UNIQUE INDEX traces_unique ON traces (trace)",
    "CREATE INDEX traces_session ON traces (session_id, start_us)",
    "CREATE INDEX traces_user ON traces (user_id, start_us)",
    "CREATE INDEX spans_response ON spans (response_id)",
)
RUNS = (
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, stamp INTEGER, level INTEGER, size INTEGER, firsts TEXT)",
    "CREATE TABLE parts (id INTEGER PRIMARY KEY, data TEXT)",
    "INSERT INTO runs (id, stamp, level, size, firsts) VALUES (1, 7, 0, 1, 'x')",
)
LAYOUT_2 = (*WITHOUT_INDEXES, *RUNS)
INDEXES = {"strings_text", "traces_trace", "traces_by_session", "traces_by_user", "spans_by_response"}
OLD_INDEXES = {"traces_session", "traces_user", "spans_response"}


def change_day(kernel: Kernel, statements: tuple[str, ...], layout: int) -> None:
    """Change the tables of the day behind the store's back, and its layout to `layout`."""
    days = kernel.get(TraceStore).days
    if isinstance(days, SqliteDayStore):
        kernel.get(TraceStore).close()
        connection = apsw.Connection(str(days.path(DAY)))
        for statement in (*statements, f"PRAGMA user_version = {layout}"):
            connection.execute(statement)
        connection.close()
        return
    schema = f"traces_{DAY:%Y%m%d}"
    # Until layout 3 nothing told the layout of a schema.
    comment = f"'tidemill layout {layout}'" if layout > 2 else "NULL"
    with kernel.db.engine.begin() as conn:
        conn.execute(sa.text(f"SET LOCAL search_path TO {schema}"))
        for statement in (*statements, f"COMMENT ON SCHEMA {schema} IS {comment}"):
            conn.execute(sa.text(statement))


def names_of(kernel: Kernel) -> tuple[set[str], set[str]]:
    """The tables and the indexes of the day."""
    sql = "SELECT tbl_name, name FROM sqlite_master WHERE type IN ('table', 'index')"
    if not kernel.db.is_sqlite:
        sql = f"""SELECT t.tablename, i.indexname FROM pg_tables t LEFT JOIN pg_indexes i
            ON i.schemaname = t.schemaname AND i.tablename = t.tablename WHERE t.schemaname = 'traces_{DAY:%Y%m%d}'"""
    with kernel.get(TraceStore).days.read(DAY) as reader:
        assert reader is not None
        rows = reader.rows(sql)
    return {row[0] for row in rows}, {row[1] for row in rows}


def upgrader_of(store: TraceStore) -> DayUpgrader:
    assert isinstance(store.days, SqliteDayStore | PostgresDayStore)
    return store.days._upgrader


def finishes(action: Callable[[], Any]) -> bool:
    """Whether an action comes to its end in a thread of its own."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


@pytest.mark.parametrize(("layout", "statements"), [(1, LAYOUT_1), (2, LAYOUT_2)])
@pytest.mark.parametrize("by_reading", [True, False])
def test_a_day_of_an_older_layout_is_upgraded_when_it_is_opened(
    kernel: Kernel, layout: int, statements: tuple[str, ...], by_reading: bool
) -> None:
    spans = traffic(100)
    write(kernel, *spans, call(2, trace=9, start=NOON, user="ada", response_id="chatcmpl-1"))
    change_day(kernel, statements, layout)
    again = TraceStore(kernel.settings, kernel.db)
    try:
        if by_reading:
            assert again.get_trace(spans[0].trace_id, payload=True, limit=10) is not None
            assert len(again.find_responses(["chatcmpl-1"], payload=True)) == 1
            assert len(again.list_traces(TraceFilter(user="ada"), limit=10)) == 1
            upgrader_of(again).join()
            assert names_of(kernel)[1] >= INDEXES
        assert again.write(spans[:10]) == 0
        assert again.write([call(3, trace=9, start=NOON, user="ada", response_id="chatcmpl-2")]) == 1
        tables, indexes = names_of(kernel)
        assert indexes >= INDEXES
        assert indexes.isdisjoint(OLD_INDEXES)
        assert tables.isdisjoint({"runs", "parts"})
        assert {"spans", "traces"} <= tables
    finally:
        again.close()
    assert not differences(kernel.get(TraceStore))


def test_a_day_of_a_newer_layout_is_left_alone_and_said_to_be(kernel: Kernel) -> None:
    write(kernel, record(1, start=NOON))
    change_day(kernel, (), 99)
    again = TraceStore(kernel.settings, kernel.db)
    try:
        openings: list[AbstractContextManager[Any]] = [again.days.read(DAY), again.days.write(DAY)]
        for opening in openings:
            with pytest.raises(TracesUnavailable, match="newer version"), opening:
                pass
    finally:
        again.close()


@pytest.fixture
def on_postgres(home: Path, postgres: Postgres) -> Iterator[Kernel]:
    kernel = build_kernel(Settings(home=home, database_url=postgres.clone()))
    yield kernel
    kernel.close()


@pytest.mark.parametrize("index", sorted(OLD_INDEXES))
def test_a_server_of_layout_2_fails_before_it_changes_a_day_of_this_one(on_postgres: Kernel, index: str) -> None:
    write(on_postgres, call(1, start=NOON, user="ada"))
    with on_postgres.db.engine.connect() as conn:
        conn.execute(sa.text(f"SET search_path TO traces_{DAY:%Y%m%d}"))
        with pytest.raises(sa.exc.ProgrammingError, match="does not exist"):
            conn.execute(sa.text(f"DROP INDEX {index}"))  # what such a server begins with where it sees no runs


@pytest.mark.parametrize("by_reading", [True, False])
def test_a_day_that_has_runs_again_is_upgraded_again(on_postgres: Kernel, by_reading: bool) -> None:
    write(on_postgres, *traffic(50), call(1, start=NOON, user="ada", response_id="chatcmpl-1"))
    with on_postgres.db.engine.begin() as conn:
        conn.execute(sa.text(f"SET LOCAL search_path TO traces_{DAY:%Y%m%d}"))
        for statement in (*WITHOUT_INDEXES[2:], *RUNS):
            conn.execute(sa.text(statement))
    store = on_postgres.get(TraceStore)
    if by_reading:
        assert len(store.list_traces(TraceFilter(user="ada"), limit=10)) == 1
        upgrader_of(store).join()
    else:
        write(on_postgres, call(2, start=NOON, user="ada"))
    tables, indexes = names_of(on_postgres)
    assert indexes >= INDEXES
    assert tables.isdisjoint({"runs", "parts"})


def test_erasing_drops_and_rewrites_what_an_older_server_stored(on_postgres: Kernel) -> None:
    write(on_postgres, *traffic(50), call(1, start=NOON, user="ada"))
    with on_postgres.db.engine.begin() as conn:
        conn.execute(sa.text(f"SET LOCAL search_path TO traces_{DAY:%Y%m%d}"))
        for statement in (*RUNS, "CREATE TABLE extra (text TEXT)", "INSERT INTO extra VALUES ('x')"):
            conn.execute(sa.text(statement))
        files = _files(conn)
    store = on_postgres.get(TraceStore)
    assert store.erase_traces(DAY, store.traces_of_users(["ada"])) == 1
    with on_postgres.db.engine.begin() as conn:
        rewritten = _files(conn)
    assert set(rewritten) == set(files) - {"runs", "parts"}
    assert all(rewritten[table] != files[table] for table in rewritten)


def _files(conn: sa.Connection) -> dict[str, int]:
    """Table of the day -> number of its file."""
    sql = f"""SELECT c.relname, pg_relation_filenode(c.oid) FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'traces_{DAY:%Y%m%d}' AND c.relkind = 'r'"""
    return {table: number for table, number in conn.execute(sa.text(sql))}


def test_only_the_day_that_is_upgraded_waits_for_it(kernel: Kernel) -> None:
    write(kernel, call(1, trace=1, start=NOON, user="ada", response_id="chatcmpl-1"))
    change_day(kernel, LAYOUT_2, 2)
    store = TraceStore(kernel.settings, kernel.db)
    upgrading, go_on = threading.Event(), threading.Event()

    def upgrade() -> None:
        with store.days.write(DAY):  # it is upgraded, but that is not committed yet
            upgrading.set()
            go_on.wait(120)

    thread = threading.Thread(target=upgrade)
    thread.start()
    try:
        assert upgrading.wait(60)
        assert finishes(lambda: store.write([call(2, trace=2, start=TOMORROW)]))
        assert finishes(lambda: store.list_traces(TraceFilter(user="ada"), limit=10))
        assert [span.trace_id[-1] for span in store.find_responses(["chatcmpl-1"], payload=True).values()] == ["1"]
        assert [summary.trace_id[-1] for _, summary in store.list_traces(TraceFilter(), limit=9)] == ["2", "1"]
        if kernel.db.is_sqlite:  # PostgreSQL does not tell the size of the tables that are dropped at the end
            assert [use.spans for day in store.list_days() if (use := store.use(day))] == [1, 1]
        with kernel.write(OWNER) as ctx:
            assert service.find_response(ctx, "chatcmpl-1") is not None
    finally:
        go_on.set()
        thread.join()
        store.close()
    assert names_of(kernel)[1] >= INDEXES


def test_a_day_is_counted_and_removed_without_an_upgrade(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    write(kernel, *traffic(50), call(1, trace=1, start=TOMORROW))
    change_day(kernel, LAYOUT_2, 2)

    def fail(*_: object) -> None:
        raise AssertionError("a day was upgraded only to be removed")

    for kind, name in ((SqliteDayStore, "_create_or_upgrade"), (PostgresDayStore, "_upgrade_from")):
        monkeypatch.setattr(kind, name, fail)
    monkeypatch.setattr(DayUpgrader, "request", fail)
    store = kernel.get(TraceStore)
    with kernel.read(OWNER) as ctx:
        assert [use.spans for use in service.list_days(ctx)] == [1, 50]
    store.drop_minutes(DAY)
    pruned = service.prune(kernel, OWNER, datetime.fromtimestamp(TOMORROW / SECOND, UTC).date())
    assert [(use.spans, use.traces) for use in pruned.days] == [(50, 10)]
    assert len(store.list_days()) == 1


def test_a_day_is_removed_while_nobody_waits_for_the_main_database(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kernel, call(1, start=NOON))
    days = kernel.get(TraceStore).days
    remove, removed = days.remove, []

    def remove_and_write(day: Any) -> int:
        def change() -> None:
            with kernel.write(OWNER) as ctx:
                service.tail_end(ctx)
            removed.append(day)

        assert finishes(change)
        return remove(day)

    monkeypatch.setattr(days, "remove", remove_and_write)
    service.prune(kernel, OWNER, datetime.fromtimestamp(TOMORROW / SECOND, UTC).date())
    assert removed == [DAY]
    assert kernel.get(TraceStore).list_days() == []


def test_an_upgrade_that_fails_is_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[Any] = []

    def upgrade(day: Any) -> None:
        tried.append(day)
        raise TracesUnavailable("No room.", hint="") if len(tried) == 1 else RuntimeError("broken")

    upgrader = DayUpgrader(upgrade)
    for _ in range(3):
        upgrader.request(DAY)
        upgrader.join()
    assert tried == [DAY], "not at once"
    upgrader._tried.clear()  # as if a minute had passed
    upgrader.request(DAY)
    upgrader.join()
    assert tried == [DAY, DAY]
    assert [entry.levelname for entry in caplog.records] == ["WARNING", "ERROR"]


LAYOUT_3_WORDS = (
    "DROP TABLE words",
    "CREATE VIRTUAL TABLE search USING fts5(body, content='', detail=none, columnsize=0)",
)


def test_words_of_older_days_are_found_beside_those_of_new_spans(kernel: Kernel) -> None:
    texts = {1: "Grüße aus Köln", 2: "die Straße ist lang"}
    write(kernel, *(call(n, trace=n, start=NOON + n, text=text) for n, text in texts.items()))
    if kernel.db.is_sqlite:
        rows = tuple(f"INSERT INTO search (rowid, body) VALUES ({n}, '{text}')" for n, text in texts.items())
        change_day(kernel, (*LAYOUT_3_WORDS, *rows), 3)
    else:
        old = {n: sorted(words.old_word_numbers(f"{text} you said chat")) for n, text in texts.items()}
        statement = f"UPDATE blocks SET words = ARRAY{sorted({*old[1], *old[2]})}::int[]"
        change_day(kernel, (statement,), 3)
    again = TraceStore(kernel.settings, kernel.db)
    try:
        assert ids_with(again, "Köln") == [1]
        assert again.write([call(3, trace=3, start=NOON + 3, text="你好 Köln 東京タワー")]) == 1
        assert ids_with(again, "Köln") == [3, 1]
        assert ids_with(again, "KÖLN Grüße") == [1]
        assert ids_with(again, "Straße") == [2]
        assert ids_with(again, "タワー") == [3]
        assert again.erase_traces(DAY, {call(3, trace=3).trace_id}) == 1
        assert ids_with(again, "Köln") == [1]
        assert ids_with(again, "straße") == [2]
    finally:
        again.close()


def ids_with(store: TraceStore, text: str) -> list[int]:
    return [int(span.span_id, 16) for _, span in store.search_spans(text, TraceFilter(), limit=10)]
