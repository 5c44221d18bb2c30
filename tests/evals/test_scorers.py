"""Scorers and the figures made of their scores."""

import pytest

from tidemill.core.errors import ErrorBody
from tidemill.core.plugins import PluginMissing, Plugins
from tidemill.core.wire import utc_now
from tidemill.evals.metrics import interval, label_report, summarise
from tidemill.evals.scorers import GROUP, Scorer, build, check_expected
from tidemill.evals.types import (
    AnswerScore,
    ChatMessage,
    EvalItem,
    EvalResult,
    ScorerInvalid,
    ScorerSpec,
)


def scorer(name: str, **config: object) -> Scorer:
    return build(Plugins(), ScorerSpec(scorer=name, config=config))


def item(expected: object, item_id: str = "i1", cluster: str = "c1") -> EvalItem:
    return EvalItem.model_validate(
        {
            "id": item_id,
            "messages": [ChatMessage(role="user", content="?")],
            "expected": expected,
            "cluster_id": cluster,
        }
    )


def value(name: str, expected: object, answer: str, **config: object) -> float:
    return scorer(name, **config).score(item(expected), answer).value


@pytest.mark.parametrize(
    ("name", "expected", "answer", "config", "score"),
    [
        ("exact", "Paris", " Paris\n", {}, 1),
        ("exact", "Paris", "paris", {}, 0),
        ("exact", {"a": 1}, '{"a": 1}', {}, 1),
        ("normalised_match", "The Eiffel Tower", "eiffel  tower!", {}, 1),
        ("normalised_match", "ﬁne", "fine", {}, 1),
        ("normalised_match", "Eiffel Tower", "tower", {}, 0),
        ("contains", "Paris", "It is PARIS.", {}, 1),
        ("contains", "Paris", "It is PARIS.", {"ignore_case": False}, 0),
        ("regex", None, "order 42 sent", {"pattern": r"\d+"}, 1),
        ("regex", None, "order 42 sent", {"pattern": r"\d+", "whole": True}, 0),
        ("json_schema", None, '{"a": 1}', {"json_schema": {"required": ["a"]}}, 1),
        ("json_schema", None, '{"b": 1}', {"json_schema": {"required": ["a"]}}, 0),
        ("bleu", "the cat is on the mat", "the cat is on the mat", {}, 1),
        ("rouge_l", "the cat is on the mat", "the cat is on the mat", {}, 1),
        ("chrf", "the cat is on the mat", "the cat is on the mat", {}, 1),
        ("chrf", "katt", "dog", {}, 0),
    ],
)
def test_scores(name: str, expected: object, answer: str, config: dict[str, object], score: float) -> None:
    assert value(name, expected, answer, **config) == pytest.approx(score)


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ("3.14", "314"),
        ("-5", "5"),
        ("C++", "C"),
        ("C#", "C"),
        ("1/2", "12"),
        ("10:30", "1030"),
        ("v1.2", "v12"),
        ("$1.50", "150"),
        ("5%", "5"),
        ("1-5", "15"),
        ("!=", "=="),
        ("x²", "x2"),
        ("1½", "11/2"),
        ("A", ""),
        ("A", "the"),
        ("Vitamin A", "Vitamin"),
        ("😀", "😢"),
        (".", ","),
    ],
)
def test_normalising_keeps_what_carries_meaning(expected: str, answer: str) -> None:
    assert value("normalised_match", expected, answer) == 0
    assert value("normalised_match", expected, expected) == 1


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ("你好。", "你好"),
        ("don't know", "don\u2019t know"),
        ("quotes", "\u201cquotes\u201d"),
        ("-5", "\u22125"),
        ("1,000", "1000"),
        ("1.50", "1.5"),
        ("Paris", "**Paris**."),
        ("٣", "3"),
        ("１２", "12"),
        ("¿Cómo?", "cómo"),
        ("Straße", "STRASSE"),
        ("مرحبا؟", "مرحبا"),
        ("a cat on the mat", "Cat on mat"),
        ("½", "1/2"),
    ],
)
def test_normalising_leaves_out_what_carries_none(expected: str, answer: str) -> None:
    assert value("normalised_match", expected, answer) == 1


@pytest.mark.parametrize("text", ["Завтра будет дождь", "मौसम अच्छा है", "明天北京多云", "วันนี้ฝนตก", "أهلا وسهلا", "🎉🎉"])
def test_identical_answers_score_one_in_every_script(text: str) -> None:
    assert value("rouge_l", text, text) == 1
    assert value("bleu", text + text, text + text) == pytest.approx(1)


def test_rouge_sees_more_than_the_ascii_words() -> None:
    assert value("rouge_l", "GPT 在北京", "GPT 在上海") == 0.5
    assert value("rouge_l", "Завтра будет дождь", "Завтра будет снег") == pytest.approx(2 / 3)
    assert value("rouge_l", "it rains tomorrow", "it rained tomorrow") == 1
    assert value("rouge_l", "it rains tomorrow", "it rained tomorrow", stem=False) == pytest.approx(2 / 3)


def test_overlap_scores_lie_between() -> None:
    assert value("rouge_l", "the cat sat on the mat", "the cat sat") == pytest.approx(2 / 3)
    assert 0.3 < value("bleu", "the cat sat on the mat", "the cat sat on a mat") < 0.9
    assert value("bleu", "the cat", "") == 0


def test_the_corpus_figure_is_that_of_the_library() -> None:
    from sacrebleu.metrics import BLEU

    expected, answers = ["the cat is on the mat", "hello there"], ["the cat sat on the mat", "hello there"]
    figure = scorer("bleu").corpus(expected, answers)  # type: ignore[attr-defined]
    assert figure == pytest.approx(BLEU().corpus_score(answers, [expected]).score / 100)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ('{"type": "LOC"}', "LOC"),
        ('{"type": "NOPE"}', None),
        ('{"kind": "LOC"}', None),
        ('{"type": 3}', None),
        ('{"type": null}', None),
        ("[1]", None),
        ("LOC", None),
        ("", None),
    ],
)
def test_a_label_is_read_from_a_json_field_or_the_answer_is_invalid(answer: str, label: str | None) -> None:
    score = scorer("label_accuracy", labels=["LOC", "NUM"], json_field="type").score(item("LOC"), answer)
    assert (score.label, score.invalid, score.value) == (label, label is None, float(label == "LOC"))


def test_labels_as_plain_text_and_expected_as_json() -> None:
    plain = scorer("label_accuracy", labels=["Loc", "Num"], ignore_case=True)
    assert plain.score(item("loc"), " LOC ") == AnswerScore(value=1, label="Loc")
    nested = scorer("label_accuracy", json_field="type")
    assert nested.score(item({"type": "LOC"}), '{"type": "LOC"}').value == 1
    assert nested.score(item('{"type": "LOC"}'), '{"type": "NUM"}').value == 0


@pytest.mark.parametrize(
    ("expected", "answer"),
    [("5", '{"v": 5}'), ("5", '{"v": 5.0}'), ("5", '{"v": "5"}'), ("true", '{"v": true}'), ("0.5", '{"v": 0.5}')],
)
def test_numbers_and_booleans_in_json_are_labels(expected: str, answer: str) -> None:
    kind = scorer("label_accuracy", json_field="v", labels=[expected, "other"])
    assert kind.score(item(expected), answer) == AnswerScore(value=1, label=expected)
    assert kind.score(item({"v": expected}), answer).value == 1
    assert kind.score(item(answer), answer).value == 1
    check_expected("label_accuracy", kind, [item(answer)])


def test_a_number_as_the_expected_answer_is_a_label() -> None:
    assert scorer("label_accuracy").score(item(5.0), "5").value == 1


def test_all_built_in_scorers_are_in_the_seam() -> None:
    names = {
        "exact",
        "normalised_match",
        "contains",
        "regex",
        "json_schema",
        "label_accuracy",
        "bleu",
        "rouge_l",
        "chrf",
    }
    assert names <= set(Plugins().names(GROUP))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("regex", {"pattern": "("}, "regular expression"),
        ("regex", {}, "pattern"),
        ("json_schema", {"json_schema": {"type": 5}}, "not a JSON Schema"),
        ("exact", {"colour": "red"}, "colour"),
        ("label_accuracy", {"labels": ["only"]}, "labels"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(name: str, config: dict[str, object], message: str) -> None:
    with pytest.raises(ScorerInvalid, match=message):
        scorer(name, **config)


def test_an_unknown_scorer_names_the_known_ones() -> None:
    with pytest.raises(PluginMissing) as caught:
        scorer("exactly")
    assert "exact" in (caught.value.hint or "")


def test_what_a_scorer_needs_must_be_there() -> None:
    with pytest.raises(ScorerInvalid, match="i1 has none"):
        check_expected("exact", scorer("exact"), [item(None)])
    check_expected("regex", scorer("regex", pattern="x"), [item(None)])
    with pytest.raises(ScorerInvalid, match="'XXX'"):
        check_expected("accuracy", scorer("label_accuracy", labels=["A", "B"]), [item("XXX")])


def test_the_label_report_by_hand() -> None:
    report = label_report(["A", "A", "A", "B", "B"], ["A", "B", None, "B", "B"], ["A", "B", "C"])
    first, second, third = report.classes
    assert (first.precision, first.recall, first.support) == (1, pytest.approx(1 / 3), 3)
    assert (second.precision, second.recall) == (pytest.approx(2 / 3), 1)
    assert (third.f1, third.support) == (0, 0)
    assert report.confusion.columns == ["A", "B", "C", "(invalid)"]
    assert report.confusion.counts == [[1, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]]
    assert report.macro_f1 == pytest.approx((0.5 + 0.8 + 0) / 3)


def _result(seq: int, item_id: str, right: float | None, repeat: int = 0) -> EvalResult:
    failed = right is None
    return EvalResult(
        run_id="er_1",
        seq=seq,
        item_id=item_id,
        repeat=repeat,
        answer=None if failed else "A" if right else "B",
        scores={} if right is None else {"exact": AnswerScore(value=right)},
        error=ErrorBody(message="no", type="server_error", code="timeout") if failed else None,
        latency_ms=None if failed else 10.0 + seq,
        at=utc_now(),
    )


def test_failures_are_counted_apart_and_never_make_a_mean_not_a_number() -> None:
    items = [item("A", f"i{n}", f"c{n}") for n in range(4)]
    scorers = {"exact": scorer("exact")}
    metrics = summarise(items, [_result(n, f"i{n}", r) for n, r in enumerate([1, 0, 1, None])], scorers, 2.0)
    assert (metrics.answers, metrics.failures, metrics.errors) == (3, 1, {"timeout": 1})
    assert metrics.metrics[0].mean == pytest.approx(2 / 3)
    assert metrics.metrics[0].items == 3
    none = summarise(items, [_result(n, f"i{n}", None) for n in range(4)], scorers, 2.0)
    assert none.metrics[0].mean is None
    assert none.latency_p50_ms is None


def test_repeats_tell_how_much_is_the_models_own_noise() -> None:
    items = [item("A", f"i{n}", f"c{n}") for n in range(20)]
    scorers = {"exact": scorer("exact")}
    steady = [_result(2 * n + k, f"i{n}", float(n % 2), k) for n in range(20) for k in range(2)]
    noisy = [_result(2 * n + k, f"i{n}", float(k), k) for n in range(20) for k in range(2)]
    assert summarise(items, steady, scorers, 1).metrics[0].within_share == 0
    assert summarise(items, noisy, scorers, 1).metrics[0].within_share == 1
    assert summarise(items, noisy, scorers, 1).metrics[0].mean == 0.5


def test_clusters_widen_the_interval_of_a_single_run() -> None:
    import numpy as np

    values = np.repeat([1.0, 0.0], 50)
    alone = interval(values, [str(n) for n in range(100)])
    together = interval(values, [str(n // 10) for n in range(100)])
    assert alone[2] == together[2] == "wilson"
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])
    assert interval(values + 0.5, ["one"] * 100) == (None, None, None)


def test_json_answers_without_a_field_are_said_to_be_the_cause() -> None:
    items = [item("LOC", f"i{n}", f"c{n}") for n in range(4)]
    kind = scorer("label_accuracy")

    def note(answer: str, kind: Scorer) -> str | None:
        results = [
            EvalResult(
                run_id="er_1",
                seq=0,
                item_id=i.id,
                repeat=0,
                answer=answer,
                scores={"m": kind.score(i, answer)},
                at=utc_now(),
            )
            for i in items
        ]
        return summarise(items, results, {"m": kind}, 1.0).metrics[0].note

    assert '{"json_field": "type"}' in (note('{"type": "LOC"}', kind) or "")
    assert note("LOC", kind) is None
    assert note('{"type": "LOC"}', scorer("label_accuracy", json_field="type")) is None


@pytest.mark.parametrize(
    ("expected", "answer", "score"),
    [
        ("the 1960s", "1960s", 1),
        ("the 19th century", "19th century", 1),
        ("a 3 percent rise", "3 percent rise", 1),
        ("The €", "€", 1),
        ("Plan A", "Plan B", 0),
        ("a", "b", 0),
        ("Vitamin A", "vitamin a", 1),
        ("-5", "5", 0),
        ("答えは-5です", "答えは5です", 0),
        ("", "", 1),
        ("the", "", 0),
    ],
)
def test_articles_go_before_digits_too(expected: str, answer: str, score: float) -> None:
    assert value("normalised_match", expected, answer) == score


def test_a_declared_label_set_follows_the_rule_of_labels() -> None:
    labels = ["cafe\u0301", " tea ", "Straße"]
    assert value("label_accuracy", "caf\u00e9", "cafe\u0301", labels=labels) == 1
    assert value("label_accuracy", "tea", "tea", labels=labels) == 1
    assert value("label_accuracy", "Straße", "STRASSE", labels=labels, ignore_case=True) == 1
    with pytest.raises(ScorerInvalid, match="two that differ"):
        value("label_accuracy", "tea", "tea", labels=["tea", " tea"])
