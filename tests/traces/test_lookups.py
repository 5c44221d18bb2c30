"""What is looked up by values that come in no order, and days of older and newer layouts."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import apsw
import pytest
import sqlalchemy as sa

from tests.traces.makers import NOON, SECOND, call, context, differences, record, traffic, write
from tidemill.core.kernel import Kernel
from tidemill.traces import service
from tidemill.traces.service import TraceStore
from tidemill.traces.store.sqlite import SqliteDayStore
from tidemill.traces.types import TraceFilter, TraceIdInvalid, TracesUnavailable

DAY = datetime.fromtimestamp(NOON / SECOND, UTC).date()

# What the days of earlier versions had, made of a day of today.
LAYOUT_1 = (
    "DROP INDEX strings_text",
    "DROP INDEX traces_trace",
    "CREATE UNIQUE INDEX strings_unique ON strings (text)",
    "CREATE UNIQUE INDEX traces_unique ON traces (trace)",
)
LAYOUT_2 = (
    "DROP INDEX strings_text",
    "DROP INDEX traces_trace",
    "DROP INDEX traces_session",
    "DROP INDEX traces_user",
    "DROP INDEX spans_response",
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, stamp INTEGER, level INTEGER, size INTEGER, firsts TEXT)",
    "CREATE TABLE parts (id INTEGER PRIMARY KEY, data TEXT)",
    "INSERT INTO runs (id, stamp, level, size, firsts) VALUES (1, 7, 0, 1, 'x')",
)
INDEXES = {"strings_text", "traces_trace", "traces_session", "traces_user", "spans_response"}


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


def test_traces_are_found_by_the_beginning_of_their_ids(kernel: Kernel) -> None:
    ids = [bytes.fromhex(digits.ljust(32, "0")) for digits in ("ab12cd", "ab12345678aa", "ab12345678ab", "0")]
    ids[3] = bytes(15) + b"\x07"  # as 64-bit ids are padded
    write(kernel, *(record(at, start=NOON, trace_id=trace) for at, trace in enumerate(ids, 1)))
    ask = context(kernel)
    assert service.get_trace(ask, "ab12345678aa").summary.trace_id == ids[1].hex()
    assert service.get_trace(ask, "0" * 31).summary.trace_id == ids[3].hex()
    for several in ("ab1234", "ab1234567", "ab12345678a"):
        with pytest.raises(TraceIdInvalid, match="Several"):
            service.get_trace(ask, several)


def test_users_and_sessions_are_found_as_they_were_told_last(kernel: Kernel) -> None:
    write(kernel, *traffic(400))
    write(kernel, call(2, trace=9, parent=1, start=NOON, user="ada", session="early"))
    write(kernel, record(1, trace=9, start=NOON, user="bob"))  # the root says whose the trace is
    ask = context(kernel)

    def listed(**where: Any) -> list[str]:
        return [one.trace_id for one in service.list_traces(ask, TraceFilter(**where), limit=200).items]

    assert listed(user="ada") == []
    assert listed(user="bob") == listed(session="early") == listed(user="bob", session="early") == ["0" * 31 + "9"]
    every = service.list_traces(ask, TraceFilter(), limit=200).items
    for user in ("user-3", "user-11"):
        assert listed(user=user) == [one.trace_id for one in every if one.user == user] != []
    assert listed(user="user-3", calls=True) != []
    assert listed(user="nobody") == []
    of_bob = service.list_sessions(ask, TraceFilter(user="bob")).items
    assert [(one.session, one.user) for one in of_bob] == [("early", "bob")]
    assert service.list_sessions(ask, TraceFilter(user="nobody")).items == []


def test_a_reply_is_the_span_that_was_counted_wherever_it_is_stored(kernel: Kernel) -> None:
    write(kernel, call(1, trace=1, response_id="chatcmpl-a", start=NOON))
    write(kernel, call(2, trace=2, response_id="chatcmpl-a", start=NOON))
    first = service.find_response(context(kernel), "chatcmpl-a")
    assert first is not None
    assert first.span_id[-1] == "1"
    assert service.find_response(context(kernel), "chatcmpl-b") is None


def test_long_values_of_any_script_are_stored_and_found(kernel: Kernel) -> None:
    # 4,096 bytes that do not compress: more than a page of some indexes takes.
    long = "".join(chr(0x20000 + (at * 7919) % 40_000) for at in range(1024))
    write(kernel, call(1, start=NOON, user=long, response_id=long))
    ask = context(kernel)
    assert [one.user for one in service.list_traces(ask, TraceFilter(user=long)).items] == [long]
    assert service.find_response(ask, long) is not None


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
        assert again.write(spans[:10]) == 0
        assert again.write([call(3, trace=9, start=NOON, user="ada", response_id="chatcmpl-2")]) == 1
        tables, indexes = names_of(kernel)
        assert indexes >= INDEXES
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
