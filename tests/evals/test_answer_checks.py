"""A run says what makes its figures doubtful, and so does every verdict that rests on it."""

from tests.evals.conftest import LABELLED, Desk
from tidemill.core.wire import utc_now
from tidemill.evals.answer_checks import check_answers
from tidemill.evals.metrics import summarise
from tidemill.evals.scorers import Exact, LabelAccuracy, Scorer
from tidemill.evals.types import AnswerWarning, ChatMessage, EvalItem, EvalResult


def warnings_of(expected: list[str], answers: list[str], **scorers: Scorer) -> dict[str, AnswerWarning]:
    items = [
        EvalItem(id=str(n), messages=[ChatMessage(role="user", content=str(n))], expected=text, cluster_id=str(n))
        for n, text in enumerate(expected)
    ]
    results = [
        EvalResult(
            run_id="er_1",
            seq=n,
            item_id=item.id,
            repeat=0,
            answer=answer,
            scores={name: scorer.score(item, answer) for name, scorer in scorers.items()},
            at=utc_now(),
        )
        for n, (item, answer) in enumerate(zip(items, answers, strict=True))
    ]
    warnings = summarise(items, results, scorers, 1.0).warnings
    assert len({w.code for w in warnings}) == len(warnings)
    return {w.code: w for w in warnings}


def test_one_answer_to_everything_at_95_percent_is_said() -> None:
    expected = ["ham"] * 95 + ["spam"] * 5
    warnings = warnings_of(expected, ["ham"] * 100, accuracy=LabelAccuracy())
    assert set(warnings) == {"constant_answer", "class_never_predicted", "not_above_majority"}
    assert warnings["constant_answer"].details == {"answer": "ham", "count": 100, "of": 100, "expected_share": 0.95}
    assert warnings["class_never_predicted"].details == {"classes": {"spam": 5}}
    assert warnings["not_above_majority"].details["majority_share"] == 0.95
    nearly = warnings_of(["ham", "spam"] * 50, ["ham"] * 97 + ["spam", "ham", "spam"], accuracy=LabelAccuracy())
    assert set(nearly) == {"near_constant_answer"}
    assert warnings_of(expected, expected, accuracy=LabelAccuracy()) == {}


def test_texts_are_watched_under_every_scorer() -> None:
    questions = [f"answer {n}" for n in range(20)]
    assert set(warnings_of(questions, ["I cannot help."] * 20, exact=Exact())) == {"constant_answer"}
    assert warnings_of(questions, questions, exact=Exact()) == {}
    two = ["yes"] * 12 + ["no"] * 8
    assert set(warnings_of(two, two[::-1], exact=Exact())) == {"not_above_majority"}
    # The data asks for one answer: giving it is no fault.
    assert warnings_of(["yes"] * 20, ["yes"] * 20, exact=Exact()) == {}
    assert check_answers(["x"] * 7, ["x", "y", "z", "x", "y", "z", "x"]) == []


def test_json_answers_to_plain_texts_are_said_by_matching_scorers_too() -> None:
    labels = ["LOC", "NUM"] * 5
    objects = [f'{{"type": "{label}"}}' for label in labels]
    assert "json_not_read" in warnings_of(labels, objects, exact=Exact())
    assert "json_not_read" not in warnings_of(objects, objects, exact=Exact())


def test_a_comparison_carries_the_warnings_of_both_runs(desk: Desk) -> None:
    rows = [{"text": f"how {n}" if n < 40 else f"who {n}", "label": "NUM" if n < 40 else "HUM"} for n in range(44)]
    desk.dataset(rows, mapping={"fields": {"text": "text", "label": "label"}})
    desk.evals.create_set("quiz", "questions", split="train")
    good, constant = (desk.finished("quiz", desk.endpoint(model)) for model in ("good", "worse"))
    assert good.figures is not None
    assert constant.figures is not None
    assert good.figures.warnings == []
    codes = [w.code for w in constant.figures.warnings]
    assert codes == ["constant_answer", "class_never_predicted", "not_above_majority"]
    verdict = desk.evals.compare(good.id, constant.id, {"metric": "accuracy", "minimum_effect": 0.05})
    assert [(w.code, w.run) for w in verdict.run_warnings] == [(code, constant.id) for code in codes]
    assert any(w.startswith("Candidate: 44 of 44 answers are 'NUM'") for w in verdict.warnings)
    assert LABELLED["name"] == verdict.run_warnings[0].metric
