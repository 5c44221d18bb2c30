"""The store of spans, behind one class: everything else in this package is its own affair.

    store = TraceStore(settings, db)

    store.write(records)                                  # spans in, each on the day it began; duplicates are left out
    store.get_trace(trace_id, ...), store.get_span(...)   # one trace as a tree, one span
    store.trace_ids_with_prefix(digits)
    store.find_responses(response_ids, ...)               # spans by the ids of their responses
    store.list_traces(...), store.list_spans(...)         # pages of traces; the spans of a time
    store.search_spans(...)                               # spans with words
    store.read_tail(...), store.tail_end()                # spans in the order of their commits
    store.get_series(...), store.count_by_minute(...), store.touched_minutes(...)      # roll-ups and exact counts
    store.list_sessions(...), store.list_users(...), store.list_callers(...), store.count_answered(...)
    store.traces_of_users(...), store.response_ids_in(...), store.count_spans(...), store.erase_traces(...)    # erasure
    store.list_days(), store.use(day), store.erase_day(day), store.drop_minutes(before)                   # retention

A day is one SQLite file, or one schema of a PostgreSQL database. What comes back are frozen values of `traces.types`.
"""

from tidemill.traces.store.blocks import pack_payload
from tidemill.traces.store.minutes import MinuteCount
from tidemill.traces.store.sessions import SessionPlace
from tidemill.traces.store.span_list import Position, SpanPlace
from tidemill.traces.store.trace_list import TracePlace
from tidemill.traces.store.trace_store import TraceStore

__all__ = [
    "MinuteCount",
    "Position",
    "SessionPlace",
    "SpanPlace",
    "TracePlace",
    "TraceStore",
    "pack_payload",
]
