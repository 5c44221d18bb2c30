"""The indexes of words in a day of SQLite: that of this layout, and in older days one more."""

from collections.abc import Sequence

import apsw

from tidemill.traces.store import words

NEAR = 400
"""Reading so many more words costs as much as looking up one more span."""


def search(connection: apsw.Connection, text: str, below: int, limit: int) -> list[int]:
    """Return ids below `below` of spans with all words of `text`, newest first, at most `limit`."""
    ids: list[int] = []
    for table, query in _tables(connection, text):  # the older one has the lower ids
        sql = f"SELECT rowid FROM {table} WHERE {table} MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"
        ids += [row[0] for row in connection.execute(sql, (query, below, limit - len(ids)))]
    return ids


def with_words(connection: apsw.Connection, text: str, ids: Sequence[int]) -> set[int]:
    """Return those of these spans that have all words of `text`. Spans near each other are looked up together."""
    tables, ordered, matching = _tables(connection, text), sorted(ids), set[int]()
    first = 0
    for at, number in enumerate(ordered):
        if at + 1 == len(ordered) or ordered[at + 1] - number > NEAR:
            for table, query in tables:
                sql = f"SELECT rowid FROM {table} WHERE {table} MATCH ? AND rowid BETWEEN ? AND ?"
                matching.update(row[0] for row in connection.execute(sql, (query, ordered[first], number)))
            first = at + 1
    return matching.intersection(ordered)


def _tables(connection: apsw.Connection, text: str) -> list[tuple[str, str]]:
    """Return the indexes that the day has, the newest first, with the query for each."""
    sql = "SELECT name FROM sqlite_master WHERE name IN ('words', 'search') ORDER BY name DESC"
    queries = {"words": words.match_query(text), "search": words.old_match_query(text)}
    return [(name, queries[name]) for (name,) in connection.execute(sql) if queries[name]]
