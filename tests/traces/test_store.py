"""What is stored is found again: on SQLite and on PostgreSQL."""

import threading
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from tests.traces.makers import NOON, SECOND, call, context, differences, record, traffic, write
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.traces import service
from tidemill.traces.retention import Retention
from tidemill.traces.service import TraceStore
from tidemill.traces.sketch import GAMMA
from tidemill.traces.store.blocks import Block, compress_block, compressor, pack_payload
from tidemill.traces.types import (
    EventRecord,
    LinkRecord,
    SpanPayload,
    SpanRecord,
    TraceFilter,
    TraceIdInvalid,
    TraceNotFound,
    TraceQueryInvalid,
)


def at(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / SECOND, UTC)


def test_a_span_comes_back_as_it_went_in(kernel: Kernel) -> None:
    given = call(
        2, parent=1, start=NOON, status="error", status_message="it broke", service="shop", provider="openai",
        operation="chat", response_id="chatcmpl-1", release_id="rel_1", environment="prod", deployment_id="dep_1",
        prompt="triage@3", key_id="key_1", user="ada", session="s1", finish_reason="stop", cached_tokens=3,
        reasoning_tokens=1, ttft_ms=12.5, cost_usd=0.0021, cost_source="list", price_version="v1", dialect="otel",
        truncated=["input: cut"],
    )  # fmt: skip
    given.payload.attributes = {"a": 1, "b": [True, None, {"c": 2.5}], "nul": "x\x00y"}
    given.payload.events = [EventRecord(NOON + 5, "exception", {"type": "Boom"})]
    given.payload.links = [LinkRecord("ab" * 16, "cd" * 8)]
    given.payload.resource, given.payload.scope = {"service.name": "shop"}, "openai 1.0"
    write(kernel, given)
    found = service.get_span(context(kernel), given.trace_id.hex(), given.span_id.hex())
    for name in SpanRecord.__struct_fields__:
        if name not in ("trace_id", "span_id", "parent_id", "start_ns", "duration_ns", "payload", "packed"):
            assert getattr(found, name) == getattr(given, name), name
    assert (found.trace_id, found.span_id, found.parent_id) == ("0" * 31 + "1", "0" * 15 + "2", "0" * 15 + "1")
    assert (found.start, found.duration_ms) == (at(NOON), 1000.0)
    assert (found.input, found.output) == (given.payload.input, given.payload.output)
    assert found.attributes == given.payload.attributes
    assert found.events[0].attributes == {"type": "Boom"}
    assert found.links[0].trace_id == "ab" * 16
    assert (found.resource, found.scope) == ({"service.name": "shop"}, "openai 1.0")
    reply = service.find_response(context(kernel), "chatcmpl-1")
    assert reply == found
    assert service.find_response(context(kernel), "chatcmpl-2") is None


def test_a_payload_is_stored_as_plain_maps_as_earlier_versions_stored_it() -> None:
    events = [EventRecord(NOON, "exception", {"type": "Boom"})]
    payload = SpanPayload(output="no", events=events, links=[LinkRecord("ab" * 16, "cd" * 8)])
    stored = {
        "output": "no",
        "events": [{"at": NOON, "name": "exception", "attributes": {"type": "Boom"}}],
        "links": [{"trace_id": "ab" * 16, "span_id": "cd" * 8, "attributes": {}}],
    }
    packed = msgspec.msgpack.encode(stored)
    assert pack_payload(payload) == packed
    assert Block(compress_block([packed], compressor())).payload(0) == payload


def test_numbers_beyond_64_bits_are_stored_as_their_text() -> None:
    big = 10**30
    payload = SpanPayload(
        input=[{"role": "user", "content": big}],
        attributes={"a": {"minimum": -big}, "b": [1, 2**63]},
        events=[EventRecord(NOON, "exception", {"size": big})],
    )
    stored = Block(compress_block([pack_payload(payload)], compressor())).payload(0)
    assert stored.input == [{"role": "user", "content": str(big)}]
    assert stored.attributes == {"a": {"minimum": str(-big)}, "b": [1, str(2**63)]}
    assert stored.events == [EventRecord(NOON, "exception", {"size": str(big)})]


def test_the_sums_equal_a_recount_also_after_spans_sent_twice(kernel: Kernel) -> None:
    spans = traffic(600)
    for begin in range(0, 600, 70):
        write(kernel, *spans[begin : begin + 70])
    write(kernel, *spans[100:400], *spans[100:130])  # an exporter that heard no answer sends again
    store = kernel.get(TraceStore)
    assert differences(store) == []
    assert [use.spans for use in service.list_days(context(kernel))] == [600]
    points = service.get_series(context(kernel), since=at(NOON), until=at(NOON + 7300 * SECOND))
    assert sum(point.requests for point in points) == 240
    assert sum(point.cost_usd for point in points) == pytest.approx(60.0)
    by_model = service.get_series(context(kernel), since=at(NOON), until=at(NOON + 7300 * SECOND), by="model")
    assert {point.key for point in by_model} == {"small", "large"}
    assert sum(point.requests for point in by_model) == 240
    whole = service.get_series(
        context(kernel), since=at(NOON), until=at(NOON + 7300 * SECOND), measure="traces", grain="day"
    )
    assert [point.requests for point in whole] == [120]
    true = sorted(span.duration_ns / 1e6 for span in spans if span.parent_id is None)
    assert whole[0].p50_ms is not None
    assert true[59] / GAMMA <= whole[0].p50_ms <= true[60] * GAMMA


def test_a_late_span_goes_to_its_day_and_a_trace_over_midnight_is_one(kernel: Kernel) -> None:
    midnight = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) * SECOND
    root = record(1, trace=9, start=midnight - SECOND, duration_ns=3 * SECOND, name="over midnight")
    late = call(2, trace=9, parent=1, start=midnight + SECOND, model="small", cost_usd=0.5)
    write(kernel, late)
    write(kernel, root)
    assert [use.day for use in service.list_days(context(kernel))] == ["2026-11-20", "2026-11-19"]
    listed = service.list_traces(context(kernel)).items
    assert [(t.name, t.spans, t.duration_ms, t.model) for t in listed] == [("over midnight", 2, 3000.0, "small")]
    tree = service.get_trace(context(kernel), "9".rjust(32, "0"))
    assert [(node.depth, node.span.name) for node in tree.nodes] == [(0, "over midnight"), (1, "span 2")]
    assert (tree.summary.spans, tree.summary.cost_usd) == (2, 0.5)
    assert differences(kernel.get(TraceStore)) == []


def test_a_reply_told_by_gateway_and_application_counts_once(kernel: Kernel) -> None:
    write(kernel, call(1, response_id="chatcmpl-a", cost_usd=1.0, start=NOON))
    write(kernel, call(2, response_id="chatcmpl-a", cost_usd=1.0, parent=3, start=NOON), record(3, start=NOON))
    trace = service.list_traces(context(kernel)).items[0]
    assert (trace.spans, trace.cost_usd, trace.input_tokens) == (3, 1.0, 10)
    points = service.get_series(context(kernel), since=at(NOON), until=at(NOON + SECOND))
    assert [(p.requests, p.cost_usd) for p in points] == [(1, 1.0)]


def test_listing_pages_through_everything_once(kernel: Kernel) -> None:
    spans = traffic(150, spread_s=3 * 86_400, start=NOON - 2 * 86_400 * SECOND)
    write(kernel, *spans)
    seen: list[str] = []
    cursor = None
    while True:
        page = service.list_traces(context(kernel), cursor=cursor, limit=7)
        seen += [item.trace_id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    starts = {span.trace_id.hex(): span.start_ns for span in spans if span.parent_id is None}
    assert seen == sorted(starts, key=lambda trace: -starts[trace])
    with pytest.raises(TraceQueryInvalid, match="cursor"):
        service.list_traces(context(kernel), cursor="nonsense")


def test_filters_find_the_traces_with_a_fitting_span(kernel: Kernel) -> None:
    spans = traffic(500)
    write(kernel, *spans)

    def traces(**where: object) -> set[str]:
        page = service.list_traces(context(kernel), TraceFilter.model_validate(where), limit=500)
        assert len(page.items) == len({item.trace_id for item in page.items})
        return {item.trace_id for item in page.items}

    def expected(fits: object) -> set[str]:
        return {span.trace_id.hex() for span in spans if fits(span)}  # type: ignore[operator]

    assert traces(model="large") == expected(lambda s: s.model == "large")
    assert traces(model="large", status="error") == expected(lambda s: s.model == "large" and s.status == "error")
    assert traces(release_id="rel_a", environment="dev") == expected(
        lambda s: s.release_id == "rel_a" and s.environment == "dev"
    )
    assert traces(user="user-3") == expected(lambda s: s.user == "user-3")
    assert traces(session="session-7", model="small") == expected(
        lambda s: s.session == "session-7" and s.model == "small"
    )
    assert traces(min_ms=2900) == expected(lambda s: s.duration_ns >= 2_900_000_000)
    assert traces(kind="retriever") == set()
    assert traces(model="never heard of") == set()
    half = at(NOON + 3600 * SECOND)
    assert traces(since=half) | traces(until=half) == expected(lambda _: True)
    assert not traces(since=half) & traces(until=half)


def test_search_finds_words_in_inputs_outputs_names_and_errors(kernel: Kernel) -> None:
    write(kernel, call(1, trace=1, text="Where is my Paket from Oslo?"), call(2, trace=2, text="cancel the order"))
    write(kernel, record(3, trace=3, name="get_weather", status="error", status_message="timeout after 30s"))
    ctx = context(kernel)

    def found(text: str) -> list[str]:
        return [span.trace_id[-1] for span in service.search_spans(ctx, text).items]

    assert found("oslo") == ["1"]
    assert found("PAKET where") == ["1"]
    assert found("you said") == ["2", "1"]
    assert found("oslo cancel") == []
    assert found("weather") == ["3"]
    assert found("timeout") == ["3"]
    assert [t.trace_id[-1] for t in service.list_traces(ctx, text="order").items] == ["2"]
    assert service.search_spans(ctx, "said", TraceFilter(model="large")).items == []
    first = service.search_spans(ctx, "said", limit=1)
    second = service.search_spans(ctx, "said", limit=1, cursor=first.next_cursor)
    assert [first.items[0].trace_id[-1], second.items[0].trace_id[-1], second.next_cursor] == ["2", "1", None]
    with pytest.raises(TraceQueryInvalid, match="no word"):
        service.search_spans(ctx, '"*(')


SCRIPTS = {
    "1": ("今天天气怎么样？我想知道明天会不会下雨。", ["天气", "明天", "雨", "天气 下雨"], ["气天", "昨天"]),
    "2": ("東京タワーの高さは何メートルですか。", ["東京", "タワー", "メートル", "ﾀﾜｰ"], ["京東", "メール"]),
    "3": ("Wie heißt die Straße in Köln? Viele Grüße", ["Straße", "STRASSE", "grüße", "Köln", "ko\u0308ln"], ["Gasse"]),
    "4": ("İstanbul ve Iğdır", ["İstanbul", "istanbul", "ISTANBUL", "ığdır"], ["izmir"]),
    "5": ("请打开settings页面", ["settings", "打开", "页面", "settings页面"], ["setting"]),
    "6": ("พรุ่งนี้ฝนจะตก", ["ฝน", "พรุ่งนี้"], ["หิมะ"]),
    "7": ("कल बारिश होगी", ["बारिश"], ["बरश"]),
    "8": ("내일 비가 온다", ["비", "비가", "\u1102\u1162일"], ["눈"]),
    "9": ("غَداً سوف تمطر", ["غدا", "تمطر"], ["تثلج"]),
    "a": ("room １２ and ٣٤", ["12", "34"], ["1"]),
    "b": ("a ﬁne ΟΔΟΣ 👩‍👩‍👧", ["fine", "οδος", "👧"], ["👨"]),
}


def test_search_finds_parts_of_texts_in_every_script(kernel: Kernel) -> None:
    write(kernel, *(call(int(n, 16), trace=int(n, 16), text=text) for n, (text, _, _) in SCRIPTS.items()))
    ctx = context(kernel)
    for number, (text, queries, others) in SCRIPTS.items():
        for query in queries:
            assert number in [s.trace_id[-1] for s in service.search_spans(ctx, query).items], (text, query)
            assert number in [t.trace_id[-1] for t in service.list_traces(ctx, text=query).items], (text, query)
        for query in others:
            assert number not in [s.trace_id[-1] for s in service.search_spans(ctx, query).items], (text, query)


def test_the_tail_gives_every_span_once_in_commit_order(kernel: Kernel) -> None:
    spans = traffic(120, spread_s=2 * 86_400, start=NOON - 86_400 * SECOND)
    seen: list[str] = []
    position = None
    for begin in range(0, 120, 30):
        write(kernel, *spans[begin : begin + 30])
        while True:
            page = service.read_tail(context(kernel), after=position, limit=7)
            seen += [span.span_id for span in page.spans]
            position = page.position
            if not page.more:
                break
        assert sorted(seen) == sorted(span.span_id.hex() for span in spans[: begin + 30])
    assert position == service.tail_end(context(kernel))
    only = service.read_tail(context(kernel), limit=500, where=TraceFilter(model="small", calls=True))
    assert len(only.spans) == sum(span.model == "small" for span in spans)
    assert only.position == position
    assert all(span.input is not None for span in only.spans)
    with pytest.raises(TraceQueryInvalid, match="position"):
        service.read_tail(context(kernel), after="yesterday")


def test_spans_between_and_an_even_sample(kernel: Kernel) -> None:
    spans = traffic(500)
    write(kernel, *spans)
    ctx, half = context(kernel), NOON + 3600 * SECOND
    found = service.list_spans(ctx, at(NOON), at(half), TraceFilter(calls=True), limit=1000)
    wanted = sorted((s.start_ns // 1000, s.span_id.hex()) for s in spans if s.kind == "llm" and s.start_ns < half)
    assert sorted(span.span_id for span in found) == sorted(name for _, name in wanted)
    assert [span.start for span in found] == sorted(span.start for span in found)
    sample = service.list_spans(ctx, at(NOON), at(NOON + 9000 * SECOND), limit=100, spread=True, with_payload=False)
    again = service.list_spans(ctx, at(NOON), at(NOON + 9000 * SECOND), limit=100, spread=True, with_payload=False)
    assert sample == again
    assert len(sample) == 100
    assert 25 <= sum(span.start < at(half) for span in sample) <= 75


def test_sessions_users_and_callers(kernel: Kernel) -> None:
    write(kernel, *traffic(500))
    ctx = context(kernel)
    found = [s.session for s in service.list_sessions(ctx, limit=500).items]
    assert len(found) == len(set(found)) == len({s.session for s in traffic(500)})
    first = service.list_sessions(ctx, limit=10)
    rest = service.list_sessions(ctx, limit=500, cursor=first.next_cursor)
    assert [s.session for s in (*first.items, *rest.items)] == found
    one = first.items[0]
    mine = [s for s in traffic(500) if s.session == one.session]
    assert one.calls == sum(s.kind == "llm" for s in mine)
    assert one.traces == sum(s.parent_id is None for s in mine)
    assert one.user in {s.user for s in mine}
    users = service.list_users(ctx, since=at(NOON)).items
    assert sum(u.calls for u in users) == 200
    assert [u.calls for u in users] == sorted((u.calls for u in users), reverse=True)
    calls = service.list_callers(ctx, release_id="rel_a", since=at(NOON))
    assert sum(c.requests for c in calls) == sum(s.release_id == "rel_a" for s in traffic(500))


def test_a_tree_with_a_missing_parent_and_a_ring_shows_every_span_once(kernel: Kernel) -> None:
    write(
        kernel, record(1, parent=77), record(2, parent=1), record(3, parent=4), record(4, parent=3), record(5, parent=5)
    )
    tree = service.get_trace(context(kernel), "1".rjust(32, "0"))
    assert sorted(node.span.span_id[-1] for node in tree.nodes) == ["1", "2", "3", "4", "5"]
    assert not tree.summary.complete
    short = service.get_trace(context(kernel), "1".rjust(32, "0"), limit=2)
    assert (len(short.nodes), short.left_out) == (2, 3)


def test_ids_that_are_wrong_or_unknown_are_told_apart(kernel: Kernel) -> None:
    write(kernel, record(1, trace=0xABCDEF << 104), record(2, trace=0xABCD11 << 104))
    ctx = context(kernel)
    with pytest.raises(TraceIdInvalid):
        service.get_trace(ctx, "not hex")
    with pytest.raises(TraceNotFound):
        service.get_trace(ctx, "f" * 32)
    with pytest.raises(TraceNotFound):
        service.get_trace(ctx, "ffffff")
    assert service.get_trace(ctx, "abcdef").summary.name == "span 1"


def test_old_days_are_removed_and_their_room_given_back(kernel: Kernel) -> None:
    today = int(datetime.now(UTC).timestamp()) * SECOND
    for days_ago in (0, 1, 100, 200):
        write(kernel, call(days_ago + 1, trace=days_ago + 1, start=today - days_ago * 86_400 * SECOND))
    found = service.prune(kernel, OWNER)
    assert [use.spans for use in found.days] == [1, 1]
    assert found.freed_bytes > 0
    assert len(service.list_days(context(kernel))) == 2
    service.prune(kernel, OWNER, date.today() + timedelta(days=2))
    assert service.list_days(context(kernel)) == []
    write(kernel, call(1))
    assert len(service.list_traces(context(kernel)).items) == 1


def test_what_is_too_old_goes_by_itself(kernel: Kernel) -> None:
    today = int(datetime.now(UTC).timestamp()) * SECOND
    for days_ago in (0, 10, 200):
        write(kernel, call(days_ago + 1, trace=days_ago + 1, start=today - days_ago * 86_400 * SECOND))
    Retention(kernel).run_once()
    Retention(kernel).run_once()
    store = kernel.get(TraceStore)
    kept = []
    for day in store.days.list_days():
        with store.days.read(day) as look:
            assert look is not None
            kept.append(sorted({row[0] for row in look.rows("SELECT grain FROM rollups")}))
    assert kept == [[3600], [60, 3600]]


def test_reads_during_ingest_see_whole_commits(kernel: Kernel) -> None:
    spans = traffic(2000)
    done = threading.Event()
    faults: list[object] = []

    def read() -> None:
        while not done.is_set():
            points = service.get_series(
                context(kernel), since=at(NOON), until=at(NOON + 9000 * SECOND), measure="traces"
            )
            listed = service.list_traces(context(kernel), limit=500)
            if sum(point.requests for point in points) > len(listed.items) and len(listed.items) < 500:
                faults.append((points, len(listed.items)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for begin in range(0, 2000, 100):
            write(kernel, *spans[begin : begin + 100])
    finally:
        done.set()
        reader.join()
    assert faults == []
    assert differences(kernel.get(TraceStore)) == []


def test_a_text_that_no_database_takes_is_stored_tidied(kernel: Kernel) -> None:
    write(
        kernel,
        record(1, name="a\x00b" + "x" * 5000, user="\x00", payload=SpanPayload(input="c\x00d", output={"e": b"f"})),
    )
    found = service.get_trace(context(kernel), "1".rjust(32, "0"), payload=True).nodes[0].span
    assert found.name.startswith("abxxx")
    assert len(found.name) == 1024
