"""The tables of one day. They are written for SQLite; PostgreSQL has the same in a schema of the day's own."""

from datetime import date

from tidemill.traces.types import TracesUnavailable

VERSION = 4
"""Of the layout; stored with each day. A day of an older layout is upgraded before it is written to, or once read."""

INTERNED = (
    "name",
    "service",
    "model",
    "provider",
    "operation",
    "release_id",
    "environment",
    "deployment_id",
    "prompt",
    "key_id",
    "user_id",
    "session_id",
    "finish_reason",
    "cost_source",
    "price_version",
    "dialect",
)
"""Columns of a span that hold the number of a string."""

SPAN_COLUMNS = (
    "id",
    "trace",
    "span",
    "parent",
    "kind",
    "status",
    "start_us",
    "duration_us",
    "counted",
    "status_message",
    "response_id",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "ttft_us",
    "cost",
    "truncated",
    "block",
    "slot",
    *INTERNED,
)

TRACE_COLUMNS = (
    "id",
    "trace",
    "start_us",
    "end_us",
    "root",
    "status",
    "spans",
    "errors",
    "input_tokens",
    "output_tokens",
    "cost",
    "name",
    "service",
    "model",
    "release_id",
    "environment",
    "user_id",
    "session_id",
    "input",
    "output",
)

SUMS = (
    "spans",
    "traces",
    "trace_errors",
    "calls",
    "errors",
    "input_tokens",
    "output_tokens",
    "cost",
)
"""Columns of a roll-up that add up."""

ROLLUP_COLUMNS = ("grain", "level", "t", "key", *SUMS, "first_us", "last_us", "sketch", "trace_sketch")

TABLES = (
    "CREATE TABLE strings (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
    """CREATE TABLE traces (
        id INTEGER PRIMARY KEY, trace BLOB NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL,
        root INTEGER, status INTEGER NOT NULL, spans INTEGER NOT NULL, errors INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost REAL,
        name INTEGER NOT NULL, service INTEGER, model INTEGER, release_id INTEGER, environment INTEGER,
        user_id INTEGER, session_id INTEGER, input TEXT, output TEXT)""",
    "CREATE INDEX traces_start ON traces (start_us)",
    """CREATE TABLE spans (
        id INTEGER PRIMARY KEY, trace INTEGER NOT NULL, span INTEGER NOT NULL, parent INTEGER,
        kind INTEGER NOT NULL, status INTEGER NOT NULL, start_us INTEGER NOT NULL, duration_us INTEGER NOT NULL,
        counted INTEGER NOT NULL, status_message TEXT, response_id TEXT, input_tokens INTEGER, output_tokens INTEGER,
        cached_tokens INTEGER, reasoning_tokens INTEGER, ttft_us INTEGER, cost REAL, truncated TEXT,
        block INTEGER NOT NULL, slot INTEGER NOT NULL, """
    + ", ".join(f"{name} INTEGER" for name in INTERNED)
    + ")",
    "CREATE UNIQUE INDEX spans_ids ON spans (trace, span)",
    "CREATE INDEX spans_start ON spans (start_us)",
    "CREATE INDEX spans_failed ON spans (start_us) WHERE status = 2",
    """CREATE TABLE rollups (
        grain INTEGER NOT NULL, level INTEGER NOT NULL, t INTEGER NOT NULL, key INTEGER NOT NULL,
        spans INTEGER NOT NULL, traces INTEGER NOT NULL, trace_errors INTEGER NOT NULL, calls INTEGER NOT NULL,
        errors INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost REAL NOT NULL,
        first_us INTEGER NOT NULL, last_us INTEGER NOT NULL, sketch BLOB, trace_sketch BLOB,
        PRIMARY KEY (grain, level, t, key)) WITHOUT ROWID""",
)

INDEXES = (
    "CREATE INDEX IF NOT EXISTS strings_text ON strings (text)",
    "CREATE UNIQUE INDEX IF NOT EXISTS traces_trace ON traces (trace)",
    "CREATE INDEX IF NOT EXISTS traces_by_session ON traces (session_id, start_us) WHERE session_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS traces_by_user ON traces (user_id, start_us) WHERE user_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS spans_by_response ON spans (response_id) WHERE response_id IS NOT NULL",
)
"""Indexes on values that come in no order."""

OLD_INDEXES = (
    "DROP INDEX IF EXISTS traces_session",
    "DROP INDEX IF EXISTS traces_user",
    "DROP INDEX IF EXISTS spans_response",
    "DROP TABLE IF EXISTS parts",
    "DROP TABLE IF EXISTS runs",
)
"""Drops what older layouts had in the place of INDEXES: layout 1 three of them, layout 2 an index in sorted runs.

The three have other names now: a server of layout 2, which drops them from each schema without runs, fails at that and
changes nothing.
"""

WORDS = (
    # Its words are folded before they come; the rule of "ascii" leaves them as they are.
    "CREATE VIRTUAL TABLE IF NOT EXISTS words USING "
    "fts5(body, content='', detail=none, columnsize=0, tokenize='ascii')",
    # Runs of words are put together 16 at a time, and by each commit a little: FTS5 itself would do it all at once.
    "INSERT INTO words (words, rank) VALUES ('automerge', 0)",
    "INSERT INTO words (words, rank) VALUES ('usermerge', 16)",
    "INSERT INTO words (words, rank) VALUES ('crisismerge', 32)",
)
"""The index of words. Days that layout 3 or older began keep theirs, `search`, for the spans that are in it."""

SQLITE = (
    *TABLES,
    *INDEXES,
    "CREATE TABLE blocks (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    *WORDS,
    f"PRAGMA user_version = {VERSION}",
)


def _for_postgres(statement: str) -> str:
    for sqlite, postgres in (
        ("INTEGER", "BIGINT"),
        ("BLOB", "BYTEA"),
        ("REAL", "DOUBLE PRECISION"),
        (" WITHOUT ROWID", ""),
        # A B-tree of PostgreSQL refuses values of more than 2.7 KB, and 1,024 characters may be 4 KB.
        ("ON strings (text)", "ON strings USING hash (text)"),
        ("ON spans (response_id)", "ON spans USING hash (response_id)"),
    ):
        statement = statement.replace(sqlite, postgres)
    return statement


POSTGRES = (
    *(_for_postgres(statement) for statement in (*TABLES, *INDEXES)),
    # Words by block and not by span: an index over the words of every span costs 3.6 KB a span, this one some 30 bytes.
    "CREATE TABLE blocks (id BIGINT PRIMARY KEY, data BYTEA NOT NULL, words INTEGER[])",
    "ALTER TABLE blocks ALTER COLUMN data SET STORAGE EXTERNAL",  # it is compressed already
    "CREATE INDEX blocks_words ON blocks USING gin (words)",
)

UPGRADE_SQLITE = (*INDEXES, *OLD_INDEXES, *WORDS, f"PRAGMA user_version = {VERSION}")
UPGRADE_POSTGRES = (*(_for_postgres(statement) for statement in INDEXES), *OLD_INDEXES)
"""What brings a day of an older layout to this one."""


def newer_layout(day: date, layout: int) -> TracesUnavailable:
    """Return the error for a day that a newer version stored."""
    return TracesUnavailable(
        f"The traces of {day} were stored by a newer version: layout {layout}, this one knows {VERSION}.",
        hint="Start the newer version again.",
    )
