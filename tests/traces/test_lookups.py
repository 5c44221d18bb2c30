"""What is looked up by values that come in no order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.traces.makers import NOON, SECOND, call, context, record, traffic, write
from tidemill.core.kernel import Kernel
from tidemill.traces import service
from tidemill.traces.service import TraceStore
from tidemill.traces.store.blocks import Block
from tidemill.traces.types import TraceFilter, TraceIdInvalid, TraceQueryInvalid

BEGIN = datetime.fromtimestamp(NOON / SECOND, UTC)
END = BEGIN + timedelta(hours=1)
DAY = BEGIN.date()


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


def test_a_response_id_that_many_spans_share_reads_the_payload_of_one(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kernel, record(1, trace=1, response_id="shared", start=NOON))  # no model call, so it is not counted
    write(kernel, *(call(at, trace=at, response_id="shared", start=NOON) for at in range(2, 300)))
    write(kernel, *(record(at, trace=at, response_id="uncounted", start=NOON) for at in range(300, 400)))
    read_slots: list[int] = []
    payload = Block.payload
    monkeypatch.setattr(Block, "payload", lambda block, slot: read_slots.append(slot) or payload(block, slot))
    spans = kernel.get(TraceStore).find_responses(["shared", "uncounted"], payload=True)
    assert {name: int(span.span_id, 16) for name, span in spans.items()} == {"shared": 2, "uncounted": 300}
    assert len(read_slots) == 2


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "\ud800", "a\udfffb"])
def test_a_text_that_no_database_takes_is_found_nowhere(kernel: Kernel, text: str) -> None:
    write(kernel, call(1, start=NOON, response_id="chatcmpl-a", user="ada", session="s1", release_id="rel_1"))
    ask, store = context(kernel), kernel.get(TraceStore)
    assert service.find_response(ask, text) is None
    assert list(service.find_responses(ask, [text, "chatcmpl-a"])) == ["chatcmpl-a"]
    for name in (
        "name", "service", "model", "provider", "operation", "release_id", "environment", "deployment_id", "prompt",
        "key_id", "user", "session", "finish_reason",
    ):  # fmt: skip
        where = TraceFilter(**{name: text})
        assert service.list_traces(ask, where).items == []
        assert service.list_traces(ask, where, text="hello").items == []
        assert service.search_spans(ask, "hello", where).items == []
        assert service.list_spans(ask, BEGIN, END, where) == []
        assert service.count_by_minute(ask, BEGIN, END, where) == []
        assert service.read_tail(ask, where=where).spans == []
    assert [trace.user for trace in service.list_traces(ask, text=f"hello {text.strip('ab')} there").items] == ["ada"]
    assert service.list_sessions(ask, TraceFilter(user=text)).items == []
    assert service.list_callers(ask, release_id=text, since=BEGIN) == []
    assert service.get_series(ask, since=BEGIN, until=END, by="model", key=text) == []
    assert list(service.count_answered(ask, "release", [text, "rel_1"])) == ["rel_1"]
    assert store.traces_of_users([text]) == set()
    for trace_id in (text, text * 16, text.ljust(12, "0")):
        with pytest.raises(TraceIdInvalid):
            service.get_trace(ask, trace_id)
        with pytest.raises(TraceIdInvalid):
            service.get_span(ask, "0" * 31 + "1", trace_id)


def test_places_beyond_every_place_are_refused_or_empty(kernel: Kernel) -> None:
    write(kernel, call(1, start=NOON, session="s1"))
    ask, far = context(kernel), "9" * 30
    with pytest.raises(TraceQueryInvalid, match="cursor"):
        service.list_traces(ask, cursor=f"{far}-00")
    with pytest.raises(TraceQueryInvalid, match="cursor"):
        service.search_spans(ask, "hello", cursor=f"2026-11-20.{far}")
    with pytest.raises(TraceQueryInvalid, match="cursor"):
        service.list_sessions(ask, cursor=f"{far}-s1")
    with pytest.raises(TraceQueryInvalid, match="position"):
        service.read_tail(ask, after=f"20261120.{far}")


def test_a_session_of_several_users_is_shown_with_the_one_who_came_last(kernel: Kernel) -> None:
    users = ["zoe", "ada", "mia", "bob", "ada", "zoe"]
    for number, user in enumerate(users, 1):
        write(kernel, call(number, trace=number, start=NOON, user=user, session="shared"))
    assert [one.user for one in service.list_sessions(context(kernel)).items] == ["bob"]


def test_long_values_of_any_script_are_stored_and_found(kernel: Kernel) -> None:
    # 4,096 bytes that do not compress: more than a page of some indexes takes.
    long = "".join(chr(0x20000 + (at * 7919) % 40_000) for at in range(1024))
    write(kernel, call(1, start=NOON, user=long, response_id=long))
    ask = context(kernel)
    assert [one.user for one in service.list_traces(ask, TraceFilter(user=long)).items] == [long]
    assert service.find_response(ask, long) is not None
