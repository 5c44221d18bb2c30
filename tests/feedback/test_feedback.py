"""Feedback and scores, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import ValidationError

from tests.traces.answers import SECOND, answer, store, trace_id
from tidemill.core.actors import OWNER, Actor
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.feedback import service
from tidemill.feedback.types import (
    Feedback,
    FeedbackBulk,
    FeedbackRefused,
    Score,
    ScoreCreate,
    ScoreFilter,
    ScoreNotFound,
    TargetUnknown,
)
from tidemill.traces.masking.masker import Masker
from tidemill.traces.masking.service import create as create_rule
from tidemill.traces.types.masking import MaskingRuleCreate


def give(kernel: Kernel, actor: Actor = OWNER, **said: object) -> Score:
    with kernel.write(actor) as ctx:
        return service.give_feedback(ctx, Feedback.model_validate(said))


def found(kernel: Kernel, **wanted: object) -> list[Score]:
    with kernel.read(OWNER) as ctx:
        return service.list_scores(ctx, **wanted)


def test_thumbs_on_a_response_carry_what_the_call_was(kernel: Kernel) -> None:
    store(kernel, answer(1, user="ada", session="s1", deployment_id="dep_1"))
    score = give(kernel, response_id="chatcmpl-1", thumbs="down", correction={"type": "HUM"}, comment="a person")
    assert (score.value, score.source, score.author, score.name) == (0.0, "person", "owner", "feedback")
    assert (score.trace_id, score.span_id) == (trace_id(1), trace_id(1)[:16])
    assert (score.release_id, score.environment, score.deployment_id) == ("rel_one", "prod", "dep_1")
    assert (score.model, score.user, score.session) == ("hello", "ada", "s1")
    assert score.correction == {"type": "HUM"}
    with kernel.read(OWNER) as ctx:
        assert service.get_score(ctx, score.id) == score


def test_the_same_again_changes_nothing_and_something_else_replaces_it(kernel: Kernel) -> None:
    store(kernel, answer(1))
    first = give(kernel, response_id="chatcmpl-1", thumbs="up", user="ada")
    assert give(kernel, response_id="chatcmpl-1", thumbs="up", user="ada") == first
    changed = give(kernel, response_id="chatcmpl-1", thumbs="down", user="ada")
    assert (changed.id, changed.value) == (first.id, 0.0)
    other = give(kernel, response_id="chatcmpl-1", thumbs="up", user="bob")
    named = give(kernel, response_id="chatcmpl-1", score=0.5, name="tone", user="ada")
    assert {s.id for s in found(kernel)} == {first.id, other.id, named.id}


def test_a_trace_is_judged_by_what_its_root_and_then_its_spans_say(kernel: Kernel) -> None:
    call = answer(1)
    root = answer(
        1,
        span_id=b"rootroot",
        kind="chain",
        user="ada",
        model=None,
        response_id=None,
        release_id=None,
        environment=None,
        start_ns=call.start_ns - SECOND,
    )
    call.parent_id = root.span_id
    store(kernel, root, call)
    score = give(kernel, trace_id=trace_id(1), thumbs="up")
    assert (score.span_id, score.user, score.release_id, score.response_id) == (None, "ada", "rel_one", "chatcmpl-1")
    one = give(kernel, trace_id=trace_id(1).upper(), span_id=trace_id(1)[:16], thumbs="up")
    assert (one.span_id, one.user) == (trace_id(1)[:16], "ada")
    assert one.id != score.id


@pytest.mark.parametrize(
    "target",
    [
        {"response_id": "chatcmpl-none"},
        {"trace_id": "ab" * 16},
        {"trace_id": trace_id(1), "span_id": "ab" * 8},
    ],
)
def test_what_was_never_recorded_is_not_found(kernel: Kernel, target: dict[str, str]) -> None:
    store(kernel, answer(1))
    with pytest.raises(TargetUnknown) as caught:
        give(kernel, **target, thumbs="up")
    assert (caught.value.status, caught.value.code) == (404, "feedback_target_unknown")
    assert "try again" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"response_id": "x"}, "nothing is said"),
        ({"thumbs": "up"}, "one of the two"),
        ({"response_id": "x", "trace_id": "ab" * 16, "thumbs": "up"}, "one of the two"),
        ({"response_id": "x", "span_id": "ab" * 8, "thumbs": "up"}, "goes with `trace_id`"),
        ({"trace_id": "ab", "thumbs": "up"}, "pattern"),
        ({"response_id": "x", "thumbs": "up", "score": 1}, "not both"),
        ({"response_id": "x", "score": float("nan")}, "finite"),
        ({"response_id": "x", "thumbs": "sideways"}, "up"),
        ({"response_id": "x", "correction": "x" * 300_000}, "at most"),
        ({"response_id": "x", "thumbs": "up", "rating": 5}, "Extra"),
    ],
)
def test_feedback_that_says_nothing_or_too_much_is_refused(said: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Feedback.model_validate(said)


def test_a_viewer_judges_only_calls_of_the_own_key(kernel: Kernel) -> None:
    store(kernel, answer(1, key_id="key_app"), answer(2, key_id="key_other"), answer(3))
    app = Actor(id="per_app", name="app", roles=frozenset({"viewer"}), key_id="key_app")
    annotator = Actor(id="per_ann", name="ann", roles=frozenset({"annotator"}), key_id="key_ann")
    kept = give(kernel, app, response_id="chatcmpl-1", thumbs="up", user="ada")
    assert (kept.author, kept.recorded_by) == ("ada", "app")
    for number in (2, 3):
        with pytest.raises(FeedbackRefused):
            give(kernel, app, response_id=f"chatcmpl-{number}", thumbs="up")
        assert give(kernel, annotator, response_id=f"chatcmpl-{number}", thumbs="up").author == "ann"
    # An end user called `ann` is another author than the annotator.
    store(kernel, answer(4, key_id="key_app"))
    assert give(kernel, annotator, response_id="chatcmpl-4", thumbs="up").value == 1
    assert give(kernel, app, response_id="chatcmpl-4", thumbs="down", user="ann").value == 0
    assert len(found(kernel, response_id="chatcmpl-4")) == 2


def test_each_item_of_a_bulk_is_answered_apart(kernel: Kernel) -> None:
    store(kernel, *(answer(n) for n in range(5)))
    items: list[dict[str, object]] = [{"response_id": f"chatcmpl-{n}", "thumbs": "up"} for n in (4, 2, 0)]
    items[1:1] = [{"response_id": "chatcmpl-none", "thumbs": "up"}, {"response_id": "chatcmpl-1", "thumb": "up"}]
    reply = service.give_feedback_bulk(kernel, OWNER, FeedbackBulk.model_validate({"items": items}))
    assert (reply.kept, reply.refused) == (3, 2)
    assert [i.score.response_id if i.score else i.error.code for i in reply.items] == [
        "chatcmpl-4",
        "feedback_target_unknown",
        "feedback_invalid",
        "chatcmpl-2",
        "chatcmpl-0",
    ]
    assert len(found(kernel)) == 3


def test_an_item_of_a_bulk_that_is_no_object_or_no_text_is_refused_alone(kernel: Kernel) -> None:
    store(kernel, answer(1))
    half = {"response_id": "chatcmpl-1", "thumbs": "up", "comment": "so happy \ud83d"}
    items: list[object] = [5, None, half, {"response_id": "a\x00b", "thumbs": "up"}]
    items.append({"response_id": "chatcmpl-1", "thumbs": "up"})
    reply = service.give_feedback_bulk(kernel, OWNER, FeedbackBulk.model_validate({"items": items}))
    assert [item.error is None for item in reply.items] == [False] * 4 + [True]


def test_code_and_models_record_scores_of_their_own(kernel: Kernel) -> None:
    store(kernel, answer(1))
    with kernel.write(OWNER) as ctx:
        made = service.record_score(
            ctx,
            ScoreCreate(response_id="chatcmpl-1", name="helpful", score=0.7, source="model", scorer="judge-1"),
        )
    assert (made.source, made.author, made.scorer) == ("model", "judge-1", "judge-1")
    with pytest.raises(ValidationError, match="give `score` or `label`"):
        ScoreCreate(response_id="chatcmpl-1", name="helpful")


def test_scores_are_listed_by_what_the_answer_was(kernel: Kernel) -> None:
    day = 86_400 * SECOND
    old = answer(9)
    store(kernel, answer(1), answer(2, release_id="rel_two", environment="qa"), answer(3, user="ada"))
    store(kernel, answer(9, start_ns=old.start_ns - 3 * day))
    for number in (1, 2, 3, 9):
        give(kernel, response_id=f"chatcmpl-{number}", thumbs="up" if number != 2 else "down")
    give(kernel, response_id="chatcmpl-1", score=0.2, name="tone", correction="Oslo")

    def ids(**wanted: object) -> list[str]:
        return [str(s.response_id)[9:] + s.name[0] for s in found(kernel, **wanted)]

    assert ids() == ["1f", "2f", "3f", "9f", "1t"]
    assert ids(release_id="rel_two") == ids(environment="qa") == ["2f"]
    assert ids(name="tone") == ids(corrected=True) == ["1t"]
    assert ids(user="ada") == ["3f"]
    yesterday = utc_now() - timedelta(days=1)
    assert ids(since=yesterday, name="feedback") == ["1f", "2f", "3f"]
    assert ids(until=yesterday) == ["9f"]
    with kernel.read(OWNER) as ctx:
        first = service.list_score_page(ctx, ScoreFilter(), limit=2)
        rest = service.list_score_page(ctx, ScoreFilter(), cursor=first.next_cursor, limit=10)
        assert [s.name for s in first.items] == ["tone", "feedback"]
        assert (len(rest.items), rest.next_cursor) == (3, None)
        assert service.list_score_names(ctx) == ["feedback", "tone"]
    middle = found(kernel)[1]
    assert ids(after=middle.id) == ["3f", "9f", "1t"]


def test_a_kpi_over_time_by_release(kernel: Kernel) -> None:
    hour = 3600 * SECOND
    base = (answer(0).start_ns // hour - 5) * hour
    for number, (offset, release, thumbs) in enumerate(
        [(0, "rel_a", "up"), (1, "rel_a", "down"), (2, "rel_a", "up"), (3, "rel_b", "up"), (hour, "rel_a", "down")]
    ):
        store(kernel, answer(number, start_ns=base + offset, release_id=release))
        give(kernel, response_id=f"chatcmpl-{number}", thumbs=thumbs, label="slow" if thumbs == "down" else None)
    with kernel.read(OWNER) as ctx:
        points = service.get_score_series(ctx, ScoreFilter(name="feedback")).points
        whole = service.get_score_series(ctx, ScoreFilter(), by="none", bucket=timedelta(days=365 * 100)).points
    assert [(p.key, p.count, p.labels) for p in points] == [
        ("rel_a", 3, {"slow": 1}),
        ("rel_b", 1, {}),
        ("rel_a", 1, {"slow": 1}),
    ]
    assert points[0].mean == pytest.approx(2 / 3)
    assert points[0].sd == pytest.approx(0.5773503)
    assert (points[1].sd, points[0].t.minute, points[2].t - points[0].t) == (None, 0, timedelta(hours=1))
    assert [(p.key, p.count, p.mean) for p in whole] == [(None, 5, pytest.approx(0.6))]


def test_a_score_is_taken_back_by_who_gave_it_or_a_developer(kernel: Kernel) -> None:
    store(kernel, answer(1))
    ann, bob = (Actor(id=n, name=n, roles=frozenset({"annotator"})) for n in ("ann", "bob"))
    score = give(kernel, ann, response_id="chatcmpl-1", thumbs="up")
    with kernel.write(bob) as ctx, pytest.raises(FeedbackRefused):
        service.delete_score(ctx, score.id)
    with kernel.write(ann) as ctx:
        service.delete_score(ctx, score.id)
    with kernel.read(OWNER) as ctx, pytest.raises(ScoreNotFound):
        service.get_score(ctx, score.id)


def test_two_requests_at_once_leave_one_score(kernel: Kernel) -> None:
    store(kernel, *(answer(n) for n in range(30)))
    bodies = [
        {"items": [{"response_id": f"chatcmpl-{n}", "score": value} for n in order]}
        for value, order in ((1, range(30)), (2, range(29, -1, -1)), (3, range(30)), (4, range(29, -1, -1)))
    ]

    def send(body: dict[str, object]) -> int:
        return service.give_feedback_bulk(kernel, OWNER, FeedbackBulk.model_validate(body)).kept

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(send, bodies)) == [30] * 4
    kept = found(kernel)
    assert len({s.response_id for s in kept}) == len(kept) == 30
    assert len({s.value for s in kept}) == 1


def test_masking_rules_hold_for_feedback_too(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        create_rule(ctx, MaskingRuleCreate(kinds=["email"]))
        create_rule(ctx, MaskingRuleCreate(keys=["ssn"]))
    kernel.get(Masker).invalidate()
    store(kernel, answer(1, user="ada@example.org"))
    said = {"comment": "write to ada@example.org", "correction": {"type": "bob@example.org", "ssn": "1"}}
    score = give(kernel, response_id="chatcmpl-1", user="ada@example.org", **said)
    assert (score.comment, score.correction) == ("write to [EMAIL]", {"type": "[EMAIL]", "ssn": "[MASKED]"})
    assert score.author == score.user
    assert str(score.author).startswith("[EMAIL]:")
