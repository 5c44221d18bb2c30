"""Words and filters together find what a look at every span finds: on SQLite and on PostgreSQL, from either side."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.traces.makers import NOON, SECOND, context, traffic, write
from tidemill.core.kernel import Kernel
from tidemill.traces import service
from tidemill.traces.store import search as store_search
from tidemill.traces.types import SpanPayload, SpanRecord, TraceFilter

START = datetime.fromtimestamp(NOON / SECOND, UTC)
FILTERS: list[dict[str, Any]] = [
    {},
    {"status": "error"},
    {"user": "user-7"},
    {"user": "user-7", "kind": "llm"},
    {"min_ms": 2950.0},
    {"min_ms": 1e9},
    {"session": "session-3", "status": "error"},
    {"until": START + timedelta(minutes=40)},
    {"since": START + timedelta(minutes=90), "model": "small"},
]


def said(count: int) -> list[SpanRecord]:
    """Spans that say common and rare words, in an order that is not that of their time."""
    chance, spans = random.Random(3), traffic(count)
    chance.shuffle(spans)
    for at, span in enumerate(spans):
        words = ["common"] + ["often"] * (chance.random() < 0.4) + ["seldom"] * (at % 97 == 0)
        span.payload = SpanPayload(input=" ".join(words), output="answer")
    return spans


def fits(span: SpanRecord, where: dict[str, Any], text: str, *, timed: bool) -> bool:
    named = {name: value for name, value in where.items() if name not in ("min_ms", "since", "until")}
    return (
        all(getattr(span, name) == value for name, value in named.items())
        and span.duration_ns / 1e6 >= where.get("min_ms", 0)
        and set(text.split()) <= set(str(span.payload.input).split())
        and (not timed or _within(span.start_ns, where))
    )


def _within(start_ns: int, where: dict[str, Any]) -> bool:
    start = datetime.fromtimestamp(start_ns // 1000 / 1_000_000, UTC)
    return where.get("since", start) <= start < where.get("until", start + timedelta(1))


def everything(ask: Any, limit: int) -> list[Any]:
    found, cursor = [], None
    while True:
        page = ask(cursor=cursor, limit=limit)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("small", [False, True])
def test_words_and_filters_find_what_a_look_at_every_span_finds(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    if small:  # as if the store were large: pages are not filled by the first look
        for name, value in {"FIRST_TESTED": 5, "MAX_TESTED": 10, "RARE_SPANS": 12, "MAX_PORTION": 40}.items():
            monkeypatch.setattr(store_search, name, value)
    spans = said(500)
    for begin in range(0, 500, 100):
        write(kernel, *spans[begin : begin + 100])
    begun: dict[bytes, int] = {}
    for span in spans:
        begun[span.trace_id] = min(span.start_ns // 1000, begun.get(span.trace_id, 1 << 62))
    ctx = context(kernel)
    for text in ("common", "often common", "seldom", "nowhere"):
        for where in FILTERS:
            asked = TraceFilter.model_validate(where)

            def search(**page: Any) -> Any:
                return service.search_spans(ctx, text, asked, **page)  # noqa: B023

            def listed(**page: Any) -> Any:
                return service.list_traces(ctx, asked, text=text, **page)  # noqa: B023

            there = [s.span_id.hex() for s in spans if fits(s, where, text, timed=True)]
            found = [s.span_id for s in everything(search, 30)]
            assert sorted(found) == sorted(there), (text, where)
            assert len(set(found)) == len(found)
            with_words = {s.trace_id for s in spans if fits(s, where, text, timed=False)}
            wanted = [t for t in with_words if _within(begun[t] * 1000, where)]
            wanted.sort(key=lambda trace: (begun[trace], trace), reverse=True)
            assert [t.trace_id for t in everything(listed, 7)] == [t.hex() for t in wanted], (text, where)


def test_the_busiest_callers_come_first_and_no_more_than_asked_for(kernel: Kernel) -> None:
    spans = traffic(400, spread_s=3 * 86_400, start=NOON - 2 * 86_400 * SECOND)
    write(kernel, *spans)
    calls = [s for s in spans if s.model == "small"]
    counts: dict[tuple[Any, ...], list[int]] = {}
    for call in calls:
        counts.setdefault((call.key_id, call.user, call.service, call.environment), []).append(call.start_ns // 1000)
    since = START - timedelta(days=3)
    found = service.list_callers(context(kernel), model="small", since=since)
    assert {(c.key_id, c.user, c.service, c.environment): (c.requests, c.first, c.last) for c in found} == {
        who: (len(at), *(datetime.fromtimestamp(t / 1e6, UTC) for t in (min(at), max(at))))
        for who, at in counts.items()
    }
    assert [c.requests for c in found] == sorted((len(at) for at in counts.values()), reverse=True)
    assert service.list_callers(context(kernel), model="small", since=since, limit=3) == found[:3]
