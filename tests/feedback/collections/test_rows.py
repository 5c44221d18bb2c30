"""What one answer, and what people said about it, comes to as a row."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill.feedback.collections.rows import (
    CollectedAnswer,
    FeedbackSummary,
    build_row,
    cap_rows_per_user,
    label_of,
    summarize_feedback,
)
from tidemill.feedback.collections.selection import answer_span, fits
from tidemill.feedback.types import Score, ToDataset
from tidemill.traces.messages import extract_answer, extract_messages
from tidemill.traces.types import SpanDetail, TraceFilter

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def span(number: int = 1, question: str = "Where is Oslo?", said: Any = '{"type": "LOC"}', **more: Any) -> SpanDetail:
    fields: dict[str, Any] = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "name": "chat",
        "kind": "llm",
        "start": NOW,
        "duration_ms": 5.0,
        "user": "ada",
        "input": [{"role": "system", "content": "Name the type."}, {"role": "user", "content": question}],
        "output": [{"role": "assistant", "content": said}],
    }
    return SpanDetail(**(fields | more))


def spec(schema: str = "classification", **more: Any) -> ToDataset:
    return ToDataset.model_validate({"dataset": "d", "row_schema": schema, "filter": {}} | more)


def score(author: str, value: float | None = None, correction: Any = None, by: str = "app", late: int = 0) -> Score:
    return Score(
        id=f"sc_{author}{late}",
        trace_id="0" * 32,
        span_id=None,
        response_id=None,
        name="feedback",
        value=value,
        label=None,
        comment=None,
        correction=correction,
        source="person",
        scorer=None,
        author=author,
        recorded_by=by,
        at=NOW + timedelta(seconds=late),
        release_id=None,
        environment=None,
        deployment_id=None,
        model=None,
        user=None,
        session=None,
        span_start=NOW,
    )


def row(made: CollectedAnswer) -> dict[str, Any]:
    assert made.row is not None, made.reason
    return {k: v for k, v in made.row.items() if k not in ("cluster_id", "time")}


def test_each_schema_has_its_row() -> None:
    wrong = FeedbackSummary(value=0.0, correction={"type": "NUM"}, has_feedback=True)
    assert row(build_row(span(), wrong, spec())) == {"text": "Where is Oslo?", "label": "NUM"}
    assert row(build_row(span(), FeedbackSummary(), spec(label_field="type"))) == {
        "text": "Where is Oslo?",
        "label": "LOC",
    }
    answer = '{"type": "NUM"}'
    assert row(build_row(span(), wrong, spec("completion"))) == {"prompt": "Where is Oslo?", "completion": answer}
    chat = row(build_row(span(), wrong, spec("chat")))["messages"]
    assert [m["role"] for m in chat] == ["user", "assistant"]
    assert chat[-1]["content"] == answer
    kept = row(build_row(span(), wrong, spec("chat", keep_system=True)))["messages"]
    assert [m["role"] for m in kept] == ["system", "user", "assistant"]
    assert row(build_row(span(), FeedbackSummary(value=0.0, has_feedback=True), spec("text"))) == {
        "text": "Where is Oslo?"
    }
    made = row(build_row(span(release_id="rel_1", response_id="chatcmpl-1"), FeedbackSummary(), spec("eval")))
    assert (made["input"], made["expected"]) == ("Where is Oslo?", '{"type": "LOC"}')
    assert made["metadata"] == {
        "trace_id": f"{1:032x}",
        "span_id": f"{1:016x}",
        "response_id": "chatcmpl-1",
        "release_id": "rel_1",
    }


def test_a_row_keeps_the_session_as_its_cluster_and_the_time() -> None:
    made = build_row(span(session="s1"), FeedbackSummary(), spec()).row
    assert made is not None
    assert (made["cluster_id"], made["time"]) == ("s1", "2026-11-21T09:00:00+00:00")


@pytest.mark.parametrize(
    ("which", "said", "more", "reason"),
    [
        (span(), FeedbackSummary(value=0.0, has_feedback=True), {}, "disliked"),
        (span(), FeedbackSummary(value=0.4, has_feedback=True), {"liked_from": 0.3}, None),
        (
            span(),
            FeedbackSummary(value=0.0, correction="LOC", has_feedback=True),
            {"use_correction": False},
            "disliked",
        ),
        (span(), FeedbackSummary(disputed=True, correction="LOC", has_feedback=True), {}, "disputed"),
        (span(status="error"), FeedbackSummary(), {}, "failed"),
        (span(status="error"), FeedbackSummary(correction="LOC", has_feedback=True), {}, None),
        (span(question="  "), FeedbackSummary(), {}, "no_input"),
        (span(input=None), FeedbackSummary(), {}, "no_input"),
        (span(output=None), FeedbackSummary(), {}, "no_label"),
        (span(output=None), FeedbackSummary(), {"row_schema": "chat"}, "no_answer"),
        (span(said="I think it is a place.\nOr not."), FeedbackSummary(), {}, "no_label"),
        (span(), FeedbackSummary(), {"only": "judged"}, "not_wanted"),
        (span(), FeedbackSummary(value=0.0, has_feedback=True), {"only": "liked"}, "not_wanted"),
        (span(), FeedbackSummary(value=0.0, correction="LOC", has_feedback=True), {"only": "liked"}, None),
        (span(), FeedbackSummary(value=1.0, has_feedback=True), {"only": "corrected"}, "not_wanted"),
    ],
)
def test_what_makes_no_row_says_why(
    which: SpanDetail, said: FeedbackSummary, more: dict[str, Any], reason: str | None
) -> None:
    made = build_row(which, said, spec(**more))
    assert made.reason == reason
    assert (made.row is None) == (reason is not None)


def test_the_team_goes_before_end_users_and_end_users_must_agree() -> None:
    ada, bob = score("ada", 0.0, "LOC"), score("bob", 1.0, "HUM", late=1)
    both = summarize_feedback([ada, bob], "feedback")
    assert (both.value, both.disputed, both.correction, both.corrected_by) == (0.5, True, "HUM", "bob")
    same = summarize_feedback([ada, score("bob", None, "LOC", late=1)], "feedback")
    assert (same.disputed, same.correction) == (False, "LOC")
    team = summarize_feedback([ada, score("dana", None, "NUM", by="dana"), bob], "feedback")
    assert (team.disputed, team.correction, team.corrected_by) == (False, "NUM", None)
    assert summarize_feedback([ada], "tone") == FeedbackSummary()


def test_a_cap_counts_whoever_corrected_and_draws_which_rows_stay() -> None:
    said = FeedbackSummary(value=0.0, correction="LOC", corrected_by="mallory", has_feedback=True)
    made = [build_row(span(n, user=f"u{n}"), said, spec()) for n in range(20)]
    made += [build_row(span(100 + n, user=f"u{n}"), FeedbackSummary(), spec()) for n in range(5)]
    kept = cap_rows_per_user(made, 3)
    stayed = [item.span.trace_id for item in kept[:20] if item.row is not None]
    assert len(stayed) == 3
    assert [item.reason for item in kept[:20]].count("over_cap") == 17
    assert all(item.row is not None for item in kept[20:])
    assert {i.span.trace_id for i in cap_rows_per_user(list(reversed(made)), 3)[5:] if i.row is not None} == set(stayed)
    assert cap_rows_per_user(made, None) == made


def test_those_who_name_nobody_share_one_cap() -> None:
    made = [
        build_row(span(n, user=None, key_id=key), FeedbackSummary(), spec())
        for n, key in enumerate(["k", "k", None, None])
    ]
    assert [item.user for item in made] == ["k", "k", "anonymous", "anonymous"]
    assert sum(item.row is not None for item in cap_rows_per_user(made, 1)) == 2


@pytest.mark.parametrize(
    ("answer", "field", "label"),
    [
        ("LOC", None, "LOC"),
        (" LOC ", "type", "LOC"),
        ('{"type": "LOC"}', None, "LOC"),
        ({"type": "LOC", "sure": True}, "type", "LOC"),
        ({"type": "LOC", "sure": True}, None, None),
        ({"kind": "LOC"}, "type", None),
        ("{broken", None, "{broken"),
        (True, None, "true"),
        (3, None, "3"),
        ("", None, None),
        ("x" * 201, None, None),
        (["LOC"], None, None),
        (None, None, None),
    ],
)
def test_a_label_is_read_from_text_or_json(answer: Any, field: str | None, label: str | None) -> None:
    assert label_of(answer, field) == label


def test_messages_are_read_from_whatever_shape() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image_url"}, {"text": "two"}]}]
    assert extract_messages(parts) == [{"role": "user", "content": "one\ntwo"}]
    assert extract_messages("hello") == [{"role": "user", "content": "hello"}]
    assert extract_messages({"messages": ["hello", 7]}) == [{"role": "user", "content": "hello"}]
    assert extract_messages({"q": 1}) == [{"role": "user", "content": '{"q": 1}'}]
    assert extract_messages(None) == extract_messages(7) == []
    otel = [{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}]
    assert extract_answer(otel) == "hi"
    assert extract_answer({"content": "hi"}) == extract_answer("hi") == "hi"
    assert extract_answer({"type": "LOC"}) == {"type": "LOC"}
    assert extract_answer([]) is None


def test_a_trace_answers_with_its_root_or_its_last_call() -> None:
    root = span(1, name="chain", kind="chain")
    first = span(1, span_id="a" * 16, parent_id=root.span_id, start=NOW + timedelta(seconds=1))
    last = span(1, span_id="b" * 16, parent_id=root.span_id, start=NOW + timedelta(seconds=2))
    assert answer_span([last, root, first]) == root
    bare = root.model_copy(update={"input": None})
    assert answer_span([first, bare, last]) == last
    assert answer_span([bare]) == bare
    assert answer_span([]) is None


def test_a_filter_on_a_span_of_its_own() -> None:
    assert fits(span(), TraceFilter(kind="llm", user="ada", min_ms=5, max_ms=5))
    for wanted in ({"kind": "tool"}, {"user": "bob"}, {"min_ms": 6}, {"max_ms": 4}, {"prompt": "p@1"}):
        assert not fits(span(), TraceFilter.model_validate(wanted))
    assert not fits(span(parent_id="a" * 16), TraceFilter(roots=True))
